#!/bin/sh
# check_ptxas.sh FOLDER: no kernel of the build in FOLDER uses a stack, spills registers or has local memory, as ptxas
# said while it was built (OBJECT.ptxas).
# Every such kernel is named.
set -eu
folder=$1
logs=$(find "$folder" -name '*.ptxas' -size +0)
if [ -z "$logs" ]; then
    echo "no *.ptxas under $folder: was it built with -Xptxas -v?"
    exit 1
fi
# shellcheck disable=SC2086  # paths of a build folder
awk '
    /Function properties for|Compiling entry function/ { if ($0 ~ /Function properties/) name = $NF }
    /bytes stack frame/ {
        ++kernels
        if ($0 !~ /(^| )0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads/) { ++bad; print name ": " $0 }
    }
    / bytes lmem/ { ++bad; print name ": " $0 }
    /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); r = substr($0, RSTART + 5, RLENGTH - 5) + 0; if (r > most) most = r }
    END {
        printf "%d kernels, %d with a stack, spills or local memory, at most %d registers\n", kernels, bad, most
        exit bad > 0 || kernels == 0
    }' $logs
