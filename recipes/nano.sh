#!/usr/bin/env bash
# Makes every bundled artifact from nothing: the head, the codecs, the text tokenizer, the language model, the encoder
# of the retrieval suite, samples and reports. Two idle cores and five hours; it goes on where it was stopped.
# $TDMM_DATA names the real data. Rates and comparisons join the reports of the codecs by `make compare`, an hour more.
#   make nano            (or: bash recipes/nano.sh, with `tdmm` on the path)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
: "${TDMM_DATA:?set it to the folder of real data}"
runs=runs/nano
mkdir -p "$runs"
started=$SECONDS

step() { # step NAME COMMAND...: once, with its time in $runs/times.tsv
  local name=$1 since=$SECONDS
  shift
  [ -e "$runs/$name.done" ] && return
  echo "== $name"
  "$@"
  printf '%s\t%s\n' "$name" "$((SECONDS - since))" >> "$runs/times.tsv"
  touch "$runs/$name.done"
}

release() { # FOLDER INTO: what was trained replaces the old one with its report and picture
  mkdir -p "$2"
  cp "$runs/$1/"* "$2/"
}

# The face codec's second run: rigs shall have the same codes, and the codes that they still confuse become one.
agree=(
  steps=3500 test_every=3500 learning_rate=3e-4 losses.agreement=600 merged=144 emphasis.facegood.displacement=4.0
  "data.shares={grid: 0.23, facegood: 0.08, posed: 0.07, performances: 0.45, rare: 0.17}"
)

step head    tdmm train recipes/head.yaml -o tdmm_lm/assets/head
step codec   tdmm train tokenizers/face.yaml -o "$runs/face"
step agree   tdmm train tokenizers/face.yaml "start=$runs/face/codec" "${agree[@]}" -o "$runs/face_agreed"
step release release face_agreed/codec tokenizers/face
step body    tdmm train tokenizers/body.yaml -o "$runs/body"
step bodies  release body/codec tokenizers/body
step text    tdmm train tokenizers/text.yaml -o tokenizers/text
step corpus  tdmm corpus build recipes/corpus/nano.yaml -o "$runs/corpus"
step check   tdmm corpus check "$runs/corpus"
step lm      tdmm train recipes/sft.yaml "corpus=[$runs/corpus]" -o "$runs/lm"
step space   tdmm train recipes/retrieval.yaml -o "$runs/retrieval"
step spaces  release retrieval/encoder tdmm_lm/assets/retrieval
step export  tdmm export "$runs/lm/model" tdmm_lm/assets/lm
for score in recipes/samples/*.yaml; do
  name=$(basename "$score" .yaml)
  step "sample-$name" tdmm animate "$score" -o "tdmm_lm/assets/samples/$name.npz"
done
step bench   tdmm bench nano
release_report() { # beside the model: its figures, the settings of its training and the seconds each step took
  python - "$runs" <<'PY'
import json, sys
from pathlib import Path
from tdmm_lm import report
runs = Path(sys.argv[1])
made = json.loads(Path("eval/bench/nano.json").read_text())
seconds = dict(line.split("\t") for line in (runs / "times.tsv").read_text().splitlines())
made["settings"] = json.loads((runs / "lm" / "settings.json").read_text()) | {"seconds": seconds}
report.write(made, Path("tdmm_lm/assets/lm"))
PY
}
release_report
echo "everything made in $((SECONDS - started)) s; times in $runs/times.tsv"
