#!/bin/sh
# Our kernels and PyTorch by turns on one GPU (clocks move, so neither gets a quiet hour to itself), then both in a table.
#
#   benches/on_gpu.sh HARNESS [FOLDER] [ALTERNATIONS] [FILTER]
#
# HARNESS is the compiled bench: `cargo bench --bench seam --no-run` says where it lies. FOLDER takes the JSON lines.
set -u
harness=${1:?usage: benches/on_gpu.sh HARNESS [FOLDER] [ALTERNATIONS] [FILTER]}
folder=${2:-seam-out}
alternations=${3:-3}
filter=${4:-}
here=$(dirname "$0")
mkdir -p "$folder"
rm -f "$folder"/ours.*.json "$folder"/pytorch.*.json
failed=0
turn=1
while [ "$turn" -le "$alternations" ]; do
    echo "== alternation $turn of $alternations"
    # A wrong candidate is named and not timed; the others still count, and the exit status tells.
    "$harness" --json "$folder/ours.$turn.json" ${filter:+"$filter"} || failed=1
    python3 "$here/peers/seam.py" --json "$folder/pytorch.$turn.json" || echo "no PyTorch in this alternation"
    turn=$((turn + 1))
done
python3 "$here/peers/table.py" "$folder" || failed=1
exit "$failed"
