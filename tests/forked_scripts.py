"""Runs Python scripts in forks of one process, so that NumPy, h5py or Matplotlib are imported once, not for each run.

As a module: run(script, *arguments), or Server where several threads call run(). As a program, for Server and for tests
in bash (forked() in tools/script_checks.sh):

    forked_scripts.py MODULE...

imports the modules and serves requests from stdin. A request is a count and that many words, each ending with a zero byte: two
files for stdout and stderr, the script, its arguments. The answer is a line with the exit status.
"""

import atexit
import functools
import importlib
import os
import subprocess
import sys
import tempfile
import threading
import traceback
import types


@functools.cache
def _code(script):
    with open(script, "rb") as file:
        return compile(file.read(), script, "exec")


def _become(script, arguments, out, err):
    """The script in this process, a fork: its exit status."""
    for descriptor, path in ((0, os.devnull), (1, out), (2, err)):
        opened = path if isinstance(path, int) else os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
        os.dup2(opened, descriptor)
    atexit._clear()  # those of the parent
    main = types.ModuleType("__main__")
    main.__file__ = script
    sys.modules["__main__"] = main
    sys.argv, sys.path[0] = [script, *arguments], os.path.dirname(script)
    status = 0
    try:
        exec(_code(script), main.__dict__)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        status = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _fork(script, arguments, out, err):
    _code(script)  # compiled once, here
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _become(script, arguments, out, err)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(script, *arguments):
    """Like subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)."""
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = _fork(os.path.abspath(script), words, out.fileno(), err.fileno())
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess([str(script), *words], status, *texts)


class Server:
    """run() for several threads: one at a time, in forks of another process, because a process with threads cannot safely fork."""

    def __init__(self, *modules):
        self._lock = threading.Lock()
        self._process = subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__), *modules],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, script, *arguments):
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            words = [out.name, err.name, os.path.abspath(script), *map(str, arguments)]
            with self._lock:
                self._process.stdin.write(b"".join(os.fsencode(word) + b"\0" for word in [str(len(words)), *words]))
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            if not answer:
                raise RuntimeError("the process that forks scripts has ended")
            return subprocess.CompletedProcess([str(script), *words[3:]], int(answer), out.read().decode(), err.read().decode())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _requests():
    """Lists of words from stdin."""
    data, words, wanted = b"", [], None
    while chunk := os.read(0, 1 << 16):
        data += chunk
        *complete, data = data.split(b"\0")
        for word in complete:
            if wanted is None:
                wanted = int(word)
                continue
            words.append(os.fsdecode(word))
            if len(words) == wanted:
                yield words
                words, wanted = [], None


def main():
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for out, err, script, *arguments in _requests():
        print(_fork(script, arguments, out, err), flush=True)


if __name__ == "__main__":
    main()
