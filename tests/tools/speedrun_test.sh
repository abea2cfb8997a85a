#!/usr/bin/env bash
# Every preset of fixed duration, from training to its row of the table, with tiny models and images on the CPU.
# Arguments: the repository, and the folder of the programs.
set -euo pipefail
root=$1 bin=$2
python3 -c '' 2>/dev/null || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
"$bin/glow_data" synthetic shapes --size 8 --train 300 --valid 0.1 --test 20 --quiet -o "$work/d.h5"
presets=(cifar10-1min cifar10-5min cifar10-1h cpu-5min)
for preset in "${presets[@]}"; do
    GLOW_BIN=$bin "$root/tools/speedrun.sh" "$preset" --data "$work/d.h5" --out "$work/$preset" --table "$work/table.csv" --seed 7 \
        --iw-samples 2 -- --levels 1 --depth 1 --width 8 --batch 8 --device cpu --max-minutes 0.01 >"$work/log" 2>&1 ||
        { cat "$work/log"; echo "FAILED: $preset"; exit 1; }
done
python3 - "$work" "${presets[@]}" <<'PYTHON'
import csv, sys

work, *presets = sys.argv[1:]
rows = list(csv.DictReader(open(f"{work}/table.csv")))
assert [row["preset"] for row in rows] == presets, rows
for row in rows:
    last = list(csv.DictReader(open(f"{work}/{row['preset']}/metrics.csv")))[-1]
    assert row["test_images"] == "20" and row["seed"] == "7" and row["iw_samples"] == "2", row
    assert row["steps"] == last["step"] and int(row["images"]) == 8 * int(row["steps"]), row
    assert row["device"].startswith("cpu"), row
    assert 3 < float(row["test_bpd"]) < 8, row  # trained: random pixels have 8
    assert abs(float(row["iw_bpd"]) - float(row["test_bpd"])) < 0.1, row
PYTHON
echo "${#presets[@]} presets"
