#!/usr/bin/env bash
# Usage: run_with_torch.sh SCRIPT ARGUMENTS...
# Runs a Python script with the first Python that has PyTorch, h5py and NumPy, or the modules in
# GLOW_PYTHON_MODULES. Exits with 77 (CTest: skipped) if there is none.
set -euo pipefail
modules=${GLOW_PYTHON_MODULES:-torch, h5py, numpy}
# shellcheck disable=SC2086
if python=$("$(dirname "${BASH_SOURCE[0]}")/../../tools/find_python.sh" ${modules//,/ }); then exec "$python" -B "$@"; fi
echo "skipped: no python3 with $modules was found (name one in GLOW_PYTHON)"
exit 77
