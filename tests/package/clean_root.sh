#!/usr/bin/env bash
# Usage: clean_root.sh BUILD [MIRROR]
# Makes the .deb of a build, installs it with its declared dependencies only into a new Debian root
# (bare_root.sh; from MIRROR or debootstrap's own), builds the example there against the installed files and
# runs it. Needs root, network and about ten minutes, so it is run by hand. Requires a build without CUDA,
# whose libraries are not Debian packages (-DGLOW_CUDA=OFF); for other machines, with -DGLOW_NATIVE=OFF.
set -euo pipefail
unset CDPATH  # with it, cd prints
[ $# -ge 1 ] || { sed -n 2,6p "$0" | cut -c3-; exit 2; }
build=$(readlink -f -- "$1")
GLOW_MIRROR=${2:-${GLOW_MIRROR:-}}
# shellcheck source=tests/package/bare_root.sh
source "$(dirname "${BASH_SOURCE[0]}")/bare_root.sh"
problem=$(bare_root_problem)
if [ -n "$problem" ]; then
    echo "clean_root: $problem"
    exit 2
fi
if grep -q '^CMAKE_CUDA_COMPILER:' "$build/CMakeCache.txt"; then
    echo "clean_root: $build has CUDA, whose libraries are not Debian packages: configure with -DGLOW_CUDA=OFF"
    exit 2
fi
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
root=${GLOW_ROOT:-$(mktemp -d)/root}
cleanup() {
    umount "$root/proc" 2>/dev/null || true
    [ -n "${GLOW_ROOT:-}" ] || rm -rf "$(dirname "$root")"
}
trap cleanup EXIT

(cd -- "$build" && cpack -G DEB -B "$build/package" >/dev/null)
package=$(find "$build/package" -maxdepth 1 -name '*.deb' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
echo "package: $(basename "$package"), $(stat -c %s "$package") bytes"
dpkg-deb -f "$package" Version Depends
[ -e "$root/etc/debian_version" ] || bare_root_make "$suite" "$root"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
cp "$package" "$root/tmp/glow.deb"
chroot "$root" sh -ec '
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    apt-get -q update >/dev/null
    apt-get -q -y install --no-install-recommends /tmp/glow.deb >/tmp/install.log 2>&1 || { tail -20 /tmp/install.log; exit 1; }
    echo "packages in the root: $(dpkg-query -W | wc -l)"
    for program in /usr/bin/glow_*; do $program --version | head -1; done
    # For the example: a compiler and CMake, but no -dev package of the dependencies.
    apt-get -q -y install --no-install-recommends g++ cmake make >/tmp/install.log 2>&1 || { tail -20 /tmp/install.log; exit 1; }
    ! dpkg-query -W | grep -E "^(libhdf5|libopenblas|libpng|libfmt|libcli11|nlohmann).*-dev" || exit 1
    cmake -S /usr/share/glow/examples -B /tmp/example -DCMAKE_BUILD_TYPE=Release >/dev/null
    cmake --build /tmp/example >/dev/null
    cd /tmp && /tmp/example/likelihood
    glow_sample --checkpoint example.h5 --no-ema --grid 2x2 -o samples.png
    glow_convert --to npz example.h5 -o example.npz
'
echo "passed"
