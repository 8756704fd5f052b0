#!/usr/bin/env bash
# First contact with an accelerator: does it train, how fast, how much memory?
# usage: bash benchmarks/gpu_smoke.sh OUT [EXTRA_FLAGS...]     about 8 minutes on one GPU
# In an environment with the package and its dependencies; OUT receives logs, summary and pictures.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?give a folder for the results}
shift
mkdir -p "$out"
python3 -c 'import jax; print(jax.__version__, jax.devices())' | tee "$out/device.txt"
for experiment in quickstart crnn_paper; do
  for batch in 64 256 1024; do
    for dtype in float32 bfloat16; do
      echo "== $experiment, batch $batch, $dtype"
      python3 -m crnn_jax.main --config="$experiment" --dry_run \
        --config.batch_size="$batch" --config.model.dtype="$dtype" "$@"
    done
  done
done 2>&1 | tee "$out/dry_runs.txt"
python3 -m crnn_jax.main --config=quickstart --workdir="$out/quickstart" "$@" 2>&1 |
  tee "$out/quickstart.txt"
cp "$out/quickstart/summary.json" "$out/summary.json"
