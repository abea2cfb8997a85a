#!/usr/bin/env python3
"""Outputs of the Python scripts (tools/output_files.py): inputs and files of runs are never overwritten, one process writes a
file at a time, and a failed writer leaves the previous file. Needs the standard library only."""

import errno
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import output_files
from output_files import OutputRefused, claim_outputs, write_atomically


def as_ordinary_user(function):
    """The message of function's OutputRefused, '' without one, called in a process of another user than root."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            function()
        except OutputRefused as error:
            os.write(writer, str(error).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        message = file.read()
    os.waitpid(child, 0)
    return message


class Messages(unittest.TestCase):
    def test_names_do_not_control_the_terminal(self):
        code = "import sys, script_text; script_text.end_with('x', lambda: print('a\\x1b[2J\\x9b\\té', file=sys.stderr))"
        done = subprocess.run([sys.executable, "-c", code], cwd=TOOLS, env={**os.environ, "PYTHONUTF8": "1"}, capture_output=True)
        self.assertEqual(done.stderr.decode(), "a\\x1b[2J\\x9b\té\n")


class ClaimOutputs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.input = self.folder / "input.csv"
        self.input.write_text("rows")

    def refused(self, output, message):
        with self.assertRaises(OutputRefused) as caught:
            claim_outputs([("input", self.input)], [("-o", output)])
        self.assertIn(message, str(caught.exception))
        self.assertEqual(self.input.read_text(), "rows")

    def test_refuses_the_input_itself(self):
        self.refused(self.input, "the same file")

    def test_refuses_the_input_through_another_spelling(self):
        self.refused(self.folder / "." / ".." / self.folder.name / "input.csv", "the same file")

    def test_refuses_the_input_through_symbolic_and_hard_links(self):
        (self.folder / "symbolic.csv").symlink_to("input.csv")
        (self.folder / "chain.csv").symlink_to("symbolic.csv")
        os.link(self.input, self.folder / "hard.csv")
        (self.folder / "elsewhere").symlink_to(self.folder)
        for name in ("symbolic.csv", "chain.csv", "hard.csv", "elsewhere/input.csv"):
            with self.subTest(name):
                self.refused(self.folder / name, "the same file")

    def test_refuses_folders_and_missing_folders(self):
        self.refused(self.folder, "it is a folder")
        self.refused(self.folder / "missing" / "p.png", "no folder")

    def test_refuses_files_of_a_run(self):
        run = self.folder / "run"
        (run / "checkpoints").mkdir(parents=True)
        (run / "metrics.csv").write_text("step")
        (self.folder / "link.csv").symlink_to("run/metrics.csv")
        for output in (run / "metrics.csv", run / "checkpoints" / "step-1.h5", self.folder / "link.csv"):
            with self.subTest(str(output)):
                self.refused(output, "a file of the run")
        claim_outputs([], [("-o", run / "report.html")])

    def test_refuses_write_protected_files(self):
        protected = self.folder / "protected.csv"
        protected.write_text("kept")
        protected.chmod(0o444)
        (self.folder / "link.csv").symlink_to("protected.csv")
        self.folder.chmod(0o777)  # a rename would replace the file
        for output in (protected, self.folder / "link.csv"):
            with self.subTest(output.name):
                self.assertEqual(as_ordinary_user(lambda: claim_outputs([], [("-o", output)])), f"cannot write {output}: Permission denied")
        protected.chmod(0o666)
        self.assertEqual(as_ordinary_user(lambda: claim_outputs([], [("-o", protected)])), "")

    def test_two_processes_do_not_write_one_file(self):
        holder = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); from output_files import claim_outputs\n"
             "claim_outputs([], [('-o', sys.argv[2])]); print('held', flush=True); sys.stdin.read()", TOOLS, self.folder / "p.png"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            self.assertEqual(holder.stdout.readline(), "held\n")
            output_files.LOCK_SECONDS = 0.1
            self.refused(self.folder / "p.png", f"in use by process {holder.pid} on host ")
        finally:
            holder.communicate("")
        claim_outputs([], [("-o", self.folder / "p.png")])  # released when its holder ended


class WriteAtomically(unittest.TestCase):
    def test_a_failed_writer_leaves_the_previous_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.html"
            path.write_text("old")

            def fails(temporary):
                temporary.write_text("half")
                raise OSError("disk full")

            with self.assertRaises(OSError):
                write_atomically(path, fails)
            self.assertEqual(path.read_text(), "old")
            self.assertEqual(os.listdir(folder), ["page.html"])
            write_atomically(path, lambda temporary: temporary.write_text("new"))
            self.assertEqual(path.read_text(), "new")

    def test_a_file_that_is_on_disk_counts_as_written(self):
        """NFS may report an error when the descriptor that held the lock is closed."""
        def close(descriptor):
            really_close(descriptor)
            raise OSError(errno.EIO, "Input/output error")

        really_close = os.close
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.html"
            with unittest.mock.patch("os.close", close):
                write_atomically(path, lambda temporary: temporary.write_text("page"))
            self.assertEqual(path.read_text(), "page")

    def test_files_of_killed_processes_are_removed(self):
        write = "import os, sys; sys.path.insert(0, sys.argv[1]); from output_files import *\nwrite_atomically(sys.argv[2], lambda temporary: {})"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.html"
            killed = [sys.executable, "-c", write.format("temporary.write_text('half') and os.kill(os.getpid(), 9)"), TOOLS, path]
            self.assertEqual(subprocess.run(killed).returncode, -9)
            left = os.listdir(folder)
            self.assertEqual(len(left), 1)
            other = Path(folder) / ".glow-00000000-1-0.tmp"  # of another host
            other.write_text("new")
            claim_outputs([], [("-o", path)])
            self.assertEqual(sorted(os.listdir(folder)), [other.name, ".page.html.lock"])
            os.utime(other, (0, 0))
            write_atomically(path, lambda temporary: temporary.write_text("page") and claim_outputs([], [("-o", path.with_name("b"))]))
            self.assertEqual(sorted(os.listdir(folder)), [".b.lock", ".page.html.lock", "page.html"])

    def test_temporary_files_are_locked(self):
        with tempfile.TemporaryDirectory() as folder:
            def write(temporary):
                temporary.write_text("page")
                # The names and the lock of data/formats/atomic_file.cpp.
                self.assertRegex(temporary.name, rf"^\.glow-[0-9a-f]{{8}}-{os.getpid()}-0\.tmp$")
                self.assertFalse(output_files._try_lock(os.open(temporary, os.O_WRONLY), without_locks=True))

            name = "\u00e4" * 120 + ".html"  # the temporary file's name must not be longer
            write_atomically(Path(folder) / name, write)
            self.assertEqual(os.listdir(folder), [name])

    def test_a_link_keeps_pointing_to_the_written_file(self):
        with tempfile.TemporaryDirectory() as folder:
            real, link = Path(folder) / "real.svg", Path(folder) / "link.svg"
            link.symlink_to("real.svg")
            write_atomically(link, lambda temporary: temporary.write_text("picture"))
            self.assertTrue(link.is_symlink())
            self.assertEqual(real.read_text(), "picture")


if __name__ == "__main__":
    unittest.main()
