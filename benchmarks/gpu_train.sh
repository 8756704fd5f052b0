#!/usr/bin/env bash
# Training and reading against PyTorch on one GPU, and a profile of five training steps.
#
#   bash benchmarks/gpu_train.sh OUT        # at most 9.5 minutes
#
# OUT receives log.txt (tables), speed.jsonl (a line of JSON per part) and trace_256.zip (below 15
# MiB). Without PyTorch ours is measured alone, and the log says so. To try it on a CPU:
#   BATCHES=2 READ=1 TRACED=2 COMPILED=2 SECONDS_=0.1 TURNS=2 bash benchmarks/gpu_train.sh OUT
set -euo pipefail
out=$(mkdir -p "${1:?give a folder for the results}" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
read -ra batches <<<"${BATCHES:-64 256 1024 2048}"
read -ra reading <<<"${READ:-1 64 1024}"
common=(--seconds "${SECONDS_:-2}" --repetitions "${TURNS:-5}")
compiled=$(mktemp -d)  # programs of one part are there for the next
trap 'rm -rf "$compiled"' EXIT
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$compiled}"

# Each part has its share of ten minutes; one that runs out of it leaves what it has printed.
part() {
  local limit=$1
  shift
  echo "== $*"
  timeout "$limit" "$python" "$@" 2>&1 || echo "ended early, with exit code $?"
}
{
  "$python" -c 'import jax; print(jax.__version__, jax.devices())'
  part 300 benchmarks/train_speed.py --batch "${batches[@]}" "${common[@]}"
  part 90 benchmarks/infer_speed.py --batch "${reading[@]}" "${common[@]}"
  part 60 benchmarks/train_speed.py --batch "${TRACED:-256}" --alone --seconds 0.1 --trace "$out"
  part 120 benchmarks/train_speed.py --batch "${COMPILED:-1024}" "${common[@]}" --compile
} | tee "$out/log.txt"
find "$out" -name 'trace_*.zip' -size +15M -printf '%p is too large, removed\n' -delete
grep '^{"device' "$out/log.txt" >"$out/speed.jsonl"
