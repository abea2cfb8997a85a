#!/usr/bin/env bash
# Every preset of fixed duration, from training to its row of the table, with tiny models and images on the CPU; and what else
# happens to such a run: other options, an interruption, training on.
# Arguments: the repository, and the folder of the programs.
set -euo pipefail
unset CDPATH  # with it, cd prints
root=$(cd -- "$1" && pwd) bin=$(cd -- "$2" && pwd)
python3 -c '' 2>/dev/null || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
"$bin/glow_data" synthetic shapes --size 8 --train 300 --valid 0.1 --test 20 --quiet -o "$work/d.h5"
presets=(cifar10-1min cifar10-5min cifar10-1h cpu-5min)
# Those for a GPU have bf16 networks, which not every CPU can run.
precision=()
"$bin/glow_train" --data "$work/d.h5" --out "$work/none" --plan --device cpu --precision bf16 --levels 1 --depth 1 --width 8 --quiet \
    >/dev/null 2>&1 || precision=(--precision fp32)
for preset in "${presets[@]}"; do
    case $preset in cpu-*) precision=() ;; esac
    GLOW_BIN=$bin "$root/tools/speedrun.sh" "$preset" --data "$work/d.h5" --out "$work/$preset" --table "$work/table.csv" --seed 7 \
        --iw-samples 2 -- --levels 1 --depth 1 --width 8 --batch 8 --device cpu --max-minutes 0.01 \
        ${precision[@]+"${precision[@]}"} >"$work/log" 2>&1 ||
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

# ---- the row belongs to its model ---------------------------------------------------------------------------------------

run=$work/cpu-5min table=$work/table.csv
tiny=(--levels 1 --depth 1 --width 8 --batch 8 --device cpu --max-minutes 0.01)
failed=0
bad() { echo "FAILED: $1"; sed 's/^/    /' "$work/log"; failed=1; }
speedrun() {  # status, name, arguments...
    local status=0
    GLOW_BIN=${programs:-$bin} "$root/tools/speedrun.sh" cpu-5min --table "$table" "${@:3}" >"$work/log" 2>&1 || status=$?
    [ $status = "$1" ] || bad "$2: exit status $status, not $1"
}
rows() { grep -c . "$table"; }
says() { grep -qF -- "$1" "$work/log" || bad "no '$1'"; }
before=$(rows)
cp "$run/metrics.csv" "$work/metrics.csv"
speedrun 2 "other options" --data "$work/d.h5" --out "$run" --seed 7 -- "${tiny[@]}" --lr 1e-5
says "other options"
speedrun 2 "another seed" --data "$work/d.h5" --out "$run" --seed 8 -- "${tiny[@]}"
says "other seed"
cp "$work/d.h5" "$work/moved.h5"
"$bin/glow_data" synthetic shapes --size 8 --train 300 --valid 0.1 --test 20 --seed 2 --quiet -o "$work/e.h5"
speedrun 2 "other data" --data "$work/e.h5" --out "$run" --seed 7 -- "${tiny[@]}"
says "other data"
mv "$run/speedrun.json" "$work"
speedrun 2 "a run that did not begin here" --data "$work/d.h5" --out "$run" --seed 7 -- "${tiny[@]}"
says "no speedrun.json"
mv "$work/speedrun.json" "$run"
[ "$(rows)" = "$before" ] || bad "a refused run gets a row"
# A finished run is not trained on. An editor has dropped the table's last newline.
printf '%s' "$(tr -d '\r' <"$table")" >"$table.new"
mv "$table.new" "$table"
speedrun 0 "a finished run" --data "$work/moved.h5" --out "$run" --seed 07 --iw-samples 00 -- "${tiny[@]}"
cmp -s "$run/metrics.csv" "$work/metrics.csv" || bad "a finished run was trained on"
[ "$(rows)" = $((before + 1)) ] || bad "no row of its own in a table without a final newline"
python3 - "$table" <<'PYTHON' || bad "the row of a finished run"
import csv, sys

rows = list(csv.DictReader(open(sys.argv[1])))
assert len(rows) == 5 and all(row["stderr"] and None not in row for row in rows), rows
assert rows[-1]["iw_samples"] == "0" and rows[-1]["iw_bpd"] == "" and rows[-1]["test_bpd"] == rows[-2]["test_bpd"], rows
assert rows[-1]["seed"] == "7" and rows[-1]["steps"] == rows[-2]["steps"], rows
PYTHON
# A full disk leaves no part of a row. A file that cannot grow by more than 10 bytes stands for it.
head -n 1 "$table" >"$work/full.csv"
printf '%*s\n' $((8192 - 11 - $(wc -c <"$work/full.csv"))) '' >>"$work/full.csv"
cp "$work/full.csv" "$work/full.before"
(ulimit -f 8; table=$work/full.csv speedrun 1 "a full disk" --data "$work/d.h5" --out "$run" --seed 7 --iw-samples 0 -- "${tiny[@]}"
    says "full.csv: cannot be written"; exit $failed) || failed=1
cmp -s "$work/full.csv" "$work/full.before" || bad "a full disk changes the table"

# The same disk at the start, and a record that cannot be read: a message, and no new files.
(ulimit -f 1; speedrun 1 "a full disk at the start" --data "$work/d.h5" --out "$work/new" --seed 7 -- "${tiny[@]}"; exit $failed) || failed=1
says "new/speedrun.json: File too large"
[ -z "$(ls -A "$work/new")" ] || bad "a run that did not begin leaves files"
mv "$run/speedrun.json" "$work/speedrun.json"
mkdir "$run/speedrun.json"
speedrun 1 "a record that cannot be read" --data "$work/d.h5" --out "$run" --seed 7 -- "${tiny[@]}"
says "speedrun.json: Is a directory"
[ "$(wc -l <"$work/log")" = 1 ] || bad "a second message about a record that cannot be read"
rmdir "$run/speedrun.json"
mv "$work/speedrun.json" "$run"

# An interrupted run continues, also in the default folder, and the same command ends it.
mkdir "$work/programs"
cat >"$work/programs/glow_train" <<STUB
#!/usr/bin/env bash
echo \$\$ >"$work/pid"
exec "$bin/glow_train" "\$@"
STUB
chmod +x "$work/programs/glow_train"
ln -s "$bin/glow_eval" "$work/programs"
cd "$work"
# Steps, not minutes, which would also pass while this machine does something else.
long=(--data d.h5 --iw-samples 0 -- "${tiny[@]}" --max-minutes 0 --max-steps 1000 --log-every 1)
(programs=$work/programs speedrun 75 "an interrupted run" "${long[@]}"; exit $failed) &
for _ in $(seq 600); do [ -s runs/cpu-5min-0/metrics.csv ] && break; sleep 0.05; done
kill "$(cat pid)" || true  # its status is judged
wait $! || failed=1
[ ! -e runs/cpu-5min-0/speedrun.done ] || bad "an interrupted run counts as finished"
speedrun 0 "an interrupted run continues" "${long[@]}"
speedrun 2 "the default folder with other options" "${long[@]}" --lr 1e-5

# ---- what the quickstart prints for such a run, whose learning rate ends at 0 ----------------------------------------------

read -ra advice < <(grep -oE -- '--lr-schedule constant --lr [0-9e-]+' "$root/tools/quickstart.sh" || echo none)
step=$(tail -n 1 "$run/metrics.csv" | cut -d, -f1)
[ "${advice[0]}" != none ] || { advice=(); bad "the quickstart names no rate to train on with"; }
"$bin/glow_train" --out "$run" --resume auto --device cpu --max-minutes 0 --max-steps $((step + 5)) ${advice[@]+"${advice[@]}"} --log-every 1 >"$work/log" 2>&1 || bad "train longer"
python3 - "$run" "$step" <<'PYTHON' || bad "the quickstart's options train with a learning rate of 0"
import csv, sys

rows = [row for row in csv.DictReader(open(f"{sys.argv[1]}/metrics.csv")) if int(row["step"]) > int(sys.argv[2])]
assert len(rows) > 1 and all(float(row["lr"]) >= 1e-5 for row in rows), rows[-2:]  # in its warm-up on a slow machine
PYTHON
speedrun 2 "a finished run that was trained on" --data "$work/d.h5" --out "$run" --seed 7 -- "${tiny[@]}"
says "trained on since"

# ---- a run does not remove a page that report.py is writing ---------------------------------------------------------------

python3 - "$root" "$bin" "$run" <<'PYTHON' >"$work/log" 2>&1 || bad "a page written while its run continues"
import subprocess, sys
from pathlib import Path

root, programs, run = sys.argv[1:]
sys.path.insert(0, f"{root}/tools")
from output_files import write_atomically

def write(temporary):
    Path(temporary).write_text("page")
    subprocess.run([f"{programs}/glow_train", "--out", run, "--resume", "auto", "--max-minutes", "0.001"], check=True)

write_atomically(f"{run}/report.html", write)
assert Path(f"{run}/report.html").read_text() == "page"
PYTHON

[ $failed = 0 ] || exit 1
echo "${#presets[@]} presets"
