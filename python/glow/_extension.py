"""Loads the extension, with the environment variables that its libraries read when they are loaded."""

import os

# By default, waiting OpenMP threads spin for milliseconds, which slows down other programs, and OpenBLAS starts threads that
# are never used (tools/program_start.h).
_SETTINGS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "2000", "OPENBLAS_NUM_THREADS": "1"}


def _quiet_settings():
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return {"OPENBLAS_NUM_THREADS": "1"}
    return _SETTINGS


# Sizes of threads' stacks, which users may have set for other programs: small stacks overflow, and huge ones cannot be mapped.
_UNSET = ("OMP_STACKSIZE", "GOMP_STACKSIZE", "KMP_STACKSIZE")

_set = [name for name in _quiet_settings() if name not in os.environ]
_unset = {name: os.environ.pop(name) for name in _UNSET if name in os.environ}
os.environ.update({name: _SETTINGS[name] for name in _set})
try:
    from ._glow import DeviceArray, Model, Training, cuda_problem, version, write_dataset
finally:
    for _name in _set:
        os.environ.pop(_name, None)
    os.environ.update(_unset)

__all__ = ["DeviceArray", "Model", "Training", "cuda_problem", "version", "write_dataset"]
