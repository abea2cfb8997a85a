#!/usr/bin/env bash
# Likelihood against time: one training with a preset of fixed duration, its test bits/dim, and a row of a table.
set -euo pipefail
unset CDPATH  # with it, cd prints

usage() {
    cat <<'TEXT'
usage: tools/speedrun.sh PRESET --data F.h5 [--out DIR] [--table F.csv] [--seed S] [--iw-samples K] [-- OPTION...]

Trains with a preset that ends after some minutes (cifar10-1min, cifar10-5min, cifar10-1h, cpu-5min), evaluates all test images with
the averaged weights, and appends a row to the table. OPTIONs are passed to glow_train and recorded in the row.

  --data F.h5      data set (glow_data)
  --out DIR        the run's folder; default runs/PRESET-SEED. An interrupted run there continues
  --table F.csv    default runs/speedruns.csv
  --seed S         default 0
  --iw-samples K   also the importance-weighted bound of K draws per image; default 16, 0: none

The minutes are those of training; startup, evaluation and pictures take additional time. Programs: $GLOW_BIN, the bundle this script lies
in, or build/release/bin.
Exit status: 0 success, 2 wrong options, else that of the program that failed.
TEXT
}

fail() { local status=$1; shift; echo "speedrun: $*" >&2; exit "$status"; }

preset='' data='' out='' table=runs/speedruns.csv seed=0 samples=16 options=()
while [ $# -gt 0 ]; do
    case $1 in
        --data | --out | --table | --seed | --iw-samples)
            [ $# -ge 2 ] || fail 2 "$1 needs a value (see --help)"
            [ -n "$2" ] || fail 2 "$1: expected a value, found an empty one: is a variable not set?"
            case $1 in
                --data) data=$2 ;;
                --out) out=$2 ;;
                --table) table=$2 ;;
                --seed) seed=$2 ;;
                --iw-samples) samples=$2 ;;
            esac
            shift 2 ;;
        --help | -h) usage; exit 0 ;;
        --) shift; options=("$@"); break ;;
        -*) fail 2 "unknown option $1 (see --help)" ;;
        *) [ -z "$preset" ] || fail 2 "one preset, not '$preset' and '$1'"; preset=$1; shift ;;
    esac
done
[ -n "$preset" ] || fail 2 "which preset? (see --help)"
[ -n "$data" ] || fail 2 "--data is missing (see --help)"
[ -f "$data" ] || fail 2 "--data $data: no such file"
[[ $seed =~ ^[0-9]+$ ]] || fail 2 "--seed $seed: not a whole number"
[[ $samples =~ ^[0-9]+$ ]] || fail 2 "--iw-samples $samples: not a whole number"
out=${out:-runs/$preset-$seed}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${GLOW_BIN:-}
for folder in "$root/bin" "$root/build/release/bin"; do
    [ -n "$bin" ] || [ ! -x "$folder/glow_train" ] || bin=$folder
done
[ -x "$bin/glow_train" ] || fail 2 "glow_train is not built; run: cmake --preset release && cmake --build --preset release"
python=$("$root/tools/find_python.sh") || fail 2 "python3 is missing"
mkdir -p -- "$(dirname -- "$table")" || fail 2 "cannot write to $(dirname -- "$table")"
columns=date,commit,device,preset,options,seed,images_per_s,steps,images,test_images,test_bpd,stderr,iw_samples,iw_bpd
[ -w "$(dirname -- "$table")" ] || fail 2 "--table $table: cannot write to $(dirname -- "$table")"
if [ -e "$table" ]; then
    [ -f "$table" ] && [ -w "$table" ] || fail 2 "--table $table: it is not a file, or cannot be written"
    [ "$(head -n 1 -- "$table" | tr -d '\r\0')" = "$columns" ] ||
        fail 2 "--table $table: the file exists and is no table of this script (its first line must be $columns)"
fi

run() { "$bin/$1" "${@:2}" || fail $? "$1 failed (exit status $?)"; }
settings=$(run glow_train --preset "$preset" ${options[@]+"${options[@]}"} --print-config)
grep -qE '^(max-minutes|max-steps|epochs) = [0.]*[1-9]' <<<"$settings" ||
    fail 2 "preset $preset has no end: take one of fixed duration (see --help), or add -- --max-minutes N"
mkdir -p -- "$out" || fail 2 "--out $out: cannot make the folder"
run glow_train --preset "$preset" --data "$data" --out "$out" --seed "$seed" --resume auto ${options[@]+"${options[@]}"} \
    2> >(tee -a "$out/speedrun.log" >&2) >&2
run glow_eval --checkpoint "$out" --data "$data" --json >"$out/speedrun-eval.json"
if [ "$samples" -gt 0 ]; then
    run glow_eval --checkpoint "$out" --data "$data" --iw-samples "$samples" --json >"$out/speedrun-iw.json"
else
    rm -f "$out/speedrun-iw.json"
fi
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null) || commit=

"$python" - "$table" "$out" "$preset" "$seed" "$commit" "$samples" "${options[*]-}" <<'PYTHON'
import csv, datetime, json, os, sys

table, out, preset, seed, commit, samples, options = sys.argv[1:]
evaluation = json.load(open(f"{out}/speedrun-eval.json"))
weighted = json.load(open(f"{out}/speedrun-iw.json")) if samples != "0" else {}
machines = [line.split(None, 1)[1] for line in open(f"{out}/speedrun.log") if line.startswith("  machine ")]
device = machines[-1].split(", compute")[0].split(" networks")[0].strip() if machines else ""
metrics = list(csv.DictReader(open(f"{out}/metrics.csv")))
last = metrics[-1]
rates = sorted(float(row["images_per_s"]) for row in metrics)
row = {
    "date": datetime.date.today().isoformat(), "commit": commit, "device": device, "preset": preset,
    "options": options, "seed": seed, "images_per_s": f"{rates[len(rates) // 2]:.0f}", "steps": last["step"],
    "images": last["images_seen"], "test_images": evaluation["images"], "test_bpd": f"{evaluation['bpd']:.4f}",
    "stderr": "" if evaluation["stderr"] is None else f"{evaluation['stderr']:.4f}", "iw_samples": samples,
    "iw_bpd": f"{weighted['bpd']:.4f}" if weighted else "",
}
new = not os.path.exists(table)
with open(table, "a", newline="") as file:
    writer = csv.DictWriter(file, row.keys())
    if new:
        writer.writeheader()
    writer.writerow(row)
print(", ".join(f"{name} {value}" for name, value in row.items() if value != ""))
PYTHON
