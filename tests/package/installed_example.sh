#!/usr/bin/env bash
# Usage: installed_example.sh BUILD CMAKE
# Installs the build into an empty folder, builds the examples against the installed files only, and runs
# them; an installed command must read what the library wrote and agree with it.
set -euo pipefail
unset CDPATH  # with it, cd prints
build=$1 cmake=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "FAILED: $1"; exit 1; }

"$cmake" --install "$build" --prefix "$folder/root" >"$folder/install.log"
example=$(find "$folder/root" -path '*share/glow/examples')
[ "$(find "$folder/root" -name '*.h')" = "$folder/root/include/glow/glow.h" ] || fail "headers other than glow/glow.h are installed"
"$cmake" -S "$example" -B "$folder/example" -G Ninja -DCMAKE_PREFIX_PATH="$folder/root" -DCMAKE_BUILD_TYPE=Release >"$folder/configure.log" ||
    { cat "$folder/configure.log"; fail "the example's configuration"; }
"$cmake" --build "$folder/example" >"$folder/build.log" || { cat "$folder/build.log"; fail "the example's build"; }
grep -q "$(cat "$build/CMakeCache.txt" | sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p')" "$folder/root"/lib*/cmake/glow/*.cmake \
    "$folder/root"/lib*/*/cmake/glow/*.cmake 2>/dev/null && fail "the installed package names the source tree"
mkdir "$folder/components"
cat >"$folder/components/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.18)
project(components LANGUAGES CXX)
find_package(glow REQUIRED OPTIONAL_COMPONENTS nonsense)
find_package(glow QUIET COMPONENTS nonsense)
if(glow_FOUND)
    message(FATAL_ERROR "a component that does not exist was found")
endif()
END
"$cmake" -S "$folder/components" -B "$folder/components/build" -G Ninja -DCMAKE_PREFIX_PATH="$folder/root" >"$folder/components.log" 2>&1 ||
    { cat "$folder/components.log"; fail "the components of the CMake package"; }
cd "$folder"
OMP_NUM_THREADS=2 example/likelihood | tee output
grep -q "decoding the latents restores the images: yes" output || fail "the example"
first=$(sed -n 's/^step 1: \(.*\) bits.*/\1/p' output) last=$(sed -n 's/^step 20: \(.*\) bits.*/\1/p' output)
awk "BEGIN { exit !($last < $first - 0.1) }" || fail "20 steps went from $first to $last bits/dim"
"$folder/root/bin/glow_sample" --checkpoint example.h5 --no-ema --grid 2x2 -o samples.png --quiet
[ -s samples.png ] || fail "no samples of the example's checkpoint"
probe=$(find "$folder/root" -name glow_hdf5_probe)
"$probe" example.h5 || fail "the probe of HDF5 files"
version=$("$folder/root/bin/glow_sample" --version | sed -n '1s/glow_sample //p')
grep -q "Glow $version" output || fail "library and commands have different versions ($version)"
if "$here/../../tools/find_python.sh" numpy h5py >/dev/null; then
    "$folder/root/bin/glow_convert" --to npz example.h5 -o example.npz >/dev/null || fail "the installed glow_convert"
fi
# Only the public interface is exported, nothing from inner namespaces.
library=$(readlink -f "$(find "$folder/root" -name libglow.so)")
if nm -DC --defined-only "$library" | grep -E ' [TD] ' | grep -qE 'glow::(f32|f64|cuda)::'; then fail "inner symbols are exported"; fi
echo "passed"
