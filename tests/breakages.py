#!/usr/bin/env python3
"""Mutation testing: makes one small change to the sources at a time, and shows which test fails.

    tests/breakages.py kernels/coupling.cu                 # every breakage of a file
    tests/breakages.py kernels layers --count 50 --seed 1  # fifty drawn from two folders
    tests/breakages.py kernels/coupling.cu --list          # only list them
    tests/breakages.py kernels/coupling.cu --only 12,40    # these two, by their number in the list

A breakage is one such change: a number 1% too large, + for -, += for =, a comparison that includes its bound, an index that is off
by one, two arguments exchanged, a statement that is missing. For each, the script builds a copy of the sources and runs the tests
of its folder, then those of the folders above, until one fails.

Some breakages have no effect, such as another name for the same bound, so review those that survive. Prints a row of a Markdown
table for each, as soon as it is known. Exit status: 0 if a test failed for each, 1 if one survived or the unchanged sources fail.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

# Which folders' tests see a folder, nearest first.
ABOVE = {
    "kernels": ("kernels", "layers", "train"),
    "runtime": ("runtime", "layers", "train"),
    "layers": ("layers", "inference", "train"),
    "data": ("data", "train"),
    "inference": ("inference", "tools"),
    "train": ("train", "inference", "tools"),
    "library": ("inference",),
    "tools": ("data", "tools"),
}

# What is replaced by what. clang-format puts spaces around binary operators and none around unary ones and pointers.
RULES = [
    ("number", r"(?<![\w.])(\d+\.\d+)(?![\w.])", lambda m: f"({m[1]} * 1.01)"),
    ("sign", r"(?<=[\w)\]]) \+ (?=[\w(\-])", " - "),
    ("sign", r"(?<=[\w)\]]) - (?=[\w(\-])", " + "),
    ("sign", r"(?<=[=(,?:] )-(?=[a-z(])", ""),
    ("factor", r"(?<=[\w)\]]) \* (?=[\w(])", " + "),
    ("factor", r"(?<=[\w)\]]) / (?=[\w(])", " * "),
    ("accumulation", r" \+= ", " = "),
    ("accumulation", r" -= ", " += "),
    ("accumulation", r" \*= ", " += "),
    ("bound", r" < (?=[\w(\-])", " <= "),
    ("bound", r" > (?=[\w(\-])", " >= "),
    ("bound", r" <= (?=[\w(\-])", " < "),
    ("bound", r" >= (?=[\w(\-])", " > "),
    ("comparison", r" == ", " != "),
    ("comparison", r" != ", " == "),
    ("comparison", r" && ", " || "),
    ("comparison", r" \|\| ", " && "),
    ("index", r"(?<=[\w)\]]) [+-] 1(?![\w.])", ""),
    ("flag", r"\btrue\b", "false"),
    ("flag", r"\bfalse\b", "true"),
    ("arguments", r"(?:(?<=[({])|(?<=, ))([a-z]\w*(?:\.\w+)?), ([a-z]\w*(?:\.\w+)?)(?=[,)}])", r"\2, \1"),
    ("statement", r"^ +(?!return|using|case|break|continue|delete|throw|const\b|auto\b|else\b|friend\b)"
                  r"[\w.]+(?:->|\.|\()[^;{}]*\);(?=\n)", ""),
]


class Breakage(NamedTuple):
    file: Path
    text: str  # of the whole file: the repository may change during a long run
    start: int
    end: int
    new: str
    rule: str
    line: int
    old_line: str
    new_line: str


def code_of(text):
    """The source with comments, strings, characters, includes and template arguments blanked: what may not be changed."""
    blank = lambda match: re.sub(r"[^\n]", "\0", match.group())  # noqa: E731
    text = re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'", blank, text, flags=re.DOTALL)
    text = re.sub(r"^#[^\n]*(?:\\\n[^\n]*)*|^template[^\n]*|static_assert\([^;]*;", blank, text, flags=re.MULTILINE)
    return re.sub(r"<[\w:, *&]*>(?=[(\s{])", blank, text)


def breakages(file):
    text = file.read_text()
    code = code_of(text)
    found = []
    for rule, pattern, new in RULES:
        for match in re.finditer(pattern, code, re.MULTILINE):
            start, end = match.span()
            replaced = new(match) if callable(new) else match.expand(new)
            if replaced == match.group() or "\0" in match.group():
                continue
            first = text.rfind("\n", 0, start) + 1
            last = text.find("\n", end)
            old_line = " ".join(text[first:last].split())
            new_line = " ".join((text[first:start] + replaced + text[end:last]).split())
            found.append(Breakage(file, text, start, end, replaced, rule, text.count("\n", 0, start) + 1, old_line, new_line))
    return sorted(found, key=lambda b: (b.start, b.rule))


def all_breakages(names):
    files = []
    for name in names:
        path = ROOT / name
        if path.is_dir():
            files += sorted(p for s in ("*.cu", "*.cuh", "*.cpp", "*.h") for p in path.glob(s))
        elif path.is_file():
            files.append(path)
        else:
            sys.exit(f"there is no {name}")
    return [b for file in files for b in breakages(file)]


def tests_of(folder):
    """The GoogleTest executables that tests/FOLDER/CMakeLists.txt makes."""
    lists = ROOT / "tests" / folder / "CMakeLists.txt"
    return re.findall(r"^glow_test\((\w+)", lists.read_text(), re.MULTILINE) if lists.exists() else []


class Copy:
    """A scratch copy of the sources and its build: without CUDA and MPI, so that everything runs anywhere."""

    def __init__(self, folder, jobs, log):
        self.source, self.build, self.jobs, self.log = folder / "source", folder / "build", jobs, log
        folder.mkdir(parents=True, exist_ok=True)
        listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"], check=True,
                                stdout=subprocess.PIPE).stdout.decode().split("\0")
        for name in filter(None, listed):
            target = self.source / name
            if (ROOT / name).is_file() and not (target.exists() and target.read_bytes() == (ROOT / name).read_bytes()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        # -w: a variable that a breakage leaves unused is no error.
        options = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -w", "-DGLOW_CUDA=OFF", "-DGLOW_MPI=OFF"]
        if shutil.which("ccache"):
            options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        subprocess.run(["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", *options], check=True, stdout=log, stderr=log)

    def write(self, file, text):
        (self.source / file.relative_to(ROOT)).write_text(text)

    def make(self, test):
        command = ["cmake", "--build", self.build, "--target", test, "-j", str(self.jobs)]
        return subprocess.run(command, stdout=self.log, stderr=self.log).returncode == 0

    def run(self, test, limit):
        """None if all cases passed, else the name of the first that failed."""
        program = next(path for path in self.build.rglob(test) if path.is_file() and os.access(path, os.X_OK))
        command = [program, "--gtest_fail_fast", "--gtest_brief=1", "--gtest_filter=-Slow*:*.Slow*"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit,
                                  env={**os.environ, "OMP_WAIT_POLICY": "passive"}, errors="replace")
        except subprocess.TimeoutExpired:
            return f"{test} (does not end)"
        if done.returncode in (0, 77):
            return None
        failed = re.search(r"^\[  FAILED  \] ([^\s,]+)", done.stdout, re.MULTILINE)
        return failed.group(1) if failed else f"{test} (ended with {done.returncode})"


def verdict(copy, breakage, tests, limit):
    copy.write(breakage.file, breakage.text[:breakage.start] + breakage.new + breakage.text[breakage.end:])
    try:
        for test in tests:
            if not copy.make(test):
                return "does not compile"
            noticed = copy.run(test, limit)
            if noticed:
                return noticed
        return "SURVIVES"
    finally:
        copy.write(breakage.file, breakage.text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", help="source files and folders of the repository, such as layers or kernels/coupling.cu")
    parser.add_argument("--list", action="store_true", help="only list the breakages, numbered")
    parser.add_argument("--only", help="their numbers, separated by commas")
    parser.add_argument("--count", type=int, help="draw this many of them at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--tests", nargs="*", help="test executables; default: those of the folder and of the folders above it")
    parser.add_argument("--scratch", type=Path, help="folder of the copy, kept for the next run; default: a temporary one, removed")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once")
    parser.add_argument("--limit", type=float, default=600, help="seconds for a test executable")
    options = parser.parse_args()
    chosen = list(enumerate(all_breakages(options.sources)))
    if options.only:
        chosen = [chosen[int(number)] for number in options.only.split(",")]
    if options.count is not None and options.count < len(chosen):
        chosen = sorted(random.Random(options.seed).sample(chosen, options.count))
    if options.list:
        for number, b in chosen:
            print(f"{number:4} {b.file.relative_to(ROOT)}:{b.line} {b.rule}: {b.old_line}  ->  {b.new_line}")
        return 0

    def tests_for(breakage):
        folder = breakage.file.relative_to(ROOT).parts[0]
        return options.tests or [test for above in ABOVE[folder] for test in tests_of(above)]

    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.scratch or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "w") as log:
            copy = Copy(folder, options.jobs, log)
            for test in dict.fromkeys(test for _, b in chosen for test in tests_for(b)):
                if not copy.make(test):
                    sys.exit(f"the sources do not compile: {test}; see {folder}/log.txt")
                if failed := copy.run(test, options.limit):
                    sys.exit(f"without any breakage, {failed} fails")
            print("| number | where | what | becomes | noticed by | s |\n|---|---|---|---|---|---|", flush=True)
            counts = {"SURVIVES": 0, "does not compile": 0}
            for number, b in chosen:
                start = time.monotonic()
                found = verdict(copy, b, tests_for(b), options.limit)
                if found in counts:
                    counts[found] += 1
                cells = [number, f"{b.file.relative_to(ROOT)}:{b.line}", f"`{b.old_line}`", f"`{b.new_line}`", found]
                row = " | ".join(str(cell).replace("|", "\\|") for cell in cells)
                print(f"| {row} | {time.monotonic() - start:.0f} |", flush=True)
    survived, broken = counts["SURVIVES"], counts["does not compile"]
    print(f"\n{len(chosen)} breakages: {len(chosen) - survived - broken} noticed, {broken} do not compile, {survived} survive")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
