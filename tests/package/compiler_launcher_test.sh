#!/usr/bin/env bash
# Usage: compiler_launcher_test.sh CMAKE NVCC
# Configures the project and compiles one CUDA and one C++ file without a compiler launcher or ccache, with
# ccache, and with other launchers. Exits with 77 (skipped) without nvcc.
set -euo pipefail
unset CDPATH  # with it, cd prints
cmake=$1 nvcc=${2-}
source_tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ -z "$nvcc" ] || [ ! -x "$nvcc" ]; then
    echo "skipped: this build has no nvcc"
    exit 77
fi
for tool in ninja "${CXX:-g++}"; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not in PATH"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ccache=$(command -v ccache || true)

# A copy of PATH without ccache.
mkdir "$work/path"
IFS=: read -ra folders <<<"$PATH"
for ((i = ${#folders[@]} - 1; i >= 0; --i)); do
    ! compgen -G "${folders[i]}/*" >/dev/null || ln -sf "${folders[i]}"/* "$work/path/"
done
rm -f "$work/path/ccache"
export PATH=$work/path CUDACXX=$nvcc CCACHE_DIR=$work/cache
unset CMAKE_C_COMPILER_LAUNCHER CMAKE_CXX_COMPILER_LAUNCHER CMAKE_CUDA_COMPILER_LAUNCHER
if command -v ccache; then echo "FAILED: ccache is still in PATH"; exit 1; fi

# A launcher that records the compilers it starts and rejects empty words.
launcher() {
    cat >"$1" <<LAUNCHER
#!/bin/sh
for word; do [ -n "\$word" ] || { echo "an empty word in: \$*" >&2; exit 1; }; done
echo "\$*" >>"$work/launched"
exec "\$@"
LAUNCHER
    chmod +x "$1"
}
launcher "$work/log_launcher"
if [ -z "$ccache" ]; then
    mkdir "$work/bin"
    ccache=$work/bin/ccache
    launcher "$ccache"
fi

# smallest SUFFIX: the object file of the smallest source of this kind in the build.
smallest() {
    local object source
    ninja -C "$work/build" -t targets all | sed -n "s/^\([^:]*\.$1\.o\): .*/\1/p" | while read -r object; do
        source=$source_tree/$(sed 's|CMakeFiles/[^/]*\.dir/||; s|\.o$||' <<<"$object")
        [ ! -e "$source" ] || echo "$(stat -c %s "$source") $object"
    done | sort -n | sed -n '1s/^[0-9]* //p'
}

failed=0
compile() {  # name, launcher (a CMake list; may be empty)
    local name=$1 launcher=$2 language options=() targets
    for language in CXX CUDA; do options+=("-DCMAKE_${language}_COMPILER_LAUNCHER=$launcher"); done
    # At first, "none" must mean undefined variables.
    [ -n "$launcher" ] || [ -e "$work/build" ] || options=()
    : >"$work/launched"
    if "$cmake" -S "$source_tree" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DGLOW_CUDA=ON \
        -DGLOW_MPI=OFF -DCMAKE_CUDA_ARCHITECTURES=90-real "${options[@]}" >"$work/output" 2>&1 &&
        targets="$(smallest cu) $(smallest cpp)" && [ "$(wc -w <<<"$targets")" = 2 ] &&
        (cd "$work/build" && rm -f $targets && ninja $targets) >>"$work/output" 2>&1; then
        echo "passed: $name"
    else
        failed=1
        echo "FAILED: $name"
        tail -n 20 "$work/output"
    fi
}
launched() {  # name: checks that both compilers used the launcher
    grep -q '\.cu\.o' "$work/launched" && grep -q '\.cpp\.o' "$work/launched" && return
    failed=1
    echo "FAILED: $1: it did not start both compilers:"
    cat "$work/launched"
}
compile "no launcher, variables not defined" ""
compile "no launcher, variables empty" ""
compile "ccache" "$ccache"
compile "a launcher before one of two words" "$work/log_launcher;env;GLOW_UNUSED=1"
launched "a launcher before one of two words"
exit $failed
