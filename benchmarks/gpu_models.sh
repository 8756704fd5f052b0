#!/usr/bin/env bash
# Trains a model that ships, in pieces of at most nine minutes: the same command goes on.
#
#   bash benchmarks/gpu_models.sh OUT paper36|best94|tiny_latin|medium94|best94_real [DIR_OF_REAL_SETS]
#
# The run lies in RUNS (default runs/, on the machine's own disk): the next piece must find it there.
# OUT receives NAME.crnn (weights in bfloat16; in parts above 15 MiB), metrics.jsonl, log.txt and,
# given a folder with iiit5k_train, scores.json. Draws with build/fonts.npz where that is there (`make fonts`),
# tiny_latin with build/fonts_latin.npz (benchmarks/GPU.md).
# best94_real goes on from MODEL (default the run RUNS/best94) with REAL/real.npz, and is judged on
# REAL/held_out.npz, of the given folder on the same words; both are made by
# `bash benchmarks/real_words.sh DIR_OF_REAL_SETS REAL 160 keep`.
# To try it on a CPU: MINUTES=2 SMOKE=,smoke bash benchmarks/gpu_models.sh OUT tiny_latin
# (best94_real after best94, with MINUTES=4 and photographed words of 64 pixels instead of 160)
set -euo pipefail
out=$(mkdir -p "${1:?give a folder for the results}" && cd "$1" && pwd)
name=${2:?give the name of a model: paper36, best94, tiny_latin, medium94 or best94_real}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
run="${RUNS:-runs}/$name"
atlas=build/fonts.npz
if [ "$name" = tiny_latin ]; then atlas=build/fonts_latin.npz; fi
test -f "$atlas" || atlas=
config="$name:atlas=$atlas${SMOKE:-}"
args=(--config.steps_per_dispatch="${DISPATCH:-1}")
if [ "$name" = medium94 ]; then config="$config,images=${IMAGES:-8000000}"; fi
case $name in tiny_latin | medium94) args+=(--config.batch_size="${BATCH:-512}") ;; esac
test -z "${SMOKE:-}" || args=()
judged=iiit5k_train
if [ "$name" = best94_real ]; then
  real=${REAL:-build}
  config="best94:atlas=$atlas${SMOKE:-}"
  args+=(${SMOKE:+--config.batch_size=8})  # its four rows are fewer than the sources
  test -n "${SMOKE:-}" || args+=(--config.total_examples="${IMAGES:-4000000}")
  judged="iiit5k_train::group=^[^_]+,split=80:100,name=iiit5k_held_out"  # it learnt from the others
  # Photographs as a small part of a long run: as small-94-real (docs/models.md).
  rendered="0.25*synth:scene + 0.3*synth:street + 0.1*synth:clean + 0.05*synth:receipt"
  args+=(--config.init_from="${MODEL:-${RUNS:-runs}/best94}" --config.optimizer.learning_rate=5e-4
    "--config.data.train=0.3*bank:$real/real.npz + $rendered" --config.data.augment=document
    --config.data.eval="bank:$real/held_out.npz" --config.unknown=drop
    --config.licence="research only")
fi
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$PWD/build/compiled}" PYTHONUNBUFFERED=1
# TERM saves the run at the step where it is; what is left of ten minutes is for the bundle.
code=0
timeout --signal=TERM "${MINUTES:-9}m" "$python" -m crnn_jax.main --config="$config" --workdir="$run" \
  "${args[@]}" 2>&1 | tee -a "$out/log.txt" || code=$?
"$python" -m crnn_jax.bundle --run="$run" --out="$out/$name.crnn" --bf16 --name="$name" \
  2>&1 | tee -a "$out/log.txt"
cp "$run/metrics.jsonl" "$out/metrics.jsonl"
if [ -n "${3:-}" ]; then
  "$python" -m crnn_jax.evaluate --model="$out/$name.crnn" --protocol=36 --batch_size=256 \
    --data="tsv:$3/$judged" --out="$out/scores.json" 2>&1 | tee -a "$out/log.txt"
fi
# Parts of at most 15 MiB, to be joined: cat NAME.crnn.* > NAME.crnn
find "$out" -name "$name.crnn" -size +15M -exec split -b 15M -d {} {}. \; -delete
test -f "$run/summary.json" && echo "$name is done" || echo "$name goes on: the same command again ($code)"
