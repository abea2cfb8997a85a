#!/usr/bin/env python3
"""Writes glow/options.py, the options of glow.train() for editors and type checkers, from glow_train --help.

    python/make_options.py build/release/bin/glow_train > python/glow/options.py
"""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

TYPES = {
    "TEXT": "str",
    "INT": "int",
    "UINT": "int",
    "FLOAT": "float",
    "BYTES": "int | str",
    "INTERVAL": "int | str",
    "": "bool",
}
PATH = "str | bytes | os.PathLike[str]"
OWN_TYPES = {"config": PATH, "init_from": PATH, "resume": f"bool | {PATH}", "device": "Any"}
OPTION = re.compile(r"  (?:-\w,)?--([a-z0-9-]+)(?:,--no-[a-z0-9-]+)?(?: ([A-Z]+))?(?: \[([^]]*)\])?(?:\s+(\S.*))?\s*$")
HEAD = '''"""Options of train(), written by make_options.py from glow_train --help."""

from __future__ import annotations

import os
from typing import Any, TypedDict


class TrainingOptions(TypedDict, total=False):
    """The options of train(), those of glow_train with underscores for dashes, and their defaults.
'''


def python_text(text):
    """Options as they are written in Python."""
    text = text.replace("`auto`", "True")
    return re.sub(r"--([a-z][a-z0-9-]*)", lambda match: match[1].replace("-", "_"), text).replace("\\", "\\\\")


def command_only():
    """The options that glow.train() refuses. Here the package cannot be imported: its extension is in the build."""
    tree = ast.parse((Path(__file__).parent / "glow/training.py").read_text())
    (value,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "_COMMAND_ONLY")
    names = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant)]
    return [*names, "requeue_max_minutes"]  # without effect


def options_of(help_text):
    """[group, [[name, type, default, lines of the description], ...]], without those of the command line only."""
    groups, option = [], None
    for line in help_text.splitlines():
        found = OPTION.match(line)
        if re.fullmatch(r"[A-Z]\w*:", line):
            groups.append((line[:-1], []))
        elif found:
            name, kind, default, text = found.groups()
            option = [name.replace("-", "_"), kind or "", default, [text] if text else []]
            groups[-1][1].append(option)
        elif line.startswith(20 * " ") and option:
            text = line.strip()
            lines = option[3]
            if not lines or re.match(r"[a-z0-9-]+: ", text):
                lines.append(text)
            else:
                lines[-1] += " " + text
        elif line:
            option = None
    hidden = (*command_only(), "data", "out")
    groups = [(group, [one for one in options if one[0] not in hidden]) for group, options in groups]
    return [(group, options) for group, options in groups if options]


def source(help_text):
    """The module's text."""
    groups = options_of(help_text)
    lines = [HEAD]
    for group, options in groups:
        lines.append(f"    {group}:")
        for name, _, default, texts in options:
            first = f"{name}: {python_text(texts[0])}" + (f" [{default}]" if default else "")
            for indent, text in [(4, first), *((8, python_text(text)) for text in texts[1:])]:
                lines += textwrap.wrap(text, 118, initial_indent=(indent + 4) * " ", subsequent_indent=(indent + 8) * " ")
    lines += ['    """', ""]
    for _, options in groups:
        lines += [f"    {name}: {OWN_TYPES.get(name) or TYPES[kind]} | None" for name, kind, _, _ in options]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    printed = subprocess.run([sys.argv[1], "--help"], check=True, capture_output=True, text=True).stdout
    sys.stdout.write(source(printed))
