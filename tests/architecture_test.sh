#!/usr/bin/env bash
# architecture_test.sh: no folder includes one that stands above it, and none holds more than a quarter of the product.
set -euo pipefail
unset CDPATH  # with it, cd prints
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What each folder may include, besides itself.
declare -A below=(
    [kernels]=""
    [runtime]="kernels"
    [layers]="kernels runtime"
    [data/formats]="kernels"
    [data]="kernels data/formats"
    [inference]="kernels runtime layers data data/formats"
    [train]="kernels runtime layers data data/formats inference"
    [library]="kernels runtime layers data data/formats inference train glow"
    [tools]="kernels runtime layers data data/formats inference train"
    [python]="kernels runtime layers data data/formats inference train tools"
    [convert]=""
)
order="kernels runtime layers data data/formats inference train library tools python convert"

failed=0
bad() { printf 'FAILED: %s\n' "$1"; failed=1; }
sources() {  # FOLDER: its sources in C++, CUDA and Python, not those of folders in it
    find "$1" -maxdepth 1 -type f \( -name '*.h' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.cu' -o -name '*.py' \)
}

total=0
declare -A lines=()
for folder in $order; do
    while read -r file; do
        while IFS=: read -r line include; do
            from=${include%/*}
            case " $folder ${below[$folder]} " in
                *" $from "*) ;;
                *) bad "$file:$line includes \"$include\", and $folder/ may only include: $folder ${below[$folder]}" ;;
            esac
        done < <(grep -noE '#include "[^"]+"' "$file" | sed -E 's/#include "([^"]+)"/\1/')
    done < <(sources "$folder")
    count=$(sources "$folder" | xargs cat | wc -l)
    lines[$folder]=$count
    total=$((total + count))
done
for folder in $order; do
    printf '%-14s %6d lines, %2d%%\n' "$folder" "${lines[$folder]}" $((100 * lines[$folder] / total))
    [ $((4 * lines[$folder])) -le $total ] || bad "$folder/ holds more than a quarter of the product"
done
exit $failed
