#!/usr/bin/env bash
# docs_test.sh: every test and script that docs/tests.md names is there and no cell of its tables is empty.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0
bad() { printf 'FAILED: %s\n' "$1"; failed=1; }

tests=$(grep -rhoE 'TEST(_F|_P)?\([A-Za-z0-9]+, [A-Za-z0-9]+\)' tests --include='*.cpp' | sed -E 's/.*\((.*), (.*)\)/\1.\2/')
for name in $(grep -oE '`[A-Z][A-Za-z0-9]+\.[A-Z][A-Za-z0-9]+' docs/tests.md | tr -d '`' | sort -u); do
    grep -qx "$name" <<<"$tests" || bad "docs/tests.md names $name, which does not exist"
done
for script in $(grep -oE '[a-z_]+\.(py|sh)\b' docs/tests.md | sort -u); do
    [ -n "$(find tests -name "$script")" ] || bad "docs/tests.md names $script, which does not exist"
done
if grep -nE '^\|(.*\|)? *\|' docs/tests.md; then bad "docs/tests.md has an empty cell"; fi
exit $failed
