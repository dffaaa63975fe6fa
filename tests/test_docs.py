"""The pages are so: every block of code is tested as its marker says, every command is parsed, every link is followed.

CONTRIBUTING.md lists the markers.
"""

import contextlib
import functools
import importlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer

import ntm
from ntm import commands, console, models
from ntm.runtime import folder
from ntm.tasks import BUILT_IN, find
from ntm.training.recipes import configure

ROOT = pathlib.Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md", *DOCS]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUN, PARSE, OPTIONS = "test: run", "test: parse", "test: options of ntm-train"
SHORT = f"{RUN}, each training with 2 batches of a small network"
PART, ELSEWHERE, CI = "test: part of ", "test: elsewhere, ", "ci: "
SMALL: dict[str, Any] = {"max_batches": 2, "xla": False, "controller_sizes": (8,)}
# Pictures and lists of files; no program reads them.
NO_CODE = "text"
# Programs that are not ours, whose arguments nobody here can parse.
FOREIGN = {"cmp", "export", "mypy", "ruff", "tensorboard"}


_BLOCK = re.compile(r"^(?:<!-- ([^\n]+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code of a page."""

    page: str
    line: int
    marker: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: pathlib.Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(name(path), text.count("\n", 0, found.start()) + 1, found[1] or "", found[2], found[3])


BLOCKS = [block for path in PAGES for block in blocks_of(path) if block.language != NO_CODE]


def blocks(*markers: str) -> list[Block]:
    return [block for block in BLOCKS if block.marker.startswith(markers)]


def prose(path: pathlib.Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_commands() -> list[tuple[str, str]]:
    """What stands in backticks within the text and is a command of ours, by its page."""
    ours = re.compile(r"(?<!`)`((?:ntm-[a-z]+|python (?:benchmarks|examples)/\w+\.py)\s[^`]+)`")
    return [(name(path), " ".join(found.split())) for path in PAGES for found in ours.findall(prose(path))]


# How a line of a shell is parsed.


def commands_in(line: str) -> list[list[str]]:
    """The words of each command of a line, without the files that it reads from and writes to."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in ("<", ">"):
            next(lexer)
        elif set(word) <= set("&|;"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a command to its parser; it fails where the command would be refused."""
    program, arguments = pathlib.PurePath(words[0]).name, words[1:]
    if program in PROJECT["scripts"]:
        parse_ours(program, arguments, monkeypatch)
    elif program == "pip":
        for wanted in filter(re.compile(r"\.\[.+\]").fullmatch, arguments):
            assert set(wanted[2:-1].split(",")) <= PROJECT["optional-dependencies"].keys()
        assert arguments[0] == "install"
    elif program in ("python", "python3"):
        if arguments[0] != "-m":
            parse_script(arguments, monkeypatch)
    elif program in ("bash", "node"):
        assert (ROOT / arguments[0]).is_file()
    elif program == "npm":
        assert arguments[0] == "install"
        if "--prefix" in arguments:
            assert (ROOT / arguments[arguments.index("--prefix") + 1] / "package.json").is_file()
    elif program == "pytest":
        assert all((ROOT / path).exists() for path in arguments if path.startswith("tests"))
    else:
        assert program in FOREIGN


def parse_ours(program: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the entry point of the command, up to where it would begin."""

    def stop(name: str, function: Callable[..., int | None]) -> None:
        with contextlib.suppress(typer.Exit), console.make_command(function).make_context(name, sys.argv[1:]):
            pass

    module, function = PROJECT["scripts"][program].split(":")
    monkeypatch.setattr(console, "run", stop)
    monkeypatch.setattr(commands, "_end_silently", lambda: None)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    getattr(importlib.import_module(module), function)()


def parse_script(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options are options of the script or of what the benchmarks share; those after ``--`` are of ntm-train."""
    script, *others = arguments
    shared = [ROOT / "benchmarks" / helper for helper in ("seeds.py", "on_ray.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / script, *shared))
    if "--" in others:
        passed_on = others[others.index("--") + 1 :]
        others = others[: others.index("--")]
        if passed_on != ["OPTIONS"]:
            parse_ours("ntm-train", passed_on, monkeypatch)
    unknown = [word for word in others if word.startswith("--") and f'"{word}"' not in sources]
    assert not unknown, f"{script} has no {unknown}"


@pytest.fixture
def empty(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder to be in, with the file of options of docs/training.md, which ``--config`` reads while it is parsed."""
    monkeypatch.chdir(tmp_path)
    (options,) = blocks(OPTIONS)
    (tmp_path / "options.toml").write_text(options.text, encoding="utf-8")
    return tmp_path


# The tests.


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_says_how_it_is_tested(block: Block) -> None:
    runs = block.language in ("python", "sh") and block.marker in (RUN, SHORT)
    parses = block.language == "sh" and (block.marker == PARSE or block.marker.startswith((CI, ELSEWHERE)))
    parses |= block.language == "c" and block.marker.startswith(ELSEWHERE)
    options = block.language == "toml" and block.marker == OPTIONS
    assert runs or parses or options or block.marker.startswith(PART)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_fence_is_of_a_block(path: pathlib.Path) -> None:
    assert path.read_text(encoding="utf-8").count("```") == 2 * len(list(blocks_of(path)))


@pytest.mark.parametrize("block", [block for block in blocks(PARSE, RUN, CI) if block.language == "sh"], ids=str)
@pytest.mark.usefixtures("empty")
def test_the_commands_of_a_block_are_parsed(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in block.text.replace("\\\n", "").splitlines():
        for words in commands_in(line):
            parse(words, monkeypatch)


@pytest.mark.parametrize(("page", "line"), inline_commands())
@pytest.mark.usefixtures("empty")
def test_a_command_in_the_text_is_parsed(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """A letter alone stands for a number there."""
    for words in commands_in(line):
        parse([re.sub(r"^[A-Z]$", "1", word) for word in words], monkeypatch)


@pytest.mark.parametrize(
    "line", ["ntm-train --no-such-option", "ntm-copy", "python benchmarks/tasks.py --no-such", "rm x"]
)
@pytest.mark.usefixtures("empty")
def test_a_wrong_command_is_noticed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match=r"no-such|Missing|assert"):
        parse(shlex.split(line), monkeypatch)


@pytest.mark.usefixtures("empty")
def test_the_file_of_options_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    parse(["ntm-train", "--config", "options.toml"], monkeypatch)


@pytest.mark.parametrize("block", blocks(CI), ids=str)
def test_a_block_of_the_ci_is_run_there(block: Block) -> None:
    assert f"$(readme {block.marker.removeprefix(CI)})" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", blocks(PART), ids=str)
def test_a_block_is_part_of_its_program(block: Block) -> None:
    source = (ROOT / block.marker.removeprefix(PART)).read_text(encoding="utf-8")
    assert any(textwrap.indent(block.text, indent) in source for indent in ("", " " * 4, " " * 8))


@pytest.mark.parametrize("block", blocks(ELSEWHERE), ids=str)
def test_what_is_not_tested_is_not_ours(block: Block) -> None:
    assert "ntm-" not in block.text
    assert "python" not in block.text
    assert block.marker.removeprefix(ELSEWHERE).strip()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the network has not converged")
@pytest.mark.parametrize("page", sorted({block.page for block in blocks(RUN)}))
def test_the_blocks_of_a_page_run(page: str, empty: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "docs/commands.md":
        (empty / "input.bin").write_bytes(bytes(range(20)))
        np.save(empty / "x.npy", np.random.default_rng(0).integers(0, 2, (2, 5, 9)))
    elif page == "docs/deployment.md":
        shutil.copytree(folder.find("copy-8bit"), empty / "model")
    if any("litert" in block.text for block in blocks(RUN) if block.page == page):
        pytest.importorskip("ai_edge_litert", reason="the backend litert needs ai-edge-litert")
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(RUN):
        if block.page != page:
            continue
        with monkeypatch.context() as patch:
            if block.marker == SHORT:
                patch.setattr(ntm, "train", functools.partial(ntm.train, **SMALL))
            execute(block, names)


def execute(block: Block, names: dict[str, Any]) -> None:
    if block.language == "python":
        exec(compile(block.text, str(block), "exec"), names)  # noqa: S102
        return
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


# What else the pages say.


def anchors(path: pathlib.Path) -> set[str]:
    """What a link may name in a page, as GitHub has it."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: pathlib.Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if link.startswith("http"):
            continue
        target, _, anchor = link.partition("#")
        file = path.parent / target if target else path
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_page_links_to_the_legend(path: pathlib.Path) -> None:
    assert path.name == "legend.md" or "legend.md)" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_every_page_is_in_an_index(path: pathlib.Path) -> None:
    index = path.parents[path.name == "README.md"] / "README.md"
    link = path.relative_to(index.parent).as_posix()
    assert f"]({link})" in index.read_text(encoding="utf-8")


def test_the_legend_has_every_letter_of_the_code() -> None:
    legend = (ROOT / "docs" / "legend.md").read_text(encoding="utf-8")
    rows = re.findall(r"^([A-Z](?:, [A-Z]|\+[A-Z])*) {2,}\S", models.__doc__ or "", re.MULTILINE)
    letters = [letter for row in rows for letter in row.split(", ")]
    assert {"B", "N", "M", "R", "K", "R+K"} <= set(letters)
    assert all(re.search(rf"^\| {re.escape(letter)} \|", legend, re.MULTILINE) for letter in letters)


def test_the_recipes_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    header, _, *rows = re.findall(r"^\| (.+?) +\|$", page[page.index("| option   ") :].split("\n\n")[0], re.MULTILINE)
    tasks = re.findall(r"`([\w-]+)`", header)
    assert sorted(tasks) == sorted(BUILT_IN)
    for row in rows:
        option, *cells = map(str.strip, row.split("|"))
        for task, cell in zip(tasks, cells, strict=False):
            network, training = configure(find(task))
            field = option.strip("`")
            value = getattr(network, field, None)
            value = getattr(training, field) if value is None else value
            if cell != "-" or isinstance(value, tuple):  # a dash: the option has no effect
                assert cell == as_text(value), f"{option} of {task}"


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, str):
        return value
    return "never" if value >= 1e9 else f"{value:,}" if value >= 1e3 else f"{value:g}"


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {ntm.__version__}\n" in citation


@pytest.mark.slow
def test_the_picture_of_two_tasks_is_drawn(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.png"
    subprocess.run([sys.executable, ROOT / "benchmarks" / "memory_use.py", "--output", picture], check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
