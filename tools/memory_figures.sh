#!/usr/bin/env bash
# Draws the figures of docs/memory.md and writes their tables: memory against depth and image size, speed at
# fixed memory.
set -euo pipefail
unset CDPATH  # with it, cd prints
# Use a decimal point in numbers, but keep the user's character set.
if [ -n "${LC_ALL-}" ]; then export LANG=$LC_ALL LC_CTYPE=$LC_ALL; unset LC_ALL; fi
export LC_NUMERIC=C

usage() {
    cat <<'TEXT'
usage: tools/memory_figures.sh [--full] [--device cpu|cuda] [--bin DIR] [-o DIR]

Measures with glow_memory, and with PyTorch if it is installed, and draws the figures. Writes to DIR (build/memory):
  memory-depth.csv, .png    forward and backward against depth, K = 4 to 32 (reduced scale: 64x64x3, batch 8, L 3, width 64)
  memory-size.csv, .png     against image size, 32 to 128 pixels (reduced scale: batch 8, L 3, K 4, width 64)
  memory-speed.csv, .png    images/s of the largest batch that fits a limit in GiB, median and quartiles of 5 (reduced scale:
                            32x32x3, L 3, K 16, width 64)
  memory-*-pytorch.csv      the same for PyTorch, and for normflows if it is installed
Takes a few minutes on two cores.

  --full         the published settings (256x256x3, batch 8, L 3, width 256; sizes to 1024 at K 16): hours on a CPU, for a GPU
  --device D     cpu (default) or cuda
  --bin DIR      folder of the programs, default build/release/bin
  -o DIR         folder for the figures, default build/memory
  --no-pytorch   do not measure PyTorch
GLOW_PYTHON names a Python with matplotlib (and PyTorch), if it is neither python3 nor /usr/bin/python3.
Exit status: 0 success; 1 failure; 2 bad usage.
TEXT
}

say() { printf 'memory_figures: %s\n' "$*" >&2; }
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
full=no device=cpu bin=$root/build/release/bin out=$root/build/memory pytorch=yes
while [ $# -gt 0 ]; do
    case $1 in
        --full) full=yes; shift ;;
        --no-pytorch) pytorch=no; shift ;;
        --device | --bin | -o)
            [ $# -ge 2 ] || { say "$1 needs a value (see --help)"; exit 2; }
            [ -n "$2" ] || { say "$1: expected a value, found an empty one: is a variable not set?"; exit 2; }
            case $1 in --device) device=$2 ;; --bin) bin=$2 ;; -o) out=$2 ;; esac
            shift 2 ;;
        --help | -h) usage; exit 0 ;;
        *) say "unknown option $1 (see --help)"; exit 2 ;;
    esac
done
[ -x "$bin/glow_memory" ] || [ ! -x "$root/bin/glow_memory" ] || bin=$root/bin  # of a bundle
[ -x "$bin/glow_memory" ] || { say "no glow_memory in $bin: build it, or pass its folder with --bin"; exit 2; }

python=$("$root/tools/find_python.sh" matplotlib) || true
torch=$([ $pytorch = no ] || "$root/tools/find_python.sh" torch) || true
[ -n "$python" ] || { say "no Python here has matplotlib: apt-get install python3-matplotlib, or name one in GLOW_PYTHON"; exit 2; }
[ -n "$torch" ] || say "no PyTorch: figures show only glow_memory"
mkdir -p -- "$out"
out=$(cd -- "$out" && pwd)  # a name that begins with - would be taken for an option

if [ $full = yes ]; then
    depth=(--figure depth) size=(--figure size)
    torch_depth=(--figure depth) torch_size=(--figure size)
    speed=(--sizes 256 --depths 32 --width 256 --under "1,2,4,8,16,32,64")
else
    depth=(--sizes 64 --depths "4,8,16,32" --width 64) size=(--sizes "32,64,128" --depths 4 --width 64)
    torch_depth=("${depth[@]}") torch_size=("${size[@]}")
    speed=(--sizes 32 --depths 16 --width 64 --under "0.02,0.025,0.03,0.04")
fi
modes=reconstruct:1,reconstruct:8,checkpoint,store
memory() { # name options...
    local name=$1
    shift
    "$bin/glow_memory" --device "$device" --no-cosine --csv "$out/memory-$name.csv" "$@" >/dev/null
}
competitor() { # name options...
    local name=$1
    shift
    [ -z "$torch" ] || "$torch" "$root/tests/reference/memory_pytorch.py" --device "$device" "$@" --csv "$out/memory-$name-pytorch.csv"
}
draw() { # name options...
    local name=$1 tables=("$out/memory-$1.csv")
    shift
    [ -z "$torch" ] || [ ! -f "$out/memory-$name-pytorch.csv" ] || tables+=("$out/memory-$name-pytorch.csv")
    "$python" "$root/tools/plot_memory.py" "${tables[@]}" -o "$out/memory-$name.png" "$@"
}

memory depth --modes "$modes" "${depth[@]}"
competitor depth "${torch_depth[@]}"
draw depth
memory size --modes "$modes" "${size[@]}"
competitor size "${torch_size[@]}"
draw size --x image
memory speed --modes reconstruct,checkpoint,store --largest batch --passes 3 --repeats 5 "${speed[@]}"
draw speed --speed
say "figures and tables are in $out"
