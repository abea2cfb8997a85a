#!/bin/sh
# check_kernel_resources.sh LIBRARY CUDA_BIN: no kernel compiled into LIBRARY has a stack frame (spilled registers go there)
# or local memory. Lists every kernel that does. Exit status 77 (skipped) where the toolkit has no cuobjdump.
set -eu
library=$1
cuobjdump=$2/cuobjdump
if [ ! -x "$cuobjdump" ]; then
    echo "skipped: $cuobjdump does not exist (package cuda-cuobjdump)"
    exit 77
fi
"$cuobjdump" --dump-resource-usage "$library" | awk '
    $1 == "Function" { name = $2 }
    $1 ~ /^REG:/ {
        ++kernels
        split($1, registers, ":")
        if (registers[2] + 0 > most) most = registers[2] + 0
        if ($0 !~ /STACK:0 / || $0 !~ /LOCAL:0 /) { ++bad; print name " " $0 }
    }
    END {
        printf "%d kernels, %d with a stack frame or local memory, at most %d registers\n", kernels, bad, most
        exit bad > 0 || kernels == 0
    }'
