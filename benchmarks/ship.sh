#!/usr/bin/env bash
# Makes a shipped model of a finished run: calibrated, bundled in bfloat16, scored, timed, described.
#
#   bash benchmarks/ship.sh RUN NAME DIR_OF_REAL_SETS [PART [MODEL SHARE]]
#
# writes crnn_jax/shipped/NAME.crnn with the card experiments/cards/NAME.md, whose figures are those
# of the very weights in it. DIR holds iiit5k_train (which also calibrates), svt_test and ic03_test.
# PART, as split=80:100, is what a run that was trained on the rest of iiit5k_train has not seen; ''
# is all of it. SHARE of the weights are those of MODEL. With AVERAGE=N in the environment they are the mean
# of the N newest checkpoints instead of the best one.
set -euo pipefail
run=${1:?give the run}
name=${2:?give the name of the model}
sets=${3:?give the folder of the sets}
held_out="tsv:$sets/iiit5k_train::group=^[^_]+${4:+,$4,name=iiit5k_held_out}"
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundle=("$python" -m crnn_jax.bundle --run="$run" --name="$name" --bf16
  ${AVERAGE:+"--average=$AVERAGE"}
  ${5:+"--mix=$5" "--share=${6:?give the share of the weights}"})
"${bundle[@]}" --out="$work/$name.crnn"
"$python" -m crnn_jax.calibrate --model="$work/$name.crnn" --protocol=36 --data="$held_out" \
  --out="$work/calibration.json"
"$python" -m crnn_jax.evaluate --model="$work/$name.crnn" --protocol=36 --out="$work/results.json" \
  --data="$held_out" --data="tsv:$sets/ic03_test" --data="tsv:$sets/svt_test"
"$python" benchmarks/word_speed.py --model="$work/$name.crnn" --out="$work/speed.json"
"${bundle[@]}" --out="crnn_jax/shipped/$name.crnn" --card="experiments/cards/$name.md" \
  --calibration="$work/calibration.json" --results="$work/results.json" --speed="$work/speed.json"
