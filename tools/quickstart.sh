#!/usr/bin/env bash
# From a fresh checkout to a trained model, its test bits/dim, a sheet of samples and a training curve.
set -euo pipefail
unset CDPATH  # with it, cd prints
# Use a decimal point in numbers, but keep the user's character set.
if [ -n "${LC_ALL-}" ]; then export LANG=$LC_ALL LC_CTYPE=$LC_ALL; unset LC_ALL; fi
export LC_NUMERIC=C

usage() {
    cat <<'TEXT'
usage: tools/quickstart.sh [--cifar10 DIR | --synthetic] [--minutes M]

Installs missing dependencies, builds build/release, makes a data set, trains a Glow for a few minutes, and writes samples.png
and training.png to the run's folder. On a GPU that the built program can use, it trains a model of the size published for CIFAR-10
(3 levels of 32 steps, width 512) in bf16, with the options of glow_train --preset cifar10-5min; otherwise a small one (3 levels
of 8 steps, width 128) on the CPU, with --preset quick. The first line of the output says which, and why. Progress goes to
stderr; stdout gets one line:
  result: test bits/dim X +- S (EMA) Y (raw)
with X from the averaged weights (EMA), its standard error S, and Y from the raw weights.

  --cifar10 DIR  CIFAR-10 from DIR: data_batch_1.bin .. data_batch_5.bin and test_batch.bin, or train*.bin and test*.bin
                 (environment: GLOW_CIFAR10_DIR)
  --synthetic    no CIFAR-10: correlated Gaussian pixels of known entropy, 8x8
  --minutes M    train for M minutes, default 5 (environment: GLOW_MINUTES)
  --help         this text

Without --cifar10 and --synthetic, CIFAR-10 is downloaded from its official site; without a network, the synthetic set is used.
CIFAR-10 goes to datasets/cifar10.h5 and runs/quickstart, the synthetic set to datasets/gauss.h5 and runs/quickstart-gauss.
Finished parts are not repeated: data set, training, evaluation. Interrupted training continues from its last checkpoint, with
the same model on the same kind of device. CUDA_VISIBLE_DEVICES= (empty) hides a GPU.
GLOW_PYTHON names a Python with numpy and matplotlib, if neither a python3 on PATH nor /usr/bin/python3 has them.
Exit status: 0 success; 1 failure; 2 a problem that you can fix (the message says how); 75 or 130 stopped by a signal: run the same
command again to continue.
TEXT
}

say() { printf '%s\n' "$*" >&2; }
fail() { local status=$1; shift; say "quickstart: $*"; exit "$status"; }

# Maps a step's failure to exit status 1 or 2.
failed() { if [ "$1" = 2 ]; then fail 2 "$2"; else fail 1 "$2"; fi; }

# ---- options ---------------------------------------------------------------------------------------------------------

cifar10_dir=${GLOW_CIFAR10_DIR:-}
minutes=${GLOW_MINUTES:-5}
synthetic=no
while [ $# -gt 0 ]; do
    case $1 in
        --cifar10 | --minutes)
            [ $# -ge 2 ] || fail 2 "$1 needs a value (see --help)"
            [ -n "$2" ] || fail 2 "$1: expected a value, found an empty one: is a variable not set?"
            if [ "$1" = --cifar10 ]; then cifar10_dir=$2 synthetic=no; else minutes=$2; fi
            shift 2 ;;
        --synthetic) synthetic=yes cifar10_dir=''; shift ;;
        --help | -h) usage; exit 0 ;;
        *) fail 2 "unknown option $1 (see --help)" ;;
    esac
done
if ! [[ $minutes =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)$ ]] || ! [[ $minutes =~ [1-9] ]]; then
    fail 2 "minutes must be a number above 0, not '$minutes' (GLOW_MINUTES or --minutes)"
fi

if [ -n "$cifar10_dir" ]; then
    [ -d "$cifar10_dir" ] || fail 2 "GLOW_CIFAR10_DIR or --cifar10: no folder '$cifar10_dir'"
    cifar10_dir=$(cd -- "$cifar10_dir" && pwd)
    holds() {  # pattern; characters of the folder's name are not part of it
        local file
        for file in "$cifar10_dir"/$1 "$cifar10_dir"/cifar-10-batches-bin/$1; do [ ! -e "$file" ] || return 0; done
        return 1
    }
    if ! { holds 'data_batch_*.bin' && holds 'test_batch.bin'; } && ! { holds 'train*.bin' && holds 'test*.bin'; }; then
        fail 2 "no CIFAR-10 in '$cifar10_dir': expected data_batch_1.bin .. data_batch_5.bin and test_batch.bin" \
            "(the binary version), or train*.bin and test*.bin"
    fi
fi

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
bin=build/release/bin
published=(--preset cifar10-5min)  # 3.51 bits/dim after 202 s on an H200
small=(--preset quick)
published_text="a model of the size published for CIFAR-10 (3 levels of 32 steps, width 512, bf16) on the GPU"
small_text="a small model (3 levels of 8 steps, width 128) on the CPU"

# Ctrl-C also reaches the running tool, which may still succeed; do not start the next step then.
interrupted=no
trap 'interrupted=yes' INT TERM
# command...: redirects its results to stderr, because stdout is for the result line; returns its status
run() {
    local status=0
    "$@" >&2 || status=$?
    [ $interrupted = no ] || fail 130 "interrupted; run the same command again to continue"
    return $status
}
stage() { say "== $1"; }
record() {  # file text: complete or not at all, as on a full disk
    echo "$2" >"$1.part" && mv "$1.part" "$1"
}

# ---- model: predicted here, decided by the built program below -------------------------------------------------------

# The name of this machine's NVIDIA GPU, even if no program can use it; empty without one.
gpu_name() {
    local name device
    case ${CUDA_VISIBLE_DEVICES-0} in '' | -1) return ;; esac
    name=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || name=''
    [ -n "$name" ] || name=$(sed -n '0,/^Model:/s/^Model:[ \t]*//p' /proc/driver/nvidia/gpus/*/information 2>/dev/null) || name=''
    for device in /sys/bus/pci/devices/*; do  # class 03: display controllers
        [ -z "$name" ] || break
        if [ "$(cat "$device/vendor" 2>/dev/null)" = 0x10de ] && [[ $(cat "$device/class" 2>/dev/null) = 0x03* ]]; then
            name="an NVIDIA GPU without its driver"
        fi
    done
    printf '%s' "$name"
}
some_nvcc() {
    local nvcc
    for nvcc in ${CUDACXX:+"$CUDACXX"} nvcc {"${CUDA_HOME-}",/usr/local/cuda,/opt/cuda}/bin/nvcc; do
        command -v "$nvcc" >/dev/null && return
    done
    return 1
}
toolkit="to use it, install NVIDIA's CUDA toolkit, 12.4 or newer (https://developer.nvidia.com/cuda-downloads), and run this again"
# The model that an existing run uses; empty without a run.
begun() {
    if [ -f "$1/quickstart.model" ]; then
        cat "$1/quickstart.model"
    elif [ -e "$1/latest.h5" ] || [ -e "$1/config.toml" ]; then
        echo small  # earlier versions trained only the small model
    fi
}

gpu=$(gpu_name)
if [ $synthetic = yes ]; then
    say "quickstart: trains a small model on the CPU, because the synthetic set is small (--synthetic)"
elif [ "$(begun runs/quickstart)" = published ]; then
    say "quickstart: continues with $published_text, the model of runs/quickstart"
elif [ "$(begun runs/quickstart)" = small ]; then
    say "quickstart: continues with $small_text, the model of runs/quickstart"
elif [ -x $bin/glow_train ] && $bin/glow_train --device cuda --print-config >/dev/null 2>&1; then
    say "quickstart: trains $published_text${gpu:+: $gpu}"
elif [ -z "$gpu" ]; then
    say "quickstart: trains $small_text, because no NVIDIA GPU is visible on this machine"
elif ! some_nvcc; then
    say "quickstart: trains $small_text: $gpu is here, but no nvcc to compile for it; $toolkit"
else
    say "quickstart: trains $published_text, if the program that is built now can use it: $gpu"
fi

# ---- dependencies and build -------------------------------------------------------------------------------------------

stage "dependencies"
run tools/install_dependencies.sh || failed $? "missing packages could not be installed (see above)"

python=$(tools/find_python.sh numpy matplotlib) ||
    fail 2 "no Python here has numpy and matplotlib: apt-get install python3-numpy python3-matplotlib, or name one in GLOW_PYTHON"

stage "build (build/release; some minutes the first time)"
run cmake --preset release -DGLOW_NATIVE=ON || fail 1 "the configuration failed (see above)"
run cmake --build --preset release --target glow_data glow_train glow_eval glow_sample ||
    fail 1 "the build failed (see above); with little memory try CMAKE_BUILD_PARALLEL_LEVEL=1"

# ---- data -------------------------------------------------------------------------------------------------------------

stage "data"
mkdir -p datasets runs || fail 2 "cannot write to $PWD"
name=cifar10
if [ $synthetic = yes ]; then
    name=gauss
elif [ -f datasets/cifar10.h5 ]; then
    say "datasets/cifar10.h5 exists and is reused; remove it and runs/quickstart to start over"
elif [ -n "$cifar10_dir" ]; then
    run $bin/glow_data cifar10 "$cifar10_dir" -o datasets/cifar10.h5 || failed $? "could not make datasets/cifar10.h5 (see above)"
elif ! run $bin/glow_data cifar10 datasets/download --download -o datasets/cifar10.h5; then
    say "CIFAR-10 could not be downloaded (see above), so the synthetic set is used instead. To use CIFAR-10, set GLOW_CIFAR10_DIR."
    name=gauss
fi
if [ $name = gauss ]; then
    run_dir=runs/quickstart-gauss
    small=(--levels 2 --depth 8 --width 128 --batch 64 --epoch-images 50000 --warmup-epochs 0.1 --ema-decay 0.99)
    small_text="a small model (2 levels of 8 steps, width 128) on the CPU"
    if [ -f datasets/gauss.h5 ]; then
        say "datasets/gauss.h5 exists and is reused"
    else
        run $bin/glow_data synthetic gauss --size 8 --channels 3 --train 50000 --test 5000 --seed 1 -o datasets/gauss.h5 ||
            failed $? "could not make datasets/gauss.h5 (see above)"
    fi
else
    run_dir=runs/quickstart
fi
data=datasets/$name.h5
run $bin/glow_data info $data || fail 2 "$data cannot be used (see above): remove it and run this again"

# ---- training ---------------------------------------------------------------------------------------------------------

finished=$run_dir/quickstart.done
weights=$run_dir/latest.h5

# Can the GPU train the published model? Runs a few steps on the data without writing files. Sets gpu to its
# name, or problem to the reason.
try_gpu() {
    local log status=0
    log=$(mktemp)
    timeout 300 $bin/glow_train --data $data --out $run_dir --device cuda "${published[@]}" --estimate >"$log" 2>&1 || status=$?
    [ $interrupted = no ] || { rm -f "$log"; fail 130 "interrupted; run the same command again to continue"; }
    problem=''
    if [ $status = 0 ]; then
        gpu=$(sed -n 's/^ *machine *cuda: \([^,]*\),.*/\1/p' "$log")
        rate=$(sed -n 's|.*median of [0-9]*), \(.*\) images/s.*|\1|p' "$log")
    elif [ $status = 124 ]; then
        problem="a step on the GPU did not finish within 300 s"
    else
        problem=$(sed -n 's/^glow_train: error: //p' "$log" | tail -n 1 | sed 's/^--device cuda: //; s/; or use --device cpu$//')
        [ -n "$problem" ] || problem="glow_train --device cuda ended with exit status $status: $(tail -n 1 "$log")"
        local found
        found=$(sed -n 's/^GLOW_CUDA_FOUND:INTERNAL=no (\(.*\))$/\1/p' build/release/CMakeCache.txt 2>/dev/null) || true
        case $problem in
            *"this build has no CUDA"*)
                problem="this build has no CUDA${found:+ ($found)}"
                if [ -n "$gpu" ]; then
                    problem="$gpu is here, but $problem; $toolkit"
                else
                    problem="no NVIDIA GPU is visible on this machine, and $problem"
                fi ;;
        esac
    fi
    rm -f "$log"
}

model=$(begun $run_dir) problem=''
trained=no
if [ -f $finished ] && [ -e $weights ]; then trained=yes; fi
if [ $name = gauss ]; then
    model=small
    [ $synthetic = yes ] || say "model: $small_text, because the synthetic set is small"
elif [ $trained = no ] && [ "$model" != small ]; then
    try_gpu
    if [ -z "$problem" ]; then
        say "model: $published_text: ${gpu:-its name is unknown}${rate:+, $(printf '%.0f' "$rate") images/s}"
        model=published
    elif [ "$model" = published ]; then
        fail 2 "$run_dir began with $published_text, which cannot be used now ($problem). Run this where it can, or remove" \
            "$run_dir to train a small model on the CPU"
    else
        say "model: $small_text: $problem"
        model=small
    fi
fi
if [ "$model" = published ]; then
    settings=("${published[@]}") device=cuda use_device=auto
else
    settings=("${small[@]}") device=cpu use_device=cpu
fi
train_on="$bin/glow_train --out $run_dir --resume auto --device $device --max-minutes 30"
# Its learning rate is 0 at the end; 1e-3 is the rate of the published training.
[ "$model" != published ] || train_on+=" --lr-schedule constant --lr 1e-3"
if [ $trained = yes ]; then
    stage "training: $run_dir is trained ($(cat $finished) minutes); to train it further:"
    say "   $train_on"
else
    if [ -e $weights ]; then
        settings=()  # the run's own
        if [ "$model" = published ]; then
            # The minutes count all parts of the run, and the decay of the learning rate ends with them, even if they have changed.
            settings=(--save-limits)
            stage "training: continuing $run_dir to $minutes minutes"
        else
            stage "training: continuing $run_dir for $minutes minutes"
        fi
    else
        stage "training: $minutes minutes into $run_dir"
    fi
    mkdir -p $run_dir && record $run_dir/quickstart.model "$model" || fail 2 "cannot write to $PWD/$run_dir"
    status=0
    run $bin/glow_train --data $data --out $run_dir --resume auto --device $device "${settings[@]}" --max-minutes "$minutes" \
        --log-every 10 --checkpoint-every 2m || status=$?
    [ $status != 75 ] || fail 75 "a signal stopped the training; run the same command again to continue"
    [ $status = 0 ] || failed $status "the training failed (see above)"
    [ -e $weights ] || fail 1 "glow_train left no $weights"
    record $finished "$minutes" || fail 1 "cannot write $PWD/$finished"
fi

# ---- evaluation and pictures ------------------------------------------------------------------------------------------

evaluate() {  # weights (ema or raw), option of glow_eval...: RUN/quickstart-WEIGHTS.json, unless it is newer than the weights
    local result=$run_dir/quickstart-$1.json status=0
    if [ "$result" -nt $weights ]; then
        say "$1 weights: evaluated before ($result)"
        return
    fi
    say "$1 weights ..."
    $bin/glow_eval --bpd --checkpoint $run_dir --data $data --split test --device $use_device --json "${@:2}" >"$result.part" || status=$?
    [ $interrupted = no ] || fail 130 "interrupted; run the same command again to continue"
    [ $status = 0 ] || failed $status "the evaluation failed (see above)"
    mv "$result.part" "$result"
}
stage "test bits/dim"
evaluate ema
evaluate raw --no-ema

stage "pictures"
run $bin/glow_sample --checkpoint $run_dir --device $use_device --grid 8x8 --temperature 0.7 -o $run_dir/samples.png ||
    failed $? "sampling failed (see above)"
reference=()
if [ $name = cifar10 ]; then
    reference=(--reference "3.35:Glow, published")
else
    entropy=$($bin/glow_data info --json $data | "$python" -c 'import json, sys; print(json.load(sys.stdin)["entropy_bpd"])') ||
        fail 1 "glow_data info --json names no entropy_bpd for $data"
    reference=(--reference "$entropy:entropy of the data")
fi
for output in training.png report.html; do
    run "$python" tools/report.py $run_dir -o $run_dir/$output "${reference[@]}" >&2 ||
        failed $? "$output could not be made (see above)"
done

line=$("$python" - $run_dir/quickstart-ema.json $run_dir/quickstart-raw.json <<'PY'
import json, math, sys

try:
    ema, raw = (json.load(open(path)) for path in sys.argv[1:])
    values = [float(ema["bpd"]), float(ema["stderr"]), float(raw["bpd"])]
except (OSError, ValueError, KeyError, TypeError) as error:
    sys.exit(f"unexpected output of glow_eval --json: {error!r}")
if not all(map(math.isfinite, values)):
    sys.exit("bits/dim is not finite: the training diverged")
print("result: test bits/dim {:.4f} +- {:.4f} (EMA) {:.4f} (raw)".format(*values))
PY
) || { rm -f $run_dir/quickstart-{ema,raw}.json; fail 1 "no result (see above)"; }

stage "done"
printf '%s\n' "$line"
cat >&2 <<TEXT

samples           $run_dir/samples.png   (temperature 0.7)
training curve    $run_dir/training.png
report            $run_dir/report.html

What to run next:
  train longer      $train_on
  more samples      $bin/glow_sample --checkpoint $run_dir --grid 8x8 --temperature 0.5,0.7,1 -o samples.png
  each test image   $bin/glow_eval --checkpoint $run_dir --data $data --split test --per-image bpd.csv
  published run     $bin/glow_train --data datasets/cifar10.h5 --out runs/cifar10 --levels 3 --depth 32 --width 512 --batch 64
                    (the published training took 6.8 days on 8 GPUs of 2018)
  the data          $bin/glow_data view $data --grid 8x8 -o data.png
Every command has --help.
TEXT
