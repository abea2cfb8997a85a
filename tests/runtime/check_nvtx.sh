#!/bin/sh
# check_nvtx.sh RECORDER PROGRAM: the ranges of test_devices carry the layers' names, nested.
set -eu
names=$(mktemp)
trap 'rm -f "$names"' EXIT
NVTX_INJECTION64_PATH=$1 NVTX_NAMES=$names "$2" --gtest_filter='*InFloat/gpu_paths_published' >/dev/null
fail() { echo "FAILED: $1; the ranges were:"; head -50 "$names"; exit 1; }
within() {
    awk -v outer="  $1" -v inner="    $2" '/^  [^ ]/ { at = $0 } at == outer && $0 == inner { found = 1 } END { exit !found }' "$names"
}
for pass in forward backward encode decode; do grep -qx $pass "$names" || fail "no $pass"; done
for level in 0 1; do
    for step in 0 1; do
        for part in mixing coupling 'coupling backward' 'mixing inverse' 'mixing gradient' 'coupling inverse'; do
            within "level$level/step$step" "$part" || fail "no \"$part\" in level$level/step$step"
        done
    done
done
grep -qx '  level0/split' "$names" || fail "no level0/split"
if grep -q 'level1/split' "$names"; then fail "a split at the top"; fi
echo "$(sort -u "$names" | wc -l) names"
