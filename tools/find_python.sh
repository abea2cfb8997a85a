#!/usr/bin/env bash
# find_python.sh MODULE...: prints the path of the first Python that has these modules, of $GLOW_PYTHON, every python3 on PATH
# and /usr/bin/python3. Exit status 1, and nothing printed, where none has. python_packages.py does the same for Python scripts.
set -uo pipefail
modules=$(IFS=,; printf '%s' "$*")
while read -r python; do
    code="import sys; assert sys.version_info >= (3, 9); import ${modules:-sys}; print('has them')"
    if [ -n "$python" ] && [[ $("$python" -c "$code" 2>/dev/null </dev/null) = *"has them" ]]; then
        command -v "$python"
        exit 0
    fi
done < <(printf '%s\n' "${GLOW_PYTHON:-}"; type -ap python3; echo /usr/bin/python3)
exit 1
