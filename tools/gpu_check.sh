#!/usr/bin/env bash
# Checks and measures a machine with a GPU within eight minutes, the most important parts first.
set -uo pipefail
unset CDPATH  # with it, cd prints
# Use a decimal point in numbers, but keep the user's character set.
if [ -n "${LC_ALL-}" ]; then export LANG=$LC_ALL LC_CTYPE=$LC_ALL; unset LC_ALL; fi
export LC_NUMERIC=C

usage() {
    cat <<'TEXT'
usage: tools/gpu_check.sh [--part all|PART[,PART...]] [--out DIR] [--data F.h5] [--seconds S] [--smoke]

Runs parts on this machine's GPU, each within its own time limit; measurements that do not fit are skipped and listed. Prints one
table (under 10,000 characters) and writes DIR/gpu_check.tar.gz: the table, its rows as JSON, every program's output. Programs are
those of the bundle that contains this script, or of build/gpu or build/release. If a part fails, the next one still runs.

  tests      the tests that use the GPU, on all processors at once                                         60 s
  steps      whole training steps of the published models: ms, images/s, share of the GEMM peak            60 s
  kernels    time by kernel of a step (CUPTI)                                                              20 s
  twin       PyTorch twins, the strongest and the ordinary (GLOW_PYTHON or python3, with torch)            60 s
  memory     bytes of a step of 256x256 images against depth, and of 1024x1024                             60 s
  processes  2 and 8 MPI processes on one GPU, NCCL with one rank: their losses (a bundle with MPI)        20 s
  engines    what cuDNN reports for each engine, and whether one is faster (--tune -v)                     20 s
  train      training with its bits/dim over --data or the bundle's images, else a synthetic set          148 s
  sanitizer  compute-sanitizer memcheck and racecheck of small steps                                       30 s

  --out DIR     default gpu_check
  --seconds S   for all parts together (470)
  --smoke       the same on the CPU with tiny models: tests this script, the numbers mean nothing

Exit status: 0 success, 1 a test or program failed, 2 no usable GPU.
TEXT
}

all=(tests steps kernels twin memory processes engines train sanitizer)
declare -A seconds_of=([tests]=60 [steps]=60 [kernels]=20 [twin]=60 [memory]=60 [processes]=20 [engines]=20 [train]=148 [sanitizer]=30)
parts=all out=gpu_check data='' total=470 kind=cuda
while [ $# -gt 0 ]; do
    case $1 in
        --part | --out | --data | --seconds)
            [ $# -ge 2 ] || { echo "gpu_check: $1 needs a value (see --help)" >&2; exit 2; }
            [ -n "$2" ] || { echo "gpu_check: $1: expected a value, found an empty one: is a variable not set?" >&2; exit 2; }
            case $1 in --part) parts=$2 ;; --out) out=$2 ;; --data) data=$2 ;; --seconds) total=$2 ;; esac
            shift ;;
        --smoke) kind=cpu ;;
        --help | -h) usage; exit 0 ;;
        *) echo "gpu_check: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
[[ $total =~ ^[0-9]+$ ]] || { echo "gpu_check: --seconds $total: not a whole number" >&2; exit 2; }
if [ "$parts" = all ]; then wanted=("${all[@]}"); else IFS=, read -ra wanted <<<"$parts"; fi
for part in ${wanted[@]+"${wanted[@]}"} "${parts:-none}"; do
    case " ${all[*]} $parts " in *" $part "*) ;; *) part='' ;; esac
    [ -n "$part" ] && [ -n "$parts" ] || { echo "gpu_check: --part: all, or some of ${all[*]} (see --help)" >&2; exit 2; }
done

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
mkdir -p -- "$out/logs" && [ -w "$out" ] || { echo "gpu_check: cannot write in $out (see --out)" >&2; exit 2; }
out=$(cd -- "$out" && pwd)
begun=$SECONDS status=0 part=start rows=$out/rows.tsv
log=$out/logs/start.log
: >"$rows"
: >"$log"
[ -w "${TMPDIR:-/tmp}" ] || export TMPDIR=$out
# Where drivers and toolkits keep what may not be on PATH: nvidia-smi, compute-sanitizer.
PATH=$PATH:/usr/local/nvidia/bin:${CUDA_HOME:-/usr/local/cuda}/bin
python=$("$root/tools/find_python.sh" torch numpy h5py 2>/dev/null) || python=
export OMP_WAIT_POLICY=passive

# The published models, or tiny ones.
cifar=(--levels 3 --depth 32 --width 512 --size 32) large=(--levels 3 --depth 32 --width 256 --size 256 --batch 8)
fast=bf16 batches="512 256 64" min_seconds=0.7
time_factor=1  # a machine without a GPU may have few processors
if [ $kind = cpu ]; then
    time_factor=4
    [ "$total" != 470 ] || total=$((470 * time_factor))
    cifar=(--levels 2 --depth 2 --width 16 --size 16) large=(--levels 2 --depth 2 --width 16 --size 32 --batch 2)
    fast=fp32 batches="8 4" min_seconds=0.01
fi

# A program of the bundle (bin/) or of a build.
program() {
    local folder
    if [ -x "$root/bin/$1" ]; then echo "$root/bin/$1"; return; fi
    for folder in "$root/build/gpu" "$root/build/gpu-mpi" "$root/build/release"; do
        [ -d "$folder" ] || continue
        find "$folder" -path "$folder/bundle" -prune -o -type f -name "$1" -perm -u+x -print 2>/dev/null | head -1 |
            grep . && return
    done
    echo "gpu_check: $1 is not built" >&2
    return 1
}
say() { printf '%s\n' "$*" | tee -a "$log" >&2; }
# Arguments: name, what, value[, remark]. Adds a row to the table and the JSON.
row() { printf '%s\t%s\t%s\t%s\t%s\n' "$part" "$1" "$2" "$3" "${4-}" >>"$rows"; }
broken() { status=1; row "$@"; }
# The seconds left for this part.
left() { local s=$((part_end - SECONDS)); echo $((s > 1 ? s : 1)); }
# Arguments: seconds, name. Whether a measurement of that length still fits; if not, adds a row that says so.
fits() {
    [ "$(left)" -ge "$1" ] && return
    row "$2" skipped "no time"
    return 1
}
# Runs a command for at most the time left. It runs in the background, so that this script handles signals immediately.
bounded() {
    local code=0 child
    timeout -s TERM -k 5 "$(left)" "$@" &
    child=$!
    wait $child || code=$?
    return $code
}
# The same, with all output in the log.
run() { bounded "$@" >>"$log" 2>&1; }
# timeout passes a signal on to its command's process group; tests end the programs that they started.
stop_children() {
    local children
    resume_twin  # a stopped process does not end
    children=$(jobs -p)
    # shellcheck disable=SC2086
    [ -z "$children" ] || { kill $children 2>/dev/null; wait $children 2>/dev/null; }
}
# The last line of a file that is not blank, for a row.
last_words() { grep -v '^[[:space:]]*$' "$1" | tail -1 | tr '\t"\\' '   ' | cut -c1-110; }
# Values of one-line or indented JSON on standard input, by name.
json_value() { sed -n "s/.*\"$1\": *\"\{0,1\}\([-0-9.e+]*\).*/\1/p" | head -1; }
mib() { awk -v b="${1:-0}" 'BEGIN { printf "%.0f", b / 1048576 }'; }

finish() {
    local archive=$out/gpu_check.tar.gz packed
    {
        printf '{"date": "%s", "seconds": %d, "status": %d, "device": "%s", "rows": [' \
            "$(date -u +%Y-%m-%dT%H:%M:%SZ)" $((SECONDS - begun)) "$status" "$device"
        awk -F'\t' '
            function quoted(x) { return "\"" x "\"" }
            { gsub(/["\\]/, "\\\\&")
              value = $4 ~ /^-?[0-9][0-9.]*([eE][-+]?[0-9]+)?$/ ? $4 : quoted($4)
              printf "%s\n  {%s: %s, %s: %s, %s: %s, %s: %s, %s: %s}", (NR > 1 ? "," : ""), quoted("part"), quoted($1),
                  quoted("name"), quoted($2), quoted("what"), quoted($3), quoted("value"), value, quoted("remark"), quoted($5) }' "$rows"
        printf '\n]}\n'
    } >"$out/gpu_check.json"
    {
        echo "gpu_check: $device, $((SECONDS - begun)) s, status $status ($archive)"
        awk -F'\t' '$1 != last { print "== " $1; last = $1 }
            $3 == "" { printf "%-12s %s\n", $2, $5; next }
            { printf "%-40s %-14s %10s %s\n", $2, $3, $4, $5 }' "$rows"
    } >"$out/table.txt"
    rm -rf "$out/scratch" "$archive"
    # Packed outside of the folder, which must not change meanwhile.
    if ! { packed=$(mktemp) && tar czf "$packed" -C "$out" . && mv "$packed" "$archive" && chmod 644 "$archive"; }; then
        echo "gpu_check: $archive cannot be written" >&2
        rm -f "$archive" ${packed:+"$packed"}
        [ $status != 0 ] || status=1
    fi
    # Print at most 10,000 characters.
    if [ "$(wc -c <"$out/table.txt")" -lt 9900 ]; then
        cat "$out/table.txt"
    else
        head -c 9800 "$out/table.txt" | sed '$d'
        echo "(the rest is in table.txt of the archive)"
    fi
    exit $status
}

# Describes the machine in the log.
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
        [ -z "$python" ] || "$python" -c 'import sys, torch; print(sys.executable, torch.__version__, torch.version.cuda, torch.backends.cudnn.version())'
        "$(program glow_train)" --version
    } >>"$log" 2>&1
}

# ---- tests -------------------------------------------------------------------------------------------------------------

# Lines "program shards filter" of the tests that use the GPU. On the CPU, a few tests that check this script.
gpu_tests() {
    if [ $kind = cpu ]; then
        echo "test_kernels 2 *Relu*:*Squeeze*"
        echo "test_runtime 1 Devices/*"
        return
    fi
    cat <<'TESTS'
test_devices 12 *cuda*
test_train 6 DeviceStep.*:*cuda*:*Cuda*
test_kernels 4 *cuda*:*Cuda*:NarrowConvBackward.*
test_runtime 3 *cuda*:*Cuda*
test_commands 10 *Variants.*:*SameSeedGivesSameRun:*ResumedRunEqualsUninterrupted:*SampleIsDeterministic
TESTS
}

# Result lines of GoogleTest that begin so.
results() { cat "${@:2}" | grep -c "^\[ *$1 *\] .*ms)"; }

part_tests() {
    local name shards filter shard binary file code failed children=() scratch=$out/logs/tests
    local workers
    workers=$(nproc)
    rm -rf "$scratch"
    mkdir -p "$scratch"
    warm_up_twin
    while read -r name shards filter; do
        if ! binary=$(program "$name" 2>>"$log"); then broken "$name" missing -; continue; fi
        for ((shard = 0; shard < shards; ++shard)); do
            while [ "$(jobs -rp | grep -cvx "${twin_child:-none}")" -ge "$workers" ]; do sleep 0.1; done
            GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard GLOW_PROGRAMS=$root/bin \
                timeout -s TERM -k 5 "$(left)" "$binary" --gtest_filter="$filter" >"$scratch/$name.$shard.log" 2>&1 </dev/null &
            children+=("$name.$shard $!")
        done
    done <<<"$(gpu_tests)"
    for file in ${children[@]+"${children[@]}"}; do
        code=0
        wait "${file##* }" || code=$?
        echo $code >"$scratch/${file% *}.code"
    done
    while read -r name shards filter; do
        [ -f "$scratch/$name.0.log" ] || continue
        failed=$(results FAILED "$scratch/$name".*.log)
        row "$name" passed "$(results OK "$scratch/$name".*.log)" "$failed failed, $(results SKIPPED "$scratch/$name".*.log) skipped"
        [ "$failed" = 0 ] || status=1
        cat "$scratch/$name".*.log | sed -n 's/^\[  FAILED  \] \([^ ,]*\).* (.*ms)$/\1/p' | head -12 |
            while read -r test; do row "$name" FAILED "$test"; done
        # 0 and 1 are GoogleTest's own; 77: all skipped.
        for file in "$scratch/$name".*.code; do
            code=$(cat "$file")
            case $code in
                0 | 1 | 77) ;;
                124) broken "$name" "no time" "$(sed -n 's/^\[ RUN *\] //p' "${file%code}log" | tail -1)" ;;
                *) broken "$name" "exit $code" "$(sed -n 's/^\[ RUN *\] //p' "${file%code}log" | tail -1)" ;;
            esac
        done
    done <<<"$(gpu_tests)"
}

# ---- steps -------------------------------------------------------------------------------------------------------------

# label, options of glow_bench: a row of one benchmark's time.
bench() {
    local label=$1 json=$out/logs/bench.json images=$2 ms
    shift 2
    fits 8 "$label" || return
    if ! bounded "$(program glow_bench)" --device $kind --json --min-seconds $min_seconds "$@" >"$json" 2>>"$log"; then
        broken "$label" FAILED - "$(last_words "$log")"
        return
    fi
    cat "$json" >>"$log"
    ms=$(json_value ms_per_image <"$json")
    row "$label" ms "$(awk -v ms="$ms" -v n="$images" 'BEGIN { printf "%.2f", ms * n }')" "$(awk -v ms="$ms" \
        -v share="$(json_value share_of_peak <"$json")" -v peak="$(json_value 'peak_GFLOP\/s' <"$json")" -v mib="$(json_value peak_MiB <"$json")" '
        BEGIN { printf "%.0f images/s, %.3f of %.3g TFLOP/s, %.0f MiB", 1000 / ms, share, peak / 1000, mib }')"
    rm -f "$json"
}

part_steps() {
    local batch policy
    for batch in $batches; do
        for policy in reconstruct store; do
            [ "$batch $policy" = "256 store" ] && continue
            bench "$fast $batch $policy" "$batch" "${cifar[@]}" --batch "$batch" --precision $fast --filter "step/$policy"
        done
    done
    for policy in reconstruct store; do
        bench "256x256 8 fp32 $policy" "${large[-1]}" "${large[@]}" --precision fp32 --filter "step/$policy"
    done
    [ $kind = cpu ] && return
    for batch in 512 64; do
        bench "bf16 $batch reconstruct, --tune" "$batch" "${cifar[@]}" --batch "$batch" --precision bf16 --tune --filter step/reconstruct
    done
    bench "bf16 64 reconstruct, no graph" 64 "${cifar[@]}" --batch 64 --precision bf16 --no-graph --filter step/reconstruct
    bench "tf32 512 reconstruct" 512 "${cifar[@]}" --batch 512 --precision tf32 --filter step/reconstruct
    bench "fp32 512 reconstruct" 512 "${cifar[@]}" --batch 512 --precision fp32 --filter step/reconstruct
}

# ---- kernels -----------------------------------------------------------------------------------------------------------

part_kernels() {
    local batch file code
    for batch in $batches; do
        [ "$batch" = 256 ] && continue
        fits 8 "batch $batch" || continue
        file=$out/logs/kernels_$batch.txt
        bounded "$(program glow_bench)" --device $kind --kernels "${cifar[@]}" --batch "$batch" --precision $fast --filter step/reconstruct \
            >"$file" 2>>"$log"
        code=$?
        if [ $kind = cpu ]; then
            # On a CPU there are no GPU kernels to record; the program must refuse.
            [ $code = 2 ] && row "batch $batch" refused "as it must" || broken "batch $batch" FAILED "exit $code"
            continue
        fi
        if [ $code != 0 ]; then broken "batch $batch" FAILED "exit $code" "$(last_words "$log")"; continue; fi
        # The slowest kernels, and the sum.
        { head -12 "$file" | tail -n +2; tail -1 "$file"; } | cut -c1-110 | while IFS= read -r line; do row "batch $batch" "" "" "$line"; done
    done
}

# ---- PyTorch -----------------------------------------------------------------------------------------------------------

twin_child=
twin_options() { if [ $kind = cpu ]; then echo "--smoke"; else echo "--batches 512,64 --precisions bf16"; fi; }

# torch.compile takes longer than the measurement itself, so its cache is filled in the background, only while parts run that
# measure no time. timeout has its own process group.
pause_twin() { [ -z "$twin_child" ] || kill -STOP -- -"$twin_child" 2>/dev/null; }
resume_twin() { [ -z "$twin_child" ] || kill -CONT -- -"$twin_child" 2>/dev/null; }
warm_up_twin() {
    [ $kind = cuda ] && [ -n "$python" ] && [[ " ${wanted[*]} " = *" twin "* ]] || return 0
    export TORCHINDUCTOR_CACHE_DIR=$out/scratch/inductor TRITON_CACHE_DIR=$out/scratch/triton
    mkdir -p "$TORCHINDUCTOR_CACHE_DIR" "$TRITON_CACHE_DIR"
    nice timeout -s TERM -k 5 150 "$python" "$root/tests/reference/bench_pytorch_gpu.py" --prepare --variants gemm-graph,conv-compile \
        --batches 512,64 --precisions bf16 --memory store --warmup 1 >"$out/logs/twin_prepare.log" 2>&1 &
    twin_child=$!
}

part_twin() {
    local code reference=$root/tests/reference/bench_pytorch_gpu.py
    if [ -z "$python" ]; then row "PyTorch" absent - "no python3 with torch, numpy and h5py"; return; fi
    [ -z "$twin_child" ] || { resume_twin; wait "$twin_child" 2>/dev/null; twin_child=; }
    # shellcheck disable=SC2046
    bounded "$python" "$reference" $(twin_options) --seconds $(($(left) - 20)) >"$out/logs/twin.jsonl" 2>>"$log"
    code=$?
    cat "$out/logs/twin.jsonl" >>"$log"
    "$python" - "$out/logs/twin.jsonl" "$rows" <<'PYTHON' >"$out/logs/twin.rows" 2>>"$log"
import collections
import json
import sys

twins = [json.loads(line) for line in open(sys.argv[1])]
for r in twins:
    name = f"{r['mode']} {r['precision']} {r['batch']} {r['memory']}"
    if "ms_per_step" in r:
        remark = f"{r['images_per_s']:.0f} images/s, {r['peak_bytes'] / 2**20:.0f} MiB, loss {r['bpd']}, ready in {r['prepared_s']:.0f} s"
        print(name, "ms", f"{r['ms_per_step']:.2f}", remark, sep="\t")
    else:
        print(name, "skipped", " ".join(r.get("error", r.get("skipped", "-")).split())[:110], "", sep="\t")
# Glow relative to PyTorch: at equal policy, and at equal memory (Glow reconstructs, PyTorch recomputes).
ours = {}
for line in open(sys.argv[2]):
    part, name, what, value = line.rstrip("\n").split("\t")[:4]
    if part == "steps" and what == "ms":
        ours[name] = float(value)
for kind, modes in (("strongest", None), ("ordinary", ("conv-compile", "conv-eager"))):
    best = collections.defaultdict(lambda: (float("inf"), ""))
    for r in twins:
        if "ms_per_step" in r and (modes is None or r["mode"] in modes):
            key = (r["precision"], r["batch"], r["memory"])
            best[key] = min(best[key], (r["ms_per_step"], r["mode"]))
    for (precision, batch, memory), (ms, mode) in sorted(best.items()):
        policy = "store" if memory == "store" else "reconstruct"
        mine = ours.get(f"{precision} {batch} {policy}")
        if mine:
            print(f"{kind} {precision} {batch} {memory}", "times glow's", f"{ms / mine:.2f}", f"{mode} / {policy}", sep="\t")
PYTHON
    while IFS=$'\t' read -r name what value remark; do row "$name" "$what" "$value" "$remark"; done <"$out/logs/twin.rows"
    rm -f "$out/logs/twin.rows"
    case $code in 0) ;; 124) row "PyTorch" "not all" "no time" ;; *) broken "PyTorch" FAILED "exit $code" "$(last_words "$log")" ;; esac
}

# ---- memory ------------------------------------------------------------------------------------------------------------

part_memory() {
    local csv=$out/memory-depth.csv depths=4,32,128 size=256 width=256 batch=8 huge=1024
    [ $kind = cuda ] || depths=1,2 size=16 width=16 batch=2 huge=32
    rm -f "$csv" "$out/memory-size.csv"
    # Alone: a device counts the memory of all its processes.
    if [ $kind = cuda ]; then
        GLOW_PROGRAMS=$root/bin bounded "$(program test_commands)" --gtest_filter='MemoryScaling.*:*SheetOfLargeImagesFitsPlannedMemory' >"$out/logs/memory_tests.log" 2>&1 ||
            broken test_commands FAILED "$(sed -n 's/^\[  FAILED  \] \([^ ,]*\).* (.*ms)$/\1/p' "$out/logs/memory_tests.log" | head -1)"
        row test_commands passed "$(results OK "$out/logs/memory_tests.log")" "of memory"
    fi
    run "$(program glow_memory)" --device $kind --modes reconstruct --depths "${depths%%,*}" --sizes $huge --width $width --batches $batch \
        --no-cosine --csv "$out/memory-size.csv" || broken "$huge x $huge" FAILED - "$(last_words "$log")"
    run "$(program glow_memory)" --device $kind --modes reconstruct,checkpoint,store --depths $depths --sizes $size --width $width \
        --batches $batch --no-cosine --csv "$csv" || broken "depths $depths" FAILED - "$(last_words "$log")"
    for csv in "$out/memory-depth.csv" "$out/memory-size.csv"; do
        [ -f "$csv" ] || continue
        awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next }
            { printf "%s %dx%d\t%d\t%.0f\t%s\t%.0f\t%.1f\n", $at["mode"], $at["image"], $at["image"], $at["depth"], $at["peak_bytes"] / 1048576,
                $at["peak_bytes"] == $at["predicted_bytes"] ? "as predicted" : "NOT as predicted", $at["process_bytes"] / 1048576, $at["step_ms"] }' "$csv" |
            while IFS=$'\t' read -r mode depth peak exact process ms; do
                row "$mode K $depth" MiB "$peak" "$exact, process grew by $process, $ms ms"
            done
    done
    if [ -n "$python" ] && [ -s "$out/memory-depth.csv" ] && "$python" -c 'import matplotlib' 2>/dev/null; then
        run "$python" "$root/tools/plot_memory.py" "$out/memory-depth.csv" -o "$out/memory-depth.png"
    fi
}

# ---- processes ---------------------------------------------------------------------------------------------------------

# A data set for runs: --data, the bundle's, else Gaussian pixels of known entropy.
data_set() {
    [ -n "$data" ] && return
    data=$root/data/cifar10.h5
    [ -f "$data" ] && [ $kind = cuda ] && return
    data=$out/scratch/gauss.h5
    mkdir -p "$out/scratch"
    local images=4096 size=32
    [ $kind = cuda ] || images=64 size=16
    [ -f "$data" ] || run "$(program glow_data)" synthetic gauss --size $size --channels 3 --train $images --test $((images / 8)) -o "$data"
}

# Arguments: name, command that starts glow_train. Trains some steps and writes the losses to $out/scratch/NAME.losses.
few_steps() {
    local name=$1 folder=$out/scratch/$1 shape=(--depth 4 --width 64 --batch 64 --max-steps 20)
    [ $kind = cuda ] || shape=(--depth 1 --width 8 --batch 16 --max-steps 4)
    shift
    rm -rf "$folder"
    run "$@" --device $kind --data "$data" --out "$folder" --levels 2 "${shape[@]}" --precision fp32 --seed 1 --lr 1e-4 \
        --log-every 1 --eval-every 0 --sample-every 0 --checkpoint-every 0 --quiet || return
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i == "bpd") c = i; next } { print $c }' "$folder/metrics.csv" >"$out/scratch/$name.losses"
}
# Arguments: name, bound, remark. Adds a row with the largest difference from the losses of one process.
same_losses() {
    local apart
    apart=$(paste "$out/scratch/one.losses" "$out/scratch/$1.losses" | awk 'NF != 2 { bad = 1 } { d = $1 - $2; if (d < 0) d = -d; if (d > m) m = d }
        END { if (NR == 0 || bad) print "incomplete"; else printf "%.2g\n", m }')
    if [[ $apart == [0-9]* ]] && awk -v a="$apart" -v b="$2" 'BEGIN { exit !(a <= b) }'; then
        row "$1" "bits/dim apart" "$apart" "$3"
    else
        broken "$1" "bits/dim apart" "$apart" "more than $2 $3"
    fi
}

part_processes() {
    local train mpirun count
    train=$(program glow_train) || { broken glow_train missing -; return; }
    if [ -x "$root/bin/mpirun" ]; then mpirun=$root/bin/mpirun; else mpirun=$(command -v mpirun); fi
    if [ -z "$mpirun" ] || "$train" --version | grep -qi '^MPI  *no'; then row MPI absent - "no mpirun here, or programs without MPI"; return; fi
    data_set
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
    if ! few_steps one "$train"; then broken "one process" FAILED - "$(last_words "$log")"; return; fi
    # Gradients are added in another order, so losses differ by rounding errors, which grow with the steps.
    for count in 2 8; do
        fits 5 "mpirun -n $count" || continue
        if few_steps mpi_$count "$mpirun" -n $count --oversubscribe --bind-to none "$train" --communicator mpi; then
            same_losses mpi_$count 1e-3 "mpirun -n $count, one GPU"
        else
            broken "mpirun -n $count" FAILED - "$(last_words "$log")"
        fi
    done
    [ $kind = cuda ] || { row NCCL skipped "needs a GPU"; return; }
    for count in --graph --no-graph; do
        fits 5 "NCCL $count" || continue
        if few_steps nccl"$count" "$mpirun" -n 1 "$train" --communicator nccl $count; then
            same_losses nccl"$count" 0 "one rank"
        else
            broken "NCCL $count" FAILED - "$(last_words "$log")"
        fi
    done
}

# ---- engines -----------------------------------------------------------------------------------------------------------

part_engines() {
    local precision file width=512 batch=256
    [ $kind = cuda ] || width=16 batch=8
    data_set
    for precision in bf16 tf32 fp32; do
        [ "$kind $precision" = "cpu tf32" ] && continue
        fits 5 "$precision" || continue
        file=$out/logs/tune_$precision.log
        bounded "$(program glow_train)" --device $kind --data "$data" --out "$out/scratch/tuned" --levels 3 --depth 1 --width $width \
            --batch $batch --precision $precision --tune -v --max-steps 1 --eval-every 0 --sample-every 0 --checkpoint-every 0 >"$file" 2>&1 ||
            if [ $kind = cpu ] && grep -q 'this processor or build does not support' "$file"; then
                row "$precision" "refused here" -
                continue
            else
                broken "$precision" FAILED - "$(last_words "$file")"
            fi
        rm -rf "$out/scratch/tuned"
        sed -n 's/.*tuned level \([0-9]\): /level \1: /p' "$file" | cut -c1-90 | while IFS= read -r line; do row "$precision" "" "" "$line"; done
        grep -q 'tuned level' "$file" || row "$precision" "" "" "no choice of engines: $(grep -m1 -e '--tune' "$file" | cut -c1-80)"
        # The most common reasons why engines were rejected.
        sed -n 's/.*cuDNN engine [0-9]*[^:]*: //p' "$file" | cut -c1-80 | sort | uniq -c | sort -rn | head -4 |
            while read -r count reason; do row "$precision" "engines" "$count" "$reason"; done
    done
}

# ---- train -------------------------------------------------------------------------------------------------------------

part_train() {
    local minutes shape=() metrics json images bpd batch=256
    data_set
    # Two minutes at most, and time for evaluation and samples.
    minutes=$(awk -v s="$(left)" 'BEGIN { s = s > 145 ? 120 : s - 25; printf "%.3f", (s < 5 ? 5 : s) / 60 }')
    [ $kind = cuda ] || minutes=0.05 batch=8 shape=(--levels 2 --depth 2 --width 16)
    rm -rf "$out/run"
    run "$(program glow_train)" --device $kind --data "$data" --out "$out/run" ${shape[@]+"${shape[@]}"} --precision $fast \
        --batch $batch --warmup-epochs 5 --max-minutes "$minutes" --eval-every 0 --sample-every 0 --checkpoint-every 0 ||
        broken glow_train FAILED - "$(last_words "$log")"
    metrics=$out/run/metrics.csv
    if [ -f "$metrics" ]; then
        # Training bits/dim after some numbers of images: the mean of the rows within 5% of each.
        for images in 100000 200000 400000 800000; do
            awk -F, -v n=$images 'NR > 1 && $3 > 0.95 * n && $3 < 1.05 * n { s += $4; ++k } END { if (k) printf "%.3f\n", s / k }' "$metrics" |
                while read -r bpd; do row "training, $images images" bits/dim "$bpd"; done
        done
        row "training" images "$(awk -F, 'END { print $3 }' "$metrics")" \
            "$(awk -F, 'NR > 2 { n++; s += $8 } END { if (n) printf "%.0f images/s", s / n }' "$metrics")"
    fi
    json=$out/logs/eval.json
    bounded "$(program glow_eval)" --bpd --device $kind --precision $fast --checkpoint "$out/run" --data "$data" --split test --json >"$json" 2>>"$log" ||
        broken glow_eval FAILED - "$(last_words "$log")"
    row "test, EMA" bits/dim "$(json_value bpd <"$json")" "$(basename "$data")$(json_value entropy_bpd <"$json" | sed 's/^\(.\)/, entropy \1/')"
    run "$(program glow_sample)" --device $kind --checkpoint "$out/run" --grid 8x8 --temperature 0.7 -o "$out/samples.png" ||
        broken glow_sample FAILED - "$(last_words "$log")"
    rm -rf "$out/run/checkpoints" "$out/run"/*.h5
}

# ---- compute-sanitizer -------------------------------------------------------------------------------------------------

# Arguments: a tool's command line, a program, its arguments. Runs the program under the tool.
under() {
    local tool=$1 binary
    binary=$(program "$2")
    shift 2
    if [ -x "$root/bin/run" ]; then
        GLOW_UNDER=$tool run "$binary" "$@"  # the bundle's programs are scripts that start the real ones
    else
        # shellcheck disable=SC2086
        run $tool "$binary" "$@"
    fi
}

part_sanitizer() {
    local tool test filter code before
    [ $kind = cpu ] && { row compute-sanitizer skipped "needs a GPU"; return; }
    if ! command -v compute-sanitizer >/dev/null; then row compute-sanitizer absent -; return; fi
    while read -r tool test filter; do
        fits 5 "$tool $test $filter" || continue
        before=$(($(wc -l <"$log") + 1))
        under "compute-sanitizer --tool $tool --target-processes all --error-exitcode 9" "$test" --gtest_filter="$filter"
        code=$?
        if [ $code = 0 ]; then
            row "$tool $test" clean - "$filter"
        elif [ $code = 124 ]; then
            row "$tool $test" skipped "no time" "$filter"
        elif tail -n +"$before" "$log" | grep -qi 'not supported\|failed to initialize'; then
            row "$tool $test" "refused here" - "$filter"  # as in some virtual machines; not an error of Glow
        else
            broken "$tool $test" FAILED "exit $code" "$filter"
        fi
    done <<'RUNS'
racecheck test_kernels NarrowConvBackward.*
memcheck test_devices *InFloat/cuda_published:*InBf16/cuda_published
racecheck test_devices *InBf16/cuda_published
memcheck test_kernels *cuda*:NarrowConvBackward.*
RUNS
}

# ---- all ---------------------------------------------------------------------------------------------------------------

device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1)
[ -n "$device" ] || device=$(sed -n 's/^Model:[[:space:]]*//p' /proc/driver/nvidia/gpus/*/information 2>/dev/null | head -1)
device=${device:-a GPU without a name}
[ $kind = cuda ] || device="smoke test on the CPU"
part_end=$((SECONDS + 60 * time_factor))
describe_machine
exec 3>&1  # the signal may come while output goes to the log
trap 'stop_children; broken gpu_check stopped "by a signal"; finish >&3' INT TERM HUP
# Does a program find the GPU? If it does, it fails only because the checkpoint is missing.
binary=$(program glow_sample) || { status=2; row glow_sample missing -; finish; }
probe=$("$binary" --device $kind --checkpoint /nonexistent -o "$out/probe.png" 2>&1)
printf '%s\n' "$probe" >>"$log"
case $probe in *"cannot open /nonexistent"*) ;; *)
    say "gpu_check: no usable GPU: $probe"
    status=2
    row "--device $kind" refused -
    finish ;;
esac
# Does a kernel run? If not, report it now, not in the middle of a table.
if ! run "$(program glow_bench)" --device $kind --width 16 --levels 1 --batch 8 --min-seconds 0.001 --filter level0/forward/; then
    broken "first kernels" FAILED - "$(last_words "$log")"
    say "gpu_check: the first kernels fail: $(last_words "$log")"
fi
for part in "${wanted[@]}"; do
    log=$out/logs/$part.log
    : >"$log"
    budget=$((${seconds_of[$part]} * time_factor)) remaining=$((total - (SECONDS - begun)))
    [ $budget -le $remaining ] || budget=$remaining
    if [ $budget -lt 5 ]; then row "$part" skipped "no time"; continue; fi
    part_end=$((SECONDS + budget))
    started=$SECONDS
    say "== $part, at most $budget s"
    case $part in steps | kernels | engines | train) pause_twin ;; *) resume_twin ;; esac
    "part_$part"
    say "== $part took $((SECONDS - started)) s"
done
finish
