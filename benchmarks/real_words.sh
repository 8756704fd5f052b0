#!/usr/bin/env bash
# Packs the photographed words that may be trained on into one file that lives on a device, and the
# held-out fifth of IIIT5K's train split into another:
#
#   bash benchmarks/real_words.sh DIR_OF_REAL_SETS OUT [WIDTH [keep]]     # real.npz, held_out.npz
#
# `keep` keeps the aspect, up to WIDTH. IIIT5K is split by the photograph that its words were cut
# from. No test set is touched.
set -euo pipefail
sets=${1:?give the folder of the sets}
out=${2:?give a folder for the files}
width=${3:-128}
fit=${4:-squash}
python=${PYTHON:-python3}
mkdir -p "$out"
"$python" -m crnn_jax.synth.bank --width="$width" --fit="$fit" --out="$out/real.npz" \
  --data="tsv:$sets/ic15_train" --data="tsv:$sets/svt_train" --data="tsv:$sets/ic03_train" \
  --data="tsv:$sets/iiit5k_train::group=^[^_]+,split=0:80"
"$python" -m crnn_jax.synth.bank --width="$width" --fit="$fit" --out="$out/held_out.npz" \
  --data="tsv:$sets/iiit5k_train::group=^[^_]+,split=80:100"
