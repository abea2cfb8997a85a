#!/usr/bin/env python3
"""Lists what the tests check, in Markdown: each test source with its purpose, its executable and its cases, and each test script.

Everything comes from the sources: the purpose is a test's first comment, or the first comment of the header it tests; the names of
suites and cases state properties. --check prints nothing, and fails if a test has no purpose or is not listed in CMake.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent


def first_comment(path):
    """The first comment of a source, script or Python file, as one line; "" if it does not begin with one."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        return " ".join(text.split("\n\n")[0].split())
    marks = ("///", "//") if path.suffix in (".cpp", ".c", ".h", ".cuh") else ("#",)
    text = []
    for line in lines:
        mark = next((mark for mark in marks if line.startswith(mark)), None)
        if line.startswith("#!") or line == "/// @file":
            continue
        if mark is None:
            break
        text.append(line[len(mark):].strip())
    return " ".join(text).strip()


def purpose(source):
    """What a test source checks: it says so, or the header does whose name it has."""
    header = source.with_name(source.name.replace("_test.cpp", ".h"))
    paths = (source, ROOT / header.relative_to(TESTS), header)
    text = next((text for path in paths if path.exists() and (text := first_comment(path))), "")
    return text


def cases(source):
    """Suites and their cases, in the order of the source."""
    found = {}
    for suite, case in re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", source.read_text(), re.MULTILINE):
        found.setdefault(suite, []).append(case)
    return found


def executables():
    """Of every test source: its executables, each with its labels."""
    found = {}
    for lists in sorted(TESTS.rglob("CMakeLists.txt")):
        text = re.sub(r"#.*", "", lists.read_text()).replace("${PROJECT_SOURCE_DIR}", str(ROOT))
        variables = {}
        for name, words in re.findall(r"(?:set|list)\((?:APPEND\s+)?(\w+)\s+([^)]*)\)", text):
            variables[name] = variables.get(name, "") + " " + words
        for name, words in re.findall(r"(?:glow_test|add_executable)\((\w+)((?:[^()]|\([^)]*\))*)\)", text):
            for variable, value in variables.items():
                words = words.replace("${" + variable + "}", value)
            labels = re.search(r"LABELS((?: +[a-z]+)+)", words)
            label = f"{name} ({', '.join(labels.group(1).split())})" if labels else name
            for word in words.split():
                if word.endswith("_test.cpp"):
                    found.setdefault((lists.parent / word).resolve(), []).append(label)
    return found


def scripts():
    """The scripts that CMake runs as tests, or that stand in tests/ to be run by hand."""
    paths = [path for pattern in ("*.sh", "*.py") for path in TESTS.rglob(pattern)]
    return sorted(path for path in paths if re.match(r"#!|\"\"\"", path.read_text()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check that the list is complete")
    options = parser.parse_args()
    built, problems, lines = executables(), [], ["# What the tests check", ""]
    sources = sorted(TESTS.rglob("*_test.cpp"), key=lambda path: (str(path.parent), path.name))
    for folder in sorted({source.parent for source in sources}):
        lines += [f"## {folder.relative_to(ROOT)}", ""]
        for source in (source for source in sources if source.parent == folder):
            name, text, suites = source.relative_to(ROOT), purpose(source), cases(source)
            if not text:
                problems.append(f"{name}: begins with no comment that says what it checks, and there is no header of its name")
            if not suites:
                problems.append(f"{name}: holds no test")
            if source not in built:
                problems.append(f"{name}: belongs to no executable")
            lines += [f"### {source.name}", "", text, "", f"In {', '.join(built.get(source, ['no executable']))}.", ""]
            lines += [f"- `{suite}`: {', '.join(names)}" for suite, names in suites.items()] + [""]
    lines += ["## Scripts", ""]
    for script in scripts():
        text = first_comment(script)
        if not text:
            problems.append(f"{script.relative_to(ROOT)}: begins with no comment that says what it does")
        lines += [f"- `{script.relative_to(ROOT)}`: {text}"]
    if options.check:
        for problem in problems:
            print(f"FAILED: {problem}")
        return 1 if problems else 0
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
