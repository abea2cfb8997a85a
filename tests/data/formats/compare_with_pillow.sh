#!/usr/bin/env bash
# Usage: compare_with_pillow.sh WRITE_PICTURES
# Compares our decoded pixels of every kind of picture with Pillow's, using the first of $GLOW_PYTHON, python3
# and /usr/bin/python3 that has Pillow and NumPy. Exits with 77 if none has.
set -euo pipefail

for python in ${GLOW_PYTHON:+"$GLOW_PYTHON"} python3 /usr/bin/python3; do
    "$python" -c 'import numpy, PIL' >/dev/null 2>&1 || continue
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    "$1" "$folder"
    "$python" "$(dirname "${BASH_SOURCE[0]}")/compare_with_pillow.py" "$folder"
    exit
done
echo "skipped: no python3 with Pillow and NumPy here; set GLOW_PYTHON"
exit 77
