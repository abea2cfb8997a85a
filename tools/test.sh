#!/usr/bin/env bash
# Every check that a change must pass, from a bare checkout: dependencies, build, tests, a sanitized build without
# optional libraries.
set -euo pipefail
unset CDPATH  # with it, cd prints
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

usage() {
    cat <<'TEXT'
usage: tools/test.sh [--quick]

Installs missing dependencies (tools/install_dependencies.sh --with-tests), then builds and runs, stopping at the first failure:
  release   all tests except those labeled slow, in build/release (CUDA where nvcc 12.4 or newer is)
  asan      without CUDA, MPI and oneDNN, under the address and undefined-behavior sanitizers: tests labeled sanitize,
            in build/asan

  --quick   the release stage only
  --help    this text

CMAKE_BUILD_PARALLEL_LEVEL limits the number of parallel compilers (default: one per processor), CTEST_PARALLEL_LEVEL
that of parallel tests (default: one more than processors, because tests also wait).
Uses ccache if it is installed.
TEXT
}

say() { printf '%s\n' "$*" >&2; }

quick=no
for argument in "$@"; do
    case $argument in
        --quick) quick=yes ;;
        --help | -h) usage; exit 0 ;;
        *) say "test: unknown option $argument (see --help)"; exit 2 ;;
    esac
done

if command -v ccache >/dev/null; then
    export CMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER-ccache}
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
    export CMAKE_CUDA_COMPILER_LAUNCHER=${CMAKE_CUDA_COMPILER_LAUNCHER-ccache}
fi

summary=()
stage() {  # name, command...: runs it and prints its duration; stops here if it fails
    local name=$1 start=$SECONDS status=0
    shift
    say "== $name"
    "$@" || status=$?
    summary+=("$(printf '%-20s %5d s' "$name" $((SECONDS - start)))")
    if [ $status != 0 ]; then
        say "== $name failed after $((SECONDS - start)) s (exit status $status): $*"
        exit $status
    fi
    say "== $name: $((SECONDS - start)) s"
}

# Lists reasons for skipped tests once each: tests are grouped, and CTest calls a group skipped only if all of
# it was.
skipped() {
    [ -f "$1/Testing/Temporary/LastTest.log" ] || return 0
    sed -n 's/^skipped \([0-9]*\): /\1 /p' "$1/Testing/Temporary/LastTest.log" |
        awk '{ n = $1; sub(/^[0-9]+ /, ""); count[$0] += n } END { for (r in count) print "   skipped " count[r] ": " r }' >&2
}

stage "dependencies" tools/install_dependencies.sh --with-tests

configure=(cmake)
strict=-DGLOW_WARNINGS_AS_ERRORS=ON  # off by default: other compilers have other warnings
export CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$(($(nproc) + 1))}
test_options=(--output-on-failure --no-tests=error)

stage "release: configure" "${configure[@]}" --preset release -DGLOW_NATIVE=ON $strict
stage "release: build" cmake --build --preset release
stage "release: tests" ctest --preset release "${test_options[@]}" -LE slow
skipped build/release

if [ $quick = no ]; then
    stage "asan: configure" "${configure[@]}" --preset asan $strict
    stage "asan: build" cmake --build --preset asan --target tests_sanitize
    # Where the kernel randomizes 32 bits of addresses (vm.mmap_rnd_bits, Linux 6.5), programs sanitized by g++ 11 or
    # 12 die at random when they start. Containers may not allow turning it off.
    no_randomization=()
    if setarch "$(uname -m)" -R true 2>/dev/null; then no_randomization=(setarch "$(uname -m)" -R); fi
    stage "asan: tests" "${no_randomization[@]}" ctest --preset asan "${test_options[@]}" -L sanitize
fi

say "== all passed"
for line in "${summary[@]}"; do say "   $line"; done
