"""Finds a Python with the packages a script needs: the first python3 on PATH may be pyenv's or Conda's, without them.

Call require_packages("numpy", "h5py") before importing them. If this Python lacks one, the script restarts under the first of
$GLOW_PYTHON, every python3 on PATH and /usr/bin/python3 that has all of them. If none has, it names the packages and exits
with status 2. find_python.sh does the same for shell scripts.
"""

import importlib
import os
import shutil
import signal
import subprocess
import sys

DEBIAN = {"PIL": "python3-pil", "safetensors": "python3-safetensors"}
OPENBLAS_BYTES = 144 << 20  # 128 MiB and what surrounds it
PIP = {"PIL": "pillow"}


def end_by_interrupts():
    """Ctrl-C ends the script until end_with() handles it. An import would print a traceback, or fail as if the package were missing."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def candidates():
    """Paths of Pythons, the preferred one first."""
    found = [shutil.which(os.environ.get("GLOW_PYTHON") or "python3")]
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) + ["/usr/bin"]:
        found.append(shutil.which("python3", path=folder or os.curdir))
    return list(dict.fromkeys(path for path in found if path))


def has_packages(python, packages):
    code = "import sys; assert sys.version_info >= (3, 9); import " + ", ".join(packages) + "; print('has them')"
    try:
        done = subprocess.run([python, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.returncode == 0 and done.stdout.strip().endswith(b"has them")  # GLOW_PYTHON may be any program
    except OSError:
        return False


def is_here(package):
    try:
        importlib.import_module(package)
        return True
    except Exception:  # a package of another Python, found by PYTHONPATH, fails in many ways
        return False


def reserve_linear_algebra():
    """Lets OpenBLAS reserve the memory that it keeps. Returns what is wrong, '' normally: where limits leave too little, OpenBLAS
    would try forever."""
    import mmap

    import numpy

    try:
        mmap.mmap(-1, OPENBLAS_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return f"ulimit -v or -d leaves less than the {OPENBLAS_BYTES >> 20} MiB that linear algebra needs: raise the limit"
    numpy.linalg.inv(numpy.eye(2))
    return ""


def require_packages(*packages):
    restarted = os.environ.pop("GLOW_PYTHON_RESTARTED", None)
    os.environ["MPLBACKEND"] = "Agg"  # a notebook's may not exist here
    # As the other commands do, reads HDF5 files without locks: many file systems of clusters have none. HDF5 1.14 reads this
    # when it is loaded.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # every thread would reserve memory; the matrices here are small
    if sys.version_info >= (3, 9) and all(map(is_here, packages)):
        return
    script = os.path.abspath(sys.argv[0])
    name = os.path.basename(script)
    if not restarted:
        for python in candidates():
            if has_packages(python, packages):
                if sys.stdout is not None:  # closed by the caller
                    sys.stdout.flush()
                os.environ["GLOW_PYTHON_RESTARTED"] = "1"
                os.execv(python, [python] + ["-B"] * sys.dont_write_bytecode + [script] + sys.argv[1:])
    text = sys.modules["__main__"].__doc__
    if text and {"-h", "--help"} & set(sys.argv[1:]):
        print(text.strip())
        sys.exit(0)
    debian = " ".join(DEBIAN.get(package, "python3-" + package) for package in packages)
    pip = " ".join(PIP.get(package, package) for package in packages)
    tried = ", ".join(candidates()) or "no python3 on PATH"
    sys.stderr.write("%s: error: no Python here has %s (tried: %s). Install %s (Debian, Ubuntu: apt-get install %s; elsewhere: pip "
                     "install %s), or name a Python that has them in GLOW_PYTHON\n"
                     % (name, " and ".join(packages), tried, "them" if len(packages) > 1 else "it", debian, pip))  # fmt: skip
    sys.exit(2)
