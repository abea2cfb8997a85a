"""Checks the scripts' outputs before the work starts, like output_files.h for the commands: no output replaces an input
or a file of a run, no other process writes the same file, and files are written atomically."""

import atexit
import contextlib
import datetime
import errno
import fcntl
import io
import os
import re
import socket
import stat
import sys
import time
from pathlib import Path

RUN_FILES = {"config.toml", "metrics.csv", "eval.csv", "audit.csv", "run.lock", "latest.h5", "best.h5"}
ABANDONED_SECONDS = 24 * 3600  # of temporary files of other hosts
LOCK_SECONDS = 2.0  # a killed process holds its locks until its memory is freed


class OutputRefused(Exception):
    pass


def claim_outputs(inputs, outputs):
    """Rejects outputs that would overwrite something or cannot be written, and locks the others until this process
    ends. Both are lists of (option, path)."""
    for option, path in outputs:
        path = Path(path)
        try:
            exists = path.exists()
        except OSError as error:
            raise OutputRefused(f"{option} {path}: cannot be written: {error.strerror}") from None
        if path.is_dir():
            raise OutputRefused(f"{option} {path}: it is a folder")
        if exists and not path.is_file():
            continue  # a device
        for input_option, file in inputs:
            if path.is_file() and os.path.isfile(file) and os.path.samefile(path, file):
                raise OutputRefused(f"{option} {path} would overwrite {input_option} {file}: the two are the same file; choose another name")
        target = Path(os.path.realpath(path))
        for place in (path, target):
            run = _run_that_owns(place)
            if run:
                raise OutputRefused(f"{option} {path} is the name of a file of the run in {run}; choose another name")
        if not target.parent.is_dir():
            raise OutputRefused(f"{option} {path}: cannot be written: no folder {target.parent}")
        _lock(target, f"{option} {path}")
        _remove_abandoned_files(target.parent)
        # The rename would silently replace a file that is write-protected.
        if exists and not os.access(target, os.W_OK):
            raise OutputRefused(f"cannot write {path}: {os.strerror(errno.EACCES)}")


def write_atomically(path, write):
    """Calls write(temporary), syncs the file and renames it to `path`. Raises OSError if that fails."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        return write(path)
    temporary, descriptor = _open_temporary_file(path.parent)
    try:
        write(temporary)
        os.fsync(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what was written is on disk
            os.close(descriptor)


def save_figure(figure, path, **options):
    """Writes a figure of Matplotlib, drawn in memory first: its writer of PDF fails with an error of its own on a full disk."""
    picture = io.BytesIO()
    figure.savefig(picture, **options)
    write_atomically(path, lambda temporary: Path(temporary).write_bytes(picture.getbuffer()))


def _temporary_prefix():
    return f".glow-{_fnv(os.fsencode(socket.gethostname())) & 0xFFFFFFFF:08x}-"


def _open_temporary_file(folder):
    """Path and descriptor of a new file, named as by atomic_file.cpp. Its lock marks it as in use."""
    for attempt in range(1000):
        temporary = folder / f"{_temporary_prefix()}{os.getpid()}-{attempt}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            continue
        # Another process may find the new file before it is locked, and remove it.
        if _try_lock(descriptor, without_locks=True) and _same(descriptor, temporary):
            return temporary, descriptor
        temporary.unlink(missing_ok=True)
        os.close(descriptor)
    raise OSError(errno.EEXIST, "its temporary files were removed")


def _remove_abandoned_files(folder):
    """Removes the temporary files that killed processes left, of commands too, like remove_abandoned_files() in atomic_file.h."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(".glow-") and name.endswith(".tmp")]
    except OSError:  # a folder that cannot be listed
        return
    for name in names:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                old = name.startswith(_temporary_prefix()) or status.st_mtime < time.time() - ABANDONED_SECONDS
                if stat.S_ISREG(status.st_mode) and old and _try_lock(descriptor, without_locks=False):
                    os.unlink(folder / name)
            finally:
                os.close(descriptor)


def _try_lock(descriptor, without_locks):
    """False if another descriptor holds the lock; `without_locks` on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return without_locks and error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _run_that_owns(path):
    def holds_run(folder):
        return (folder / "checkpoints").is_dir() and any(os.path.lexists(folder / name) for name in ("config.toml", "metrics.csv", "latest.h5"))

    folder = path.parent
    if path.name in RUN_FILES and holds_run(folder):
        return folder
    around = Path(os.path.realpath(folder)).parent
    return around if holds_run(around) and os.path.realpath(around / "checkpoints") == os.path.realpath(folder) else None


def _lock(target, shown):
    name = target.name
    if len(os.fsencode(name)) > 240:
        name = f"{_fnv(os.fsencode(name)):016x}"
    file = target.with_name(f".{name}.lock")
    start = time.monotonic()
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise OutputRefused(f"{shown}: cannot be written: {file}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(descriptor, file):
                break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                print(f"warning: {shown}: its file system does not support locks ({error.strerror}); another process could write it at the same time",
                      file=sys.stderr)  # fmt: skip
                if os.fstat(descriptor).st_size == 0:
                    os.unlink(file)
                os.close(descriptor)
                return
            if time.monotonic() - start > LOCK_SECONDS:
                holder = re.fullmatch(r"process [ -~]{1,390}", os.pread(descriptor, 400, 0).decode(errors="replace").split("\n")[0])
                os.close(descriptor)
                raise OutputRefused(f"{shown} is in use by {holder[0] if holder else 'another process'}; wait for it, or choose another name") from None
            time.sleep(0.05)
        os.close(descriptor)
    before = os.pread(descriptor, 8, 0)
    if before and before != b"process ":
        return  # never modify a file that something else wrote

    def release():
        with contextlib.suppress(OSError):  # the work is done
            if _same(descriptor, file):
                os.unlink(file)
            os.close(descriptor)

    atexit.register(release)
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    # If the disk is full, the text is lost but the lock holds.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on host {socket.gethostname()} since {now}\n".encode(), 0)


def _same(descriptor, file):
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(file))
    except OSError:
        return False


def _fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
