#!/usr/bin/env bash
# What does determinism cost, and does it hold: the same bits in two runs?
# usage: bash benchmarks/gpu_determinism.sh OUT     about 4 minutes on one GPU
# On a CPU, to try it: EXPERIMENT=quickstart:smoke BATCH=4 STEPS=4 bash benchmarks/gpu_determinism.sh OUT
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?give a folder for the results}
python=${PYTHON:-python3}
mkdir -p "$out"
common=(--config="${EXPERIMENT:-crnn_paper}" --config.data.train=synth:scene --config.data.eval=
  --config.batch_size="${BATCH:-1024}" --config.total_steps="${STEPS:-200}" --config.log_every_steps=2)
for deterministic in False True; do
  echo "== deterministic=$deterministic"
  "$python" -m crnn_jax.main "${common[@]}" --dry_run --config.deterministic="$deterministic"
done 2>&1 | tee "$out/determinism.txt"
for run in a b; do
  "$python" -m crnn_jax.main "${common[@]}" --config.deterministic=True --workdir="$out/run_$run" \
    > "$out/run_$run.txt" 2>&1
  # What a step learnt, without what the clock says.
  grep -o '"loss": [^,}]*' "$out/run_$run/metrics.jsonl" > "$out/losses_$run.txt"
done
if cmp "$out/losses_a.txt" "$out/losses_b.txt"; then
  echo "$(wc -l < "$out/losses_a.txt") losses, the same bits in both runs"
else
  echo "losses differ"
fi | tee -a "$out/determinism.txt"
