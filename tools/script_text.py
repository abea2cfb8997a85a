"""Text in the scripts: reads arguments and input files, prints results, and formats names for pictures."""

import argparse
import errno
import os
import re
import signal
import stat
import sys
from pathlib import Path


def parse_arguments(parser, words=None):
    """parser.parse_args(). Rejects --output=--, for which argparse before Python 3.13 returns an empty list."""
    for word in sys.argv[1:] if words is None else words:
        if word == "--":
            break
        if re.fullmatch(r"(--[a-z-]+=|-[a-z]=?)--", word):
            parser.error(f"argument {word[:-2].rstrip('=')}: expected a value, found --")
    return parser.parse_args(words)


def path_argument(text):
    """The type of an argument that is a path. Path("") would be the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a value, found an empty one: is a variable on the command line not set?")
    return Path(text)


def open_text(path):
    """Opens a table for reading. A pipe that no process writes is empty, instead of waiting forever; a device such as /dev/zero,
    which may never end, is an error. Names of files in a table may have bytes that are not UTF-8."""

    def opener(name, flags):
        descriptor = os.open(name, flags | os.O_NONBLOCK)
        if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is a device, not a file", os.fspath(name))
        os.set_blocking(descriptor, True)
        return descriptor

    return open(path, newline="", encoding="utf-8-sig", errors="surrogateescape", opener=opener)


def picture_text(text):
    """A name or title as Matplotlib shows it: not as a formula between dollar signs. Its legends leave out names that begin
    with an underscore."""
    text = str(text).encode("utf-8", "replace").decode().replace("$", r"\$")
    return " " + text if text.startswith("_") else text


CONTROLS = {code: rf"\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def escape_controls(stream):
    """Prints the control characters of names, with which a file could change the terminal, as \\x1b."""
    write = stream.write
    stream.write = lambda text: write(text.translate(CONTROLS))


def open_closed_streams():
    """Standard streams that the caller has closed (`>&-`): otherwise a file of the script would take the descriptor, and print()
    to a closed stderr would write to stdout. What is printed to a closed stdout fails, as in the commands."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR if descriptor == 2 else os.O_RDONLY)  # the lowest that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def end_with(name, main):
    """Ends the script with the exit status of main(), or 1 if what it printed cannot be written."""
    open_closed_streams()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by end_by_interrupts()
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # File names may have bytes that are not text in this locale.
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    os.environ["PYTHON_COLORS"] = "0"  # of argparse and tracebacks
    escape_controls(sys.stderr)
    if sys.stdout.isatty():  # for a program, a name is the name itself
        escape_controls(sys.stdout)
    written = True
    try:
        try:
            status = main()
        except SystemExit as end:  # of argparse
            status = end.code
        sys.stdout.flush()
        os.close(os.dup(1))  # NFS and quotas report a full disk when a descriptor is closed
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader has exited, as `head` does
        status, written = 1, False
    except OSError as error:
        print(f"{name}: error: {error.filename or 'cannot write to the standard output'}: {error.strerror or error}", file=sys.stderr)
        status, written = 1, False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # functions of atexit would print a traceback
    if not written:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more
    sys.exit(status)
