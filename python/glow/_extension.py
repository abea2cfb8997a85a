"""Loads the extension, with the environment variables that its libraries read when they are loaded."""

import contextlib
import importlib
import os

# By default, waiting OpenMP threads spin for milliseconds, which slows down other programs (tools/program_start.h).
_WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "2000"}
# OpenBLAS starts threads when it is loaded, which Glow never uses.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
# Sizes of threads' stacks, which users may have set for other programs: small stacks overflow, and huge ones cannot be mapped.
_UNSET = ("OMP_STACKSIZE", "GOMP_STACKSIZE", "KMP_STACKSIZE")


def _in_main_interpreter():
    for name in ("_interpreters", "_xxsubinterpreters"):  # Python 3.13, earlier versions
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return interpreters.get_current() == interpreters.get_main()
    return True


if not _in_main_interpreter():  # loading the extension would wait forever
    raise ImportError("glow cannot run in a sub-interpreter; in mod_wsgi, set: WSGIApplicationGroup %{GLOBAL}")


@contextlib.contextmanager
def _variables(values):
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


_unset = {name: os.environ.pop(name) for name in _UNSET if name in os.environ}
try:
    with _variables({} if any(name in os.environ for name in _WAITING) else _WAITING):
        import numpy  # noqa: F401  NumPy keeps its threads, also if it uses the same OpenBLAS

        with _variables(_ONE_THREAD):
            from ._glow import DeviceArray, Model, Training, cuda_problem, draw_validation
            from ._glow import is_missing_or_forbidden, refuse_dataset_file, version, write_dataset
finally:
    os.environ.update(_unset)

__all__ = [
    "DeviceArray",
    "Model",
    "Training",
    "cuda_problem",
    "draw_validation",
    "is_missing_or_forbidden",
    "refuse_dataset_file",
    "version",
    "write_dataset",
]
