#!/usr/bin/env bash
# Rendering on one GPU: images per second, and its part of the paper's training step, by batch size.
#
#   bash benchmarks/gpu_synth.sh OUT        # about 8 minutes; tried on a CPU with BATCHES=16 QUICK=--quick
set -euo pipefail
out=$(mkdir -p "${1:?give a folder for the results}" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
for batch in ${BATCHES:-256 1024 4096}; do
  "$python" benchmarks/synth_speed.py ${QUICK:-} --batch "$batch" --share | tee "$out/synth_$batch.txt"
done
tail -qn 1 "$out"/synth_*.txt > "$out/synth_speed.jsonl"
"$python" -m crnn_jax.synth.preview --preset=scene --colour --out="$out/scene.png"
