#!/usr/bin/env bash
# Packs a folder of inputs into the corpus of a fuzz target. The same inputs give the same archive, byte for byte.
set -euo pipefail
unset CDPATH  # with it, cd prints

if [ $# -ne 2 ] || [ ! -d "$2" ]; then
    echo "usage: tests/fuzz/pack.sh TARGET FOLDER    # writes tests/fuzz/corpus/TARGET.tar.gz" >&2
    exit 2
fi
archive=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/corpus/$1.tar.gz
cd -- "$2"
find . -maxdepth 1 -type f -printf '%f\0' | LC_ALL=C sort -z |
    tar --null --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=644 --format=ustar -cf - --files-from - |
    gzip -n9 >"$archive.part"
mv "$archive.part" "$archive"
printf '%s: %d inputs, %d bytes\n' "$archive" "$(tar -tzf "$archive" | wc -l)" "$(stat -c %s "$archive")"
