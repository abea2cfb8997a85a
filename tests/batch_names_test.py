#!/usr/bin/env python3
"""batch_names_test.py: names in unnamed namespaces differ between the source files of a library.

Without a compiler launcher such as ccache, glow_unity_build() compiles the files of a library in batches, whose composition
shifts with the list of files. Two files with the same file-local name compile alone, but not in one batch.

And names of the modules of glow_convert, which is installed as one file: a second definition would replace the first.
"""

import ast
import collections
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("data/formats", "data", "inference", "library", "python", "runtime", "tools", "train")

CONSTANT = re.compile(r"\b(k[A-Z]\w*)(?=\s*(?:=|\[|\{))")
TYPE = re.compile(r"^(?:struct|class|enum class|enum|union) (\w+)\b(?!.*;\s*$)")
FUNCTION = re.compile(r"^(?!template|struct|class|enum|union|using|typedef|#|//|return|namespace|\})[\w:<>,*&\[\] ]*?\b(\w+)\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def local_declarations(text):
    """Names of constants and types, and functions with the types of their parameters, in unnamed namespaces."""
    for block in re.findall(r"^namespace \{\n(.*?)^\}  // namespace$", text, re.M | re.S):
        # A declaration at column 0, up to its end or its body; clang-format continues it indented.
        for declaration in re.findall(r"^(?=[^\s#/}]).*?[;{][ \t]*(?://[^\n]*)?$", block, re.M | re.S):
            one_line = " ".join(declaration.split())
            if one_line.startswith(("constexpr", "const ", "inline", "static", "thread_local")) and "(" not in one_line.split("=")[0]:
                for name in CONSTANT.findall(one_line):
                    yield name
            elif found := TYPE.match(one_line):
                yield found[1]
            elif found := FUNCTION.match(one_line):
                types = [re.sub(r"\s*=.*", "", parameter).strip().rpartition(" ")[0] for parameter in found[2].split(",")]
                yield f"{found[1]}({', '.join(types)})"


def module_names(path):
    """Names that a module of glow_convert defines. Modules may import the same packages."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name))


def main():
    problems, declarations = [], 0
    for library in LIBRARIES:
        files = collections.defaultdict(set)
        for path in sorted((ROOT / library).glob("*.cpp")):
            # no_NAME.cpp replaces another file, and most programs are single files.
            if path.name.startswith("no_") or (path.name.startswith("glow_") and path.name != "glow_latent.cpp"):
                continue
            for name in local_declarations(path.read_text()):
                files[name].add(path.name)
                declarations += 1
        problems += [f"{library}: {name} is in {', '.join(sorted(where))}" for name, where in files.items() if len(where) > 1]
    modules = collections.defaultdict(list)
    listed = re.search(r"^set\(modules (.*)\)$", (ROOT / "convert/CMakeLists.txt").read_text(), re.M)[1]
    for module in [*listed.split(), "glow_convert"]:
        path = next(path for folder in ("convert", "tools") if (path := ROOT / folder / f"{module}.py").exists())
        for name in set(module_names(path)):
            modules[name].append(path.name)
    problems += [f"convert: {name} is in {', '.join(where)}" for name, where in modules.items() if len(where) > 1]
    for problem in problems:
        print(problem)
    print(f"{declarations} file-local names, {len(problems)} problems")
    return 1 if problems or declarations < 300 else 0


if __name__ == "__main__":
    sys.exit(main())
