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
           and 512; images/s of the published CIFAR model beside a PyTorch twin
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
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
log=$out/$part.log rows=$out/$part.rows
: >"$log"
: >"$rows"
start=$SECONDS status=0

# A program of the bundle (bin/) or of a build.
program() {
    local folder
    if [ -x "$root/bin/$1" ]; then echo "$root/bin/$1"; return; fi
    for folder in "$root/build/gpu" "$root/build/release"; do
        [ -d "$folder" ] && find "$folder" -type f -name "$1" -perm -u+x 2>/dev/null | head -1 | grep . && return
    done
    echo "gpu_check: $1 is not built" >&2
    return 1
}
left() { local s=$((limit - (SECONDS - start))); echo $((s > 1 ? s : 1)); }
say() { printf '%s\n' "$*" | tee -a "$log" >&2; }
# name, what, value, unit: one line of the table and of the JSON.
row() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$rows"; }
# Runs a command in what is left of the part's time, all it prints into the log.
run() { timeout -s TERM -k 10 "$(left)" "$@" >>"$log" 2>&1; }

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
device=${device:-no NVIDIA driver}
[ $kind = cuda ] || device="rehearsal on the CPU"

part_tests() {
    local name binary summary
    for name in test_kernels test_runtime test_layers test_layers_f64 test_devices test_precision test_train; do
        binary=$(program $name 2>>"$log") || { row "$name" missing - ""; status=1; continue; }
        say "== $name"
        # Files of the source tree are not in a bundle.
        if ! run "$binary" --gtest_brief=0 --gtest_filter="-*Golden*" --gtest_output="xml:$out/$name.xml"; then
            status=1
        fi
        summary=$(grep -o '<testsuites[^>]*>' "$out/$name.xml" 2>/dev/null)
        row "$name" passed "$(grep -c 'result="completed"' "$out/$name.xml" 2>/dev/null)" tests
        row "$name" failed "$(printf '%s' "$summary" | sed -n 's/.* failures="\([0-9]*\)".*/\1/p')" tests
        row "$name" skipped "$(grep -c 'result="skipped"' "$out/$name.xml" 2>/dev/null)" tests
        rm -f "$out/$name.xml"
    done
    # The CPU parts of the tests have run by now; what follows needs the GPU.
    if ! run "$(program glow_eval)" --version; then status=1; fi
    if [ $kind = cpu ] || [ "$device" = "no NVIDIA driver" ]; then return; fi
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            say "== compute-sanitizer $tool"
            if run compute-sanitizer --tool $tool --error-exitcode 9 "$(program test_devices)" \
                --gtest_filter='*InFloat/cuda_published'; then
                row compute-sanitizer $tool clean ""
            else
                row compute-sanitizer $tool FAILED ""
                status=1
            fi
        done
    else
        row compute-sanitizer absent - ""
    fi
}

# Rows of glow_bench's JSON: name, share of the peak, milliseconds an image.
bench() {
    local label=$1 json
    shift
    json=$out/bench.json
    if ! timeout "$(left)" "$(program glow_bench)" --device $kind --json --min-seconds $seconds "${shape[@]}" "$@" >"$json" 2>>"$log"; then
        row "$label" glow_bench FAILED ""
        status=1
        return
    fi
    cat "$json" >>"$log"
    awk -v label="$label" -F'[:,]' '
        /"name":/ { gsub(/[" ]/, "", $2); name = $2; sub(/\/min_time.*|\/manual_time.*/, "", name) }
        /"ms_per_image":/ { ms = $2 } /"share_of_peak":/ { share = $2 } /"peak_GFLOP\/s":/ { peak = $2 }
        /_calls[0-9]+":/ { gsub(/[" ]/, "", $1); printf "%s %s\tshare of peak\t%.4f\t\n", label, $1, $2 }
        /^    }/ { if (ms != "") {
            printf "%s %s\timages/s\t%.1f\t\n", label, name, 1000 / ms
            printf "%s %s\tshare of peak\t%.4f\t\n", label, name, share
            printf "%s %s\tpeak\t%.0f\tGFLOP/s\n", label, name, peak }
            ms = "" }' "$json" >>"$rows"
    rm -f "$json"
}

part_speed() {
    local precision batch twin=$root/tests/reference/bench_pytorch_gpu.py
    local depth=${depths##* } first=${batches%% *} fast=${precisions%% *} engine
    [ $kind = cuda ] && depth=32
    for batch in $batches; do
        for precision in $precisions; do
            [ "$(left)" -lt 200 ] && break
            bench "glow $precision batch $batch" --depth "$depth" --batch "$batch" --precision "$precision" \
                --filter step/reconstruct
        done
    done
    for batch in $batches; do
        [ "$batch" = 256 ] && continue
        bench "glow $fast batch $batch, no graph" --depth "$depth" --batch "$batch" --precision "$fast" --no-graph \
            --filter step/reconstruct
    done
    bench "glow $fast batch $first, stored" --depth "$depth" --batch "$first" --precision "$fast" --filter step/store
    for engine in products cudnn; do
        [ "$engine $kind" = "cudnn cpu" ] && continue
        bench "glow $fast batch $first, $engine" --batch "$first" --precision "$fast" --engine $engine --filter network
    done
    bench "glow $fast batch $first" --batch "$first" --precision "$fast" --filter products
    if ! python3 -c 'import torch, numpy, h5py' 2>>"$log"; then
        row "PyTorch twin" absent - ""
        return
    fi
    local how=(--seconds $(($(left) - 60)) --batches "512,64" --precisions "bf16,tf32,fp32")
    [ $kind = cpu ] && how=(--dry)
    (cd "$root/tests/reference" && timeout "$(left)" python3 "$twin" "${how[@]}") >"$out/twin.jsonl" 2>>"$log" || status=1
    cat "$out/twin.jsonl" >>"$log"
    python3 - "$out/twin.jsonl" >>"$rows" <<'PYTHON'
import json
import sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    name = f"PyTorch {r['mode']} {r['memory']} {r['precision']} batch {r['batch']}"
    if "images_per_s" in r:
        print(name, "images/s", r["images_per_s"], "", sep="\t")
        print(name, "peak memory", round(r["peak_bytes"] / 2**20), "MiB", sep="\t")
    else:
        print(name, "not measured", r.get("error", r.get("skipped", "-")).replace("\t", " "), "", sep="\t")
PYTHON
    rm -f "$out/twin.jsonl"
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
            json=$(timeout "$(left)" "$(program glow_train)" --device $kind --data "$data" --out "$out/memory_run" \
                "${shape[@]}" --depth "$depth" --batch $memory_batch --precision "${precisions%% *}" \
                --memory $memory --max-steps 3 --eval-every 0 --sample-every 0 --checkpoint-every 0 --quiet --json 2>>"$log")
            if [ -z "$json" ]; then row "depth $depth, $memory" glow_train FAILED ""; status=1; continue; fi
            printf '%s\n' "$json" >>"$log"
            for what in planned_bytes peak_bytes process_growth_bytes; do
                row "depth $depth, $memory" $what \
                    "$(printf '%s' "$json" | sed -n "s/.*\"$what\": *\([0-9]*\).*/\1/p")" bytes
            done
        done
    done
    rm -rf "$out/memory_run"
}

part_train() {
    local minutes
    data_set
    minutes=$(awk -v s="$(left)" 'BEGIN { printf "%.2f", (s - 60) / 60 }')
    rm -rf "$out/run"
    [ $kind = cpu ] && minutes=0.05
    run "$(program glow_train)" --device $kind --data "$data" --out "$out/run" "${shape[@]}" \
        --precision "${precisions%% *}" --batch $train_batch --tune --warmup-epochs 0.5 --max-minutes "$minutes" --eval-every 0 \
        --sample-every 0 --checkpoint-every 0 || status=1
    row glow_train bits/dim "$(awk -F, 'END { print $4 }' "$out/run/metrics.csv" 2>/dev/null)" "last step"
    row glow_train images "$(awk -F, 'END { print $3 }' "$out/run/metrics.csv" 2>/dev/null)" seen
    row glow_train images/s "$(awk -F, 'NR > 5 { n++; s += $8 } END { if (n) printf "%.1f", s / n }' "$out/run/metrics.csv" 2>/dev/null)" ""
    local json
    json=$(timeout "$(left)" "$(program glow_eval)" --bpd --device $kind --precision "${precisions%% *}" --checkpoint "$out/run" \
        --data "$data" --split test --json 2>>"$log") || status=1
    printf '%s\n' "$json" >>"$log"
    row glow_eval bits/dim "$(printf '%s' "$json" | sed -n 's/.*"bpd": *\([0-9.]*\).*/\1/p')" "test, EMA"
    rm -rf "$out/run/checkpoints"
}

say "gpu_check --part $part on: $device"
if [ "$part" = tests ]; then
    part_tests
fi
# Does a program find the GPU? Refusals are the programs' own; this one goes on to miss the checkpoint.
probe=$("$(program glow_sample)" --device $kind --checkpoint /nonexistent -o "$out/probe.png" 2>&1)
printf '%s\n' "$probe" >>"$log"
case $probe in *"cannot open /nonexistent"*) ;; *)
    say "gpu_check: no GPU that can be used: $probe"
    [ $status = 0 ] && status=2
    row "--device $kind" refused - ""
    finish ;;
esac
[ "$part" = tests ] || "part_$part"
finish
