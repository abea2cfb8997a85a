#!/usr/bin/env python3
"""docs_test.py PROGRAMS: checks the Markdown pages of the repository against its files and the built commands.

- Every link and picture leads to a file of the repository, and every #heading exists.
- docs/README.md lists every page of docs/, and docs/results.md every page of docs/results/.
- Every command line in a code block, and every inline one, uses commands, subcommands and options that exist.
- Scripts that a code block starts are executable.
- Every option and every path of the repository that inline code names exists, and every source file that it names without one.
- Every CMake option and environment variable GLOW_... that a page names occurs in a file that is not a page.
- Every page that a source file names exists.
"""

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = "(?:tools|tests|docs|examples|cmake|kernels|runtime|layers|data|inference|train|library|include)"
# Options of other programs that pages name in running text.
FOREIGN = {"--signal", "--mem", "--n_train"}  # Slurm's, openai/glow's

problems = []


def git(*arguments):
    """Lines that git prints; None without git or a repository."""
    try:
        return subprocess.run(["git", "-C", ROOT, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None


def pages():
    listed = git("ls-files", "-co", "--exclude-standard", "*.md")
    if listed is None:
        return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]
    return [ROOT / name for name in listed if (ROOT / name).exists()]


def check_indexes():
    docs = ROOT / "docs"
    for index, folder in ((docs / "README.md", docs), (docs / "results.md", docs / "results")):
        for page in sorted(set(folder.glob("*.md")) - {index}):
            if f"]({page.relative_to(docs)})" not in index.read_text():
                problems.append(f"{index.relative_to(ROOT)}: does not link to {page.relative_to(docs)}")


def check_sources():
    for line in git("grep", "-nIoE", r"\bdocs/[A-Za-z/-]+\.md\b") or ():
        file, number, page = line.split(":")
        if not (ROOT / page).exists():
            problems.append(f"{file}:{number}: there is no {page}")


@functools.cache
def source_names():
    """Names of the sources, without folders; empty without git."""
    return {Path(name).name for name in git("ls-files", "-co", "--exclude-standard") or ()}


@functools.cache
def known_settings():
    """Names GLOW_... in files other than pages, and the options that glow_optional() makes; empty without git."""
    listed = git("grep", "-hIoE", r"\bGLOW_[A-Z0-9_]+\b", "--", ".", ":!*.md")
    libraries = re.findall(r"^\s*glow_optional\((\w+)", (ROOT / "cmake/GlowDependencies.cmake").read_text(), re.MULTILINE)
    return {*listed, *(f"GLOW_{library}" for library in libraries)} if listed else set()


def check_settings(page, text):
    known = known_settings()
    for name in sorted(set(re.findall(r"\bGLOW_[A-Z0-9_]+\b", text)) - known):
        if known:
            problems.append(f"{page.relative_to(ROOT)}: nothing in the repository reads {name}")


def split_code(text):
    """The code blocks of a page, indented or fenced, as (line number, text); and the prose with blank lines in their place."""
    blocks, prose, block, fenced, after_blank = [], [], None, False, True
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        indented = line.startswith("    ") and (block is not None or after_blank)
        code = fence or fenced or indented or (block is not None and not fenced and not line.strip())
        if code:
            if block is None:
                block = [number, []]
            block[1].append("" if fence else line)
        elif block is not None:
            blocks.append((block[0], "\n".join(block[1])))
            block = None
        fenced = fenced != fence
        after_blank = not line.strip() or (after_blank and code)
        prose.append("" if code else line)
    if block is not None:
        blocks.append((block[0], "\n".join(block[1])))
    return blocks, "\n".join(prose)


def anchors(page):
    """GitHub's names of a page's headings."""
    _, prose = split_code(page.read_text())
    titles = re.findall(r"^#+ +(.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(page, prose):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            problems.append(f"{page.relative_to(ROOT)}: link to {target}, which does not exist")
        elif anchor and anchor not in anchors(file):
            problems.append(f"{page.relative_to(ROOT)}: link to {target}: no such heading")


class Programs:
    """What --help of the built commands lists."""

    def __init__(self, folder):
        self.folder = folder
        self.names = sorted(path.name for path in folder.glob("glow_*") if os.access(path, os.X_OK))

    @functools.cache
    def help(self, *command):
        done = subprocess.run([self.folder / command[0], *command[1:], "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        return done.stdout if done.returncode == 0 else None

    @functools.cache
    def subcommands(self, *command):
        _, _, listed = (self.help(*command) or "").partition("Subcommands:\n")
        return re.findall(r"^  ([a-z0-9]+) ", listed, re.MULTILINE)

    @functools.cache
    def options(self, *command):
        """None where --help does not run here (a Python program without its packages)."""
        text = self.help(*command)
        if text is None:
            return None
        extra = {"--help", "--version", "--quiet", "--json"} if len(command) > 1 else {"--help"}
        return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text)) | extra

    @functools.cache
    def all_options(self):
        def of(*command):
            below = [of(*command, name) for name in self.subcommands(*command)]
            return set().union(self.options(*command) or (), *below)

        return set().union(*(of(name) for name in self.names))


def words_of(line):
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an apostrophe, or a quotation that continues on the next line
        return line.split()


def check_command(where, line, programs, in_block=True):
    """The options of every command of ours in a line of shell, and that its scripts can be started."""
    for part in re.split(r"\|\|?|&&|;|>", line):
        words = words_of(part)
        for i, word in enumerate(words):
            path = Path(word)
            if re.fullmatch(r"glow_[a-z]+", path.name) and not path.suffix:
                check_program(where, path.name, words[i + 1:], programs)
                break
            if re.fullmatch(rf"{FOLDERS}/[\w/.-]+\.(py|sh)", word) or re.search(r"glow-gpu/(tools/\S+)", word):
                script = ROOT / word.replace("glow-gpu/", "")
                if not script.exists():
                    problems.append(f"{where}: there is no {word}")
                else:
                    if in_block and i == 0 and not os.access(script, os.X_OK):
                        problems.append(f"{where}: {word} cannot be run as written: it is not executable")
                    text = script.read_text()
                    own = words[i + 1:]
                    own = own[: own.index("--")] if "--" in own else own  # behind it: options of another program
                    for option in (w.split("=")[0] for w in own if re.match(r"--[a-z]", w)):
                        if option != "--help" and not re.search(rf"{option}(?![\w-])", text):
                            problems.append(f"{where}: {word} has no option {option}")
                break


def check_program(where, name, words, programs):
    if name not in programs.names and any((ROOT / "tools").glob(name + ".*")):
        return  # this build lacks what it needs, such as Google Benchmark
    if name not in programs.names:
        problems.append(f"{where}: there is no command {name}")
        return
    command = [name]
    while programs.subcommands(*command) and words and re.fullmatch(r"[a-z][a-z0-9]+", words[0]):
        if words[0] not in programs.subcommands(*command):
            problems.append(f"{where}: {' '.join(command)} has no subcommand {words[0]}")
            return
        command.append(words.pop(0))
    known = programs.options(*command)
    if known is None:
        return
    for word in words:
        option = word.split("=")[0]
        if re.fullmatch(r"--?[a-zA-Z][\w-]*", option) and option not in known:
            problems.append(f"{where}: {' '.join(command)} has no option {option}")


def check_inline(page, code, programs):
    where = str(page.relative_to(ROOT))
    if re.match(r"(glow_[a-z]+|mpirun|tools/|tests/)", code):
        check_command(where, code, programs, in_block=False)
    elif re.fullmatch(r"--[a-z][\w-]*.*", code):
        option = re.match(r"--[a-z][\w-]*", code).group()
        if option not in programs.all_options() and option not in FOREIGN and not in_a_script(option):
            problems.append(f"{where}: no command has the option {option}")
    if re.fullmatch(r"\w+\.(cpp|h|cu|cuh)", code) and source_names() and code not in source_names():
        problems.append(f"{where}: there is no source {code}")
    if re.fullmatch(rf"{FOLDERS}/[\w/.-]*", code) and "NAME" not in code and not (ROOT / code).exists() and not (page.parent / code).exists():
        problems.append(f"{where}: there is no {code}")


@functools.cache
def in_a_script(option):
    scripts = [path for folder in ("tools", "tests") for suffix in ("*.py", "*.sh") for path in (ROOT / folder).rglob(suffix)]
    return any(re.search(rf"{option}(?![\w-])", path.read_text()) for path in scripts if path != Path(__file__).resolve())


def main():
    programs = Programs(Path(sys.argv[1]))
    for page in pages():
        blocks, prose = split_code(re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL))
        check_links(page, prose)
        check_settings(page, page.read_text())
        for number, block in blocks:
            for line in re.sub(r"\\\n", " ", block).splitlines():
                check_command(f"{page.relative_to(ROOT)}:{number}", line, programs)
        for code in re.findall(r"`([^`\n]+)`", prose):
            check_inline(page, code, programs)
    check_indexes()
    check_sources()
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
