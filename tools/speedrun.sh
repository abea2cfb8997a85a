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
  --out DIR        the run's folder; default runs/PRESET-SEED. An interrupted run there continues and a finished one is evaluated
                   again, if preset, OPTIONs, data and seed are the same; else the folder is refused
  --table F.csv    default runs/speedruns.csv
  --seed S         default 0
  --iw-samples K   also the importance-weighted bound of K draws per image; default 16, 0: none

The minutes are those of training; startup, evaluation and pictures take additional time. Programs: $GLOW_BIN, the bundle this script lies
in, or build/release/bin.
Exit status: 0 success, 1 files that cannot be read or written, 2 wrong options, else that of the program that failed.
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
[[ $seed =~ ^0*([0-9]+)$ ]] || fail 2 "--seed $seed: not a whole number"
seed=${BASH_REMATCH[1]}
[[ $samples =~ ^0*([0-9]{1,9})$ ]] || fail 2 "--iw-samples $samples: not a whole number below 1000000000"
samples=${BASH_REMATCH[1]}
out=${out:-runs/$preset-$seed}
# The programs would take a name that begins with - for an option.
for name in data out table; do case ${!name} in -*) printf -v $name '%s' "./${!name}" ;; esac; done

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
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

# The row must describe this run, so a folder whose run has other settings is neither resumed nor evaluated. Prints what differs.
problem=$("$python" - "$out" "$data" "$preset" "$seed" "$settings" ${options[@]+"${options[@]}"} <<'PYTHON'
import hashlib, json, os, sys

out, data, preset, seed, settings, *options = sys.argv[1:]
path = f"{out}/speedrun.json"


def fail(name, error):
    sys.exit(f"speedrun: {name}: {error.strerror or error}")


content = hashlib.sha256()
try:
    with open(data, "rb") as file:
        while block := file.read(1 << 20):
            content.update(block)
except OSError as error:
    fail(f"--data {data}", error)
# Includes the effective settings, because a file given with --config may have changed.
now = {"preset": preset, "options": options, "seed": seed, "data_sha256": content.hexdigest(), "settings": settings}
if any(os.path.lexists(f"{out}/{name}") for name in ("config.toml", "metrics.csv", "checkpoints", "latest.h5")):
    try:
        with open(path) as file:
            begun = json.load(file)
        different = [name for name in now if begun[name] != now[name]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        print("it holds a run, but no speedrun.json that says with which options it began")
        sys.exit()
    except OSError as error:
        fail(path, error)
    if different == ["settings"]:
        print("it holds a run with other settings: a file of options, or the preset, has changed")
    elif "data_sha256" in different:
        print("it holds a run on other data")
    elif different:
        name = different[0]
        shown = [" ".join(value) or "none" if name == "options" else value for value in (begun[name], now[name])]
        print(f"it holds a run with other {name} ({shown[0]}; now {shown[1]})")
else:
    try:
        if os.path.lexists(f"{out}/speedrun.done"):
            os.remove(f"{out}/speedrun.done")  # of a run that was removed
        with open(f"{path}.part", "w") as file:
            json.dump(now, file, indent=1)
        os.replace(f"{path}.part", path)
    except OSError as error:
        if os.path.isfile(f"{path}.part"):
            os.remove(f"{path}.part")
        fail(path, error)
PYTHON
) || { status=$?; [ $status = 1 ] || fail $status "python failed (exit status $status)"; exit 1; }  # it has said why
[ -z "$problem" ] || fail 2 "--out $out: $problem; choose another folder, or remove it"

# Do not resume a finished run: it might train one more step.
if [ -e "$out/speedrun.done" ]; then
    last=$(tail -n 1 "$out/metrics.csv") || fail 1 "--out $out: metrics.csv cannot be read (see above)"
    [ "$last" = "$(cat "$out/speedrun.done")" ] || fail 2 "--out $out: the run was trained on since; choose another folder"
    echo "speedrun: $out is trained; it is evaluated again" >&2
else
    status=0
    exec {log}> >(tee -a "$out/speedrun.log" >&2)
    tee=$!
    "$bin/glow_train" --preset "$preset" --data "$data" --out "$out" --seed "$seed" --resume auto ${options[@]+"${options[@]}"} \
        2>&$log {log}>&- >&2 || status=$?
    exec {log}>&-
    wait $tee || true  # until it has written everything
    [ $status = 0 ] || fail $status "glow_train failed (exit status $status)"
    # Complete or not at all: an incomplete one would mean a run that was trained on.
    tail -n 1 "$out/metrics.csv" >"$out/speedrun.done.part" && mv "$out/speedrun.done.part" "$out/speedrun.done" ||
        { rm -f "$out/speedrun.done.part"; fail 1 "cannot write $out/speedrun.done"; }
fi
run glow_eval --checkpoint "$out" --data "$data" --json >"$out/speedrun-eval.json"
if [ "$samples" -gt 0 ]; then
    run glow_eval --checkpoint "$out" --data "$data" --iw-samples "$samples" --json >"$out/speedrun-iw.json"
else
    rm -f "$out/speedrun-iw.json"
fi
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null) || commit=

"$python" - "$table" "$out" "$preset" "$seed" "$commit" "$samples" "${options[*]-}" <<'PYTHON'
import csv, datetime, io, json, os, sys

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
with open(table, "a+b", buffering=0) as file:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    text = io.StringIO(newline="")
    if file.read() not in (b"", b"\n"):
        text.write("\r\n")  # editors may have removed the last line ending
    writer = csv.DictWriter(text, row.keys())
    if size == 0:
        writer.writeheader()
    writer.writerow(row)
    line = text.getvalue().encode(errors="surrogateescape")
    try:
        if file.write(line) != len(line):
            raise OSError("the disk is full")
    except OSError as error:
        file.truncate(size)  # part of a row could be taken for a result
        sys.exit(f"speedrun: {table}: cannot be written: {error.strerror or error}; the same command evaluates the run again")
print(", ".join(f"{name} {value}" for name, value in row.items() if value != ""))
PYTHON
