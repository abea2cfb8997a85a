#!/usr/bin/env bash
# What is to be measured on a machine with a GPU, in parts of at most six minutes.
set -uo pipefail

usage() {
    cat <<'TEXT'
usage: tools/gpu_check.sh --part tests|speed|memory|train [--out DIR] [--data F.h5] [--seconds S] [--rehearse]

Runs one part on this machine's GPU and leaves PART.json and PART.log in DIR (default: gpu_check); the table that it
prints last is the JSON's rows. Programs are those of the bundle this script lies in, or of build/gpu or build/release.

  tests    every test program; on the GPU where a test can run there; a small step under compute-sanitizer
  speed    networks and whole steps as shares of the GEMM peak, with and without the CUDA graph, batches of 64, 256
           and 512; each matrix product; images/s of the published CIFAR model beside a PyTorch twin (GLOW_PYTHON or
           python3, where it has torch, numpy and h5py)
  memory   bytes of a step against depth and policy, planned and measured
  train    minutes of training with its bits/dim: --data (made by glow_data), else a synthetic set of known entropy

  --seconds S   time for the part (330)
  --rehearse    the same on the CPU with a tiny model: every line runs once, the numbers mean nothing

Exit status: 0 all well, 1 a test failed or a program broke, 2 no GPU that can be used.
TEXT
}

part='' out=gpu_check data='' limit=330
kind=cuda shape=() batches="512 64 256" precisions="bf16 tf32 fp32" depths="4 8 16 32 48" seconds=1 memory_batch=64
train_batch=256
while [ $# -gt 0 ]; do
    case $1 in
        --part) part=${2-}; shift ;;
        --out) out=${2-}; shift ;;
        --data) data=${2-}; shift ;;
        --seconds) limit=${2-}; shift ;;
        --rehearse)
            kind=cpu shape=(--width 16 --levels 2) batches=8 precisions=fp32 depths="1 2" seconds=0.01
            memory_batch=8 train_batch=8 ;;
        --help | -h) usage; exit 0 ;;
        *) echo "gpu_check: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
case $part in
    tests | speed | memory | train) ;;
    *) echo "gpu_check: --part tests, speed, memory or train (see --help)" >&2; exit 2 ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$out" && [ -w "$out" ] || { echo "gpu_check: cannot write in $out (see --out)" >&2; exit 2; }
out=$(cd "$out" && pwd)
log=$out/$part.log rows=$out/$part.rows
: >"$log"
: >"$rows"
start=$SECONDS status=0
[ -w "${TMPDIR:-/tmp}" ] || export TMPDIR=$out
# Where drivers and toolkits keep what may not be on PATH: nvidia-smi, compute-sanitizer.
PATH=$PATH:/usr/local/nvidia/bin:${CUDA_HOME:-/usr/local/cuda}/bin
python=$("$root/tools/find_python.sh" torch numpy h5py) || python=python3

# A program of the bundle (bin/) or of a build.
program() {
    local folder
    if [ -x "$root/bin/$1" ]; then echo "$root/bin/$1"; return; fi
    for folder in "$root/build/gpu" "$root/build/release"; do
        [ -d "$folder" ] || continue
        find "$folder" -path "$folder/bundle" -prune -o -type f -name "$1" -perm -u+x -print 2>/dev/null | head -1 |
            grep . && return
    done
    echo "gpu_check: $1 is not built" >&2
    return 1
}
left() { local s=$((limit - (SECONDS - start))); echo $((s > 1 ? s : 1)); }
say() { printf '%s\n' "$*" | tee -a "$log" >&2; }
# name, what, value, unit: one line of the table and of the JSON.
row() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$rows"; }
# Runs a command in what is left of the part's time: in the background, so that a signal to this script is handled at once.
child=
bounded() {
    local code=0
    timeout -s TERM -k 10 "$(left)" "$@" &
    child=$!
    wait $child || code=$?
    child=
    return $code
}
# timeout passes a signal on to its command's process group; tests end the programs that they started.
stop_child() {
    [ -n "$child" ] || return 0
    kill $child 2>/dev/null
    wait $child 2>/dev/null
}
# The same with all it prints in the log.
run() { bounded "$@" >>"$log" 2>&1; }

finish() {
    {
        printf '{"part": "%s", "date": "%s", "seconds": %d, "status": %d, "device": "%s", "rows": [' "$part" \
            "$(date -u +%Y-%m-%dT%H:%M:%SZ)" $((SECONDS - start)) "$status" "$device"
        awk -F'\t' '
            function quoted(x) { return "\"" x "\"" }
            { gsub(/["\\]/, "\\\\&")
              value = $3 ~ /^-?[0-9][0-9.]*([eE][-+]?[0-9]+)?$/ ? $3 : quoted($3)
              printf "%s\n  {%s: %s, %s: %s, %s: %s, %s: %s}", (NR > 1 ? "," : ""), quoted("name"), quoted($1),
                  quoted("what"), quoted($2), quoted("value"), value, quoted("unit"), quoted($4) }' "$rows"
        printf '\n]}\n'
    } >"$out/$part.json"
    echo "== $part: $device, $((SECONDS - start)) s, status $status ($out/$part.json, $log)"
    awk -F'\t' '{ printf "%-44s %-22s %14s %s\n", $1, $2, $3, $4 }' "$rows"
    exit $status
}

device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1)
[ -n "$device" ] || device=$(sed -n 's/^Model:[[:space:]]*//p' /proc/driver/nvidia/gpus/*/information 2>/dev/null | head -1)
device=${device:-a GPU that has told no name}
[ $kind = cuda ] || device="rehearsal on the CPU"

# What a reader of the log will want to know of the machine.
describe_machine() {
    {
        date -u
        uname -sr
        getconf GNU_LIBC_VERSION
        nproc
        grep -E '^(model name|MemTotal)' /proc/cpuinfo /proc/meminfo | sort -u
        echo "LD_LIBRARY_PATH=${LD_LIBRARY_PATH-} CUDA_HOME=${CUDA_HOME-} CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-}"
        nvidia-smi
        nvcc --version
        "$python" -c 'import sys, torch; print(sys.executable, torch.__version__, torch.version.cuda, torch.backends.cudnn.version())'
        "$(program glow_train)" --version
    } >>"$log" 2>&1
}

# Result lines of GoogleTest that begin so.
results() { grep -c "^\[ *$1 *\] .*ms)" "$2"; }

part_tests() {
    local name binary code which each=$out/$part.one
    # Those of kernels and layers run on the CPU and on the GPU, side by side; those of commands on what they find.
    for name in test_kernels test_runtime test_devices test_train test_precision test_layers test_layers_f64 \
        test_commands; do
        # Files of the source tree are not in a bundle; hostile files and tests that take minutes are for other days.
        which="-*Golden*:*Slow*:Malformed.*"
        [ $name = test_commands ] &&
            which="*Variants.*:*SameSeed*:*ResumedRunEquals*:*SampleIs*:*Quiet*:*Estimate*:MemoryRuns.Bf16*:*WithoutGpu"
        binary=$(program $name 2>>"$log") || { row "$name" missing - ""; status=1; continue; }
        if [ "$(left)" -lt 90 ]; then row "$name" "not run" "no time" ""; status=1; continue; fi
        say "== $name"
        GLOW_PROGRAMS=$root/bin bounded "$binary" --gtest_filter="$which" >"$each" 2>&1
        code=$?
        cat "$each" >>"$log"
        row "$name" passed "$(results OK "$each")" tests
        row "$name" failed "$(results FAILED "$each")" tests
        row "$name" skipped "$(results SKIPPED "$each")" tests
        sed -n 's/^\[  FAILED  \] \([^ ,]*\).* (.*ms)$/\1/p' "$each" | while read -r test; do row "$name" FAILED "$test" ""; done
        if [ $code != 0 ]; then
            status=1
            # 0 and 1 are GoogleTest's own.
            [ $code = 1 ] || row "$name" broke "exit $code in $(sed -n 's/^\[ RUN *\] //p' "$each" | tail -1)" ""
        fi
    done
    rm -f "$each"
    [ $kind = cpu ] || part_sanitizer
}

part_sanitizer() {
    local tool code before
    if ! command -v compute-sanitizer >/dev/null; then row compute-sanitizer absent - ""; return; fi
    for tool in memcheck racecheck; do
        say "== compute-sanitizer $tool"
        before=$(wc -l <"$log")
        under "compute-sanitizer --tool $tool --target-processes all --error-exitcode 9" test_devices \
            --gtest_filter='*InFloat/cuda_published'
        code=$?
        if [ $code = 0 ]; then
            row compute-sanitizer $tool clean ""
        elif [ $code = 124 ]; then
            row compute-sanitizer $tool "no time" ""
        elif tail -n +"$before" "$log" | grep -qi 'not supported\|failed to initialize'; then
            row compute-sanitizer $tool "refused here" ""  # as in some virtual machines: nothing of ours
        else
            row compute-sanitizer $tool FAILED "exit $code"
            status=1
        fi
    done
}
# A tool's command line, a program, its arguments: the program under the tool.
under() {
    local tool=$1 binary
    binary=$(program "$2")
    shift 2
    if [ -x "$root/bin/run" ]; then
        GLOW_UNDER=$tool run "$binary" "$@"  # the bundle's programs are scripts that start the true ones
    else
        # shellcheck disable=SC2086
        run $tool "$binary" "$@"
    fi
}

# Rows of glow_bench's JSON: name, share of the peak, milliseconds an image.
bench() {
    local label=$1 json
    shift
    json=$out/bench.json
    if [ "$(left)" -lt 30 ]; then row "$label" "not measured" "no time" ""; return; fi
    if ! bounded "$(program glow_bench)" --device $kind --json --min-seconds $seconds "${shape[@]}" "$@" >"$json" 2>>"$log"; then
        row "$label" glow_bench FAILED "$(tail -1 "$log" | tr '\t' ' ' | cut -c1-100)"
        status=1
        return
    fi
    cat "$json" >>"$log"
    awk -v label="$label" -F'[:,]' '
        /"name":/ { gsub(/[" ]/, "", $2); name = $2; sub(/\/(iterations|manual_time).*/, "", name) }
        /"ms_per_image":/ { ms = $2 } /"share_of_peak":/ { share = $2 } /"peak_GFLOP\/s":/ { peak = $2 }
        /":/ && /_x[0-9.]+":/ {
            gsub(/[" ]/, "", $1)
            split($1, word, "_")  # shape_type_ms_xcalls: one number a product, its share of the peak
            times = substr(word[4], 2)
            printf "%s product %s %s\tshare of peak\t%.4f\t%s x %s ms a pass\n", label, word[1], word[2], $2, times, word[3] }
        /^    }/ { if (ms != "") {
            printf "%s %s\timages/s\t%.1f\t\n", label, name, 1000 / ms
            printf "%s %s\tshare of peak\t%.4f\t\n", label, name, share
            printf "%s %s\tpeak\t%.0f\tGFLOP/s\n", label, name, peak }
            ms = "" }' "$json" >>"$rows"
    rm -f "$json"
}

part_speed() {
    local precision batch
    local depth=${depths##* } first=${batches%% *} fast=${precisions%% *} engine
    [ $kind = cuda ] && depth=32
    for batch in $batches; do
        for precision in $precisions; do
            # The twin wants its share of the time.
            if [ "$(left)" -lt 200 ]; then row "glow $precision batch $batch" "not measured" "no time" ""; continue; fi
            bench "glow $precision batch $batch" --depth "$depth" --batch "$batch" --precision "$precision" \
                --filter step/reconstruct
        done
    done
    for batch in $batches; do
        [ "$batch" = 256 ] && continue
        bench "glow $fast batch $batch, no graph" --depth "$depth" --batch "$batch" --precision "$fast" --no-graph \
            --filter step/reconstruct
        gaps "glow $fast batch $batch" "$batch"
    done
    bench "glow $fast batch $first, stored" --depth "$depth" --batch "$first" --precision "$fast" --filter step/store
    bench "glow $fast batch $first" --batch "$first" --precision "$fast" --filter products
    if [ "$(left)" -gt 150 ]; then
        for engine in products cudnn; do
            [ "$engine $kind" = "cudnn cpu" ] && continue
            bench "glow $fast batch $first, $engine" --batch "$first" --precision "$fast" --engine $engine --filter network
        done
    fi
    twin
    best
}

# What a step waits for launches: its time without the graph less that with it.
gaps() {
    awk -F'\t' -v with="$1 step/reconstruct" -v without="$1, no graph step/reconstruct" -v batch="$2" '
        $2 == "images/s" && $1 == with { a = $3 }
        $2 == "images/s" && $1 == without { b = $3 }
        END { if (a > 0 && b > 0) printf "%.3f\n", 1000 * batch * (1 / b - 1 / a) }' "$rows" |
        while read -r ms; do row "$1" "launch gaps" "$ms" "ms a step, gone with the graph"; done
}

twin() {
    if ! "$python" -c 'import torch, numpy, h5py' 2>>"$log"; then
        row "PyTorch twin" absent - ""
        return
    fi
    local code how=(--batches "512,64" --precisions "bf16,tf32,fp32")
    [ $kind = cpu ] && how=(--dry)
    bounded "$python" "$root/tests/reference/bench_pytorch_gpu.py" "${how[@]}" \
        --seconds $(($(left) - 40)) >"$out/twin.jsonl" 2>>"$log"
    code=$?
    cat "$out/twin.jsonl" >>"$log"
    "$python" - "$out/twin.jsonl" >>"$rows" <<'PYTHON'
import json
import sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    name = f"PyTorch {r['mode']} {r['memory']} {r['precision']} batch {r['batch']}"
    if "images_per_s" in r:
        print(name, "images/s", r["images_per_s"], "", sep="\t")
        print(name, "peak memory", round(r["peak_bytes"] / 2**20), "MiB", sep="\t")
        print(name, "bits/dim", r["bpd"], "", sep="\t")
    else:
        print(name, "not measured", " ".join(r.get("error", r.get("skipped", "-")).split()), "", sep="\t")
PYTHON
    rm -f "$out/twin.jsonl"
    if [ $code = 124 ]; then
        row "PyTorch twin" "not all" "no time" ""
    elif [ $code != 0 ]; then
        row "PyTorch twin" FAILED "exit $code" ""
        status=1
    fi
}

# Ours beside the fastest of PyTorch's, by precision and batch.
best() {
    awk -F'\t' '
        $2 == "images/s" && split($1, word, " ") {
            if ($1 ~ /^PyTorch/) {
                key = word[4] " batch " word[6]
                if ($3 > fastest[key]) { fastest[key] = $3; variant[key] = word[2] " " word[3] }
            } else if ($1 ~ /^glow [a-z0-9]+ batch [0-9]+ step\/reconstruct$/) ours[word[2] " batch " word[4]] = $3 }
        END { for (key in ours) if (fastest[key] > 0)
            printf "%s: glow over PyTorch\timages/s\t%.2f\ttimes the fastest, %s\n", key, ours[key] / fastest[key], variant[key] }' \
        "$rows" >"$rows.best"
    sort "$rows.best" >>"$rows"
    rm -f "$rows.best"
}

# A data set for runs: --data, else Gaussian pixels of known entropy.
data_set() {
    [ -n "$data" ] && return
    data=$out/gauss.h5
    local images=4096
    [ $kind = cpu ] && images=64
    [ -f "$data" ] || run "$(program glow_data)" synthetic gauss --size 32 --channels 3 --train $images --test 512 \
        -o "$data"
}

part_memory() {
    local depth memory json
    data_set
    for memory in reconstruct checkpoint store; do
        for depth in $depths; do
            [ "$(left)" -lt 40 ] && break
            rm -rf "$out/memory_run"
            bounded "$(program glow_train)" --device $kind --data "$data" --out "$out/memory_run" \
                "${shape[@]}" --depth "$depth" --batch $memory_batch --precision "${precisions%% *}" --memory $memory \
                --max-steps 3 --eval-every 0 --sample-every 0 --checkpoint-every 0 --quiet --json >"$out/result" 2>>"$log"
            json=$(cat "$out/result")
            if [ -z "$json" ]; then row "depth $depth, $memory" glow_train FAILED ""; status=1; continue; fi
            printf '%s\n' "$json" >>"$log"
            for what in planned_bytes peak_bytes process_growth_bytes; do
                row "depth $depth, $memory" $what \
                    "$(printf '%s' "$json" | sed -n "s/.*\"$what\": *\([0-9]*\).*/\1/p")" bytes
            done
        done
    done
    rm -rf "$out/memory_run" "$out/result"
}

part_train() {
    local minutes depth=()
    data_set
    minutes=$(awk -v s="$(left)" 'BEGIN { printf "%.2f", (s > 90 ? s - 60 : s / 3) / 60 }')
    rm -rf "$out/run"
    [ $kind = cpu ] && minutes=0.1 depth=(--depth 2)
    run "$(program glow_train)" --device $kind --data "$data" --out "$out/run" "${shape[@]}" "${depth[@]}" \
        --precision "${precisions%% *}" --batch $train_batch --tune --warmup-epochs 0.5 --max-minutes "$minutes" --eval-every 0 \
        --sample-every 0 --checkpoint-every 0 || status=1
    row glow_train bits/dim "$(awk -F, 'END { print $4 }' "$out/run/metrics.csv" 2>/dev/null)" "last step"
    row glow_train images "$(awk -F, 'END { print $3 }' "$out/run/metrics.csv" 2>/dev/null)" seen
    row glow_train images/s "$(awk -F, 'NR > 2 { n++; s += $8 } END { if (n) printf "%.1f", s / n }' "$out/run/metrics.csv" 2>/dev/null)" ""
    local json
    bounded "$(program glow_eval)" --bpd --device $kind --precision "${precisions%% *}" --checkpoint "$out/run" \
        --data "$data" --split test --json >"$out/result" 2>>"$log" || status=1
    json=$(cat "$out/result")
    rm -f "$out/result"
    printf '%s\n' "$json" >>"$log"
    row glow_eval bits/dim "$(printf '%s' "$json" | sed -n 's/.*"bpd": *\([0-9.]*\).*/\1/p')" "test, EMA"
    row "$(basename "$data")" entropy "$(printf '%s' "$json" | sed -n 's/.*"entropy_bpd": *\([0-9.]*\).*/\1/p')" \
        "bits/dim: no model is better"
    rm -rf "$out/run/checkpoints"
}

say "gpu_check --part $part on: $device"
describe_machine
exec 3>&1  # the signal may come while output goes to the log
trap 'status=1; stop_child; row gpu_check stopped "by a signal" ""; finish >&3' INT TERM HUP
# Does a program find the GPU? Refusals are the programs' own; this one goes on to miss the checkpoint.
binary=$(program glow_sample) || { status=2; row glow_sample missing - ""; finish; }
probe=$("$binary" --device $kind --checkpoint /nonexistent -o "$out/probe.png" 2>&1)
printf '%s\n' "$probe" >>"$log"
case $probe in *"cannot open /nonexistent"*) ;; *)
    say "gpu_check: no GPU that can be used: $probe"
    status=2
    row "--device $kind" refused - ""
    finish ;;
esac
# Does a kernel run there? A message now, not in the middle of a table.
if ! run "$(program glow_bench)" --device $kind --width 16 --levels 1 --batch 8 --min-seconds 0.001 --filter level0/forward/; then
    say "gpu_check: the first kernels fail: $(tail -1 "$log")"
    row "first kernels" FAILED - ""
    status=1
fi
"part_$part"
finish
