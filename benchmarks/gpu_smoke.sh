#!/usr/bin/env bash
# First contact with an accelerator: does it train, how fast, how much memory?
# usage: bash benchmarks/gpu_smoke.sh OUT     about 8 minutes on one GPU
# In an environment with the package and its dependencies; OUT receives logs, summary and pictures.
# On a CPU, to try it: EXPERIMENTS=quickstart:smoke BATCHES=4 bash benchmarks/gpu_smoke.sh OUT
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?give a folder for the results}
read -ra experiments <<<"${EXPERIMENTS:-quickstart crnn_paper}"
python=${PYTHON:-python3}
mkdir -p "$out"
"$python" -c 'import jax; print(jax.__version__, jax.devices())' | tee "$out/device.txt"
for experiment in "${experiments[@]}"; do
  for batch in ${BATCHES:-64 256 1024}; do
    for dtype in float32 bfloat16; do
      echo "== $experiment, batch $batch, $dtype"
      "$python" -m crnn_jax.main --config="$experiment" --dry_run \
        --config.batch_size="$batch" --config.model.dtype="$dtype"
    done
  done
done 2>&1 | tee "$out/dry_runs.txt"
"$python" -m crnn_jax.main --config="${experiments[0]}" --workdir="$out/run" 2>&1 |
  tee "$out/run.txt"
cp "$out/run/summary.json" "$out/summary.json"
