#!/usr/bin/env bash
# run_with_torch.sh SCRIPT ARGUMENTS...: runs a Python script with the first Python that has PyTorch, h5py and numpy, or
# the modules of GLOW_PYTHON_MODULES. Exit status 77 where there is none: CTest counts the test as skipped.
set -euo pipefail
modules=${GLOW_PYTHON_MODULES:-torch, h5py, numpy}
for python in ${GLOW_PYTHON:+"$GLOW_PYTHON"} /usr/bin/python3 python3; do
    if "$python" -c "import $modules" >/dev/null 2>&1; then
        exec "$python" -B "$@"
    fi
done
echo "skipped: no python3 with $modules was found (Debian: python3-torch python3-h5py python3-numpy)"
exit 77
