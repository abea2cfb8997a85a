#!/usr/bin/env bash
# Builds the fuzz targets with clang under the address and undefined-behavior sanitizers and runs them one after another.
set -euo pipefail
unset CDPATH  # with it, cd prints
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ $# -lt 1 ] || [ "$1" = --help ]; then
    cat <<'TEXT'
usage: tests/fuzz/run.sh SECONDS [TARGET...]

Targets (all, if none is named): idx cifar10 npz npy_header photo dataset checkpoint config. Each starts from the inputs in
tests/fuzz/corpus/TARGET.tar.gz. New inputs go to build/fuzz/found/TARGET, and inputs that break a target to build/fuzz/broken.
CXX names the clang++ to use. Exit status 1 if a target broke. After a long run, add the new inputs that reach new code:

    corpus=build/fuzz/tests/fuzz/corpus/TARGET
    build/fuzz/tests/fuzz/fuzz_TARGET -merge=1 $corpus build/fuzz/found/TARGET
    tests/fuzz/pack.sh TARGET $corpus
TEXT
    exit 2
fi
seconds=$1
shift
targets=("$@")
[ ${#targets[@]} != 0 ] || targets=(idx cifar10 npz npy_header photo dataset checkpoint config)

clang=${CXX:-clang++}
cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER="${clang/clang++/clang}" \
    -DCMAKE_CXX_COMPILER="$clang" -DGLOW_CUDA=OFF -DGLOW_MPI=OFF -DGLOW_ONEDNN=OFF -DGLOW_FUZZ=ON \
    -DGLOW_SANITIZE=address,undefined,fuzzer-no-link >&2
cmake --build build/fuzz --target "${targets[@]/#/fuzz_}" >&2

status=0
mkdir -p build/fuzz/broken
for target in "${targets[@]}"; do
    mkdir -p "build/fuzz/found/$target"
    log=build/fuzz/$target.log
    # HDF5 itself leaks memory for files that it cannot open completely.
    if ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 "build/fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" \
        -timeout=60 -rss_limit_mb=4096 -max_len=65536 -artifact_prefix=build/fuzz/broken/$target- \
        -print_final_stats=1 "build/fuzz/found/$target" "build/fuzz/tests/fuzz/corpus/$target" >"$log" 2>&1; then
        outcome=clean
    else
        outcome=BROKEN
        status=1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cover=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    printf '%-12s %s: %s runs in %s s, %s\n' "$target" "$outcome" "${runs:-?}" "$seconds" "${cover:-cov: ?}"
done
exit $status
