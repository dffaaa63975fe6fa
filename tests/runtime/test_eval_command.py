"""``ntm-eval`` as its users meet it."""

import contextlib
import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntm import commands, console
from ntm.runtime.eval_command import PICTURES, parse_lengths, with_default_files

Eval = Callable[..., subprocess.CompletedProcess[str]]

_CODE = "from ntm.commands import evaluate; evaluate()"


@pytest.fixture
def command(tiny_model: pathlib.Path) -> list[str]:
    return [sys.executable, "-c", _CODE, "--model", str(tiny_model)]


@pytest.fixture
def ntm_eval(
    command: list[str], tiny_model: pathlib.Path, in_process: Eval, work: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Eval:
    """Run ``ntm-eval`` with the tiny model and these arguments to its end, in an empty folder.

    It runs in a process of its own where ``options`` say what this process has.
    """
    monkeypatch.chdir(work)

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        if not options:
            return in_process("ntm-eval", commands.evaluate, "--model", tiny_model, *arguments)
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run([*command, *map(str, arguments)], check=False, text=True, timeout=60, **streams | options)

    return run


@pytest.fixture
def work(tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder that the command runs in."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def assert_trouble(result: subprocess.CompletedProcess[str], message: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that says why."""
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("ntm-eval: error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


# The lengths


@given(st.lists(st.integers(1, (1 << 20) - 2), min_size=1))
def test_lengths_are_read_as_they_are_written(lengths: list[int]) -> None:
    assert parse_lengths(",".join(map(str, lengths))) == lengths
    assert parse_lengths(" , ".join(map(str, lengths))) == lengths


@given(st.text(alphabet="0123456789, .-+_e\u0663x") | st.text())
def test_lengths_are_sizes_of_sequences_or_refused(text: str) -> None:
    try:
        lengths = parse_lengths(text)
    except console.CommandError:
        return
    assert all(1 <= length <= (1 << 20) - 2 for length in lengths)
    assert [f"{length}" for length in lengths] == [part.strip().lstrip("0") for part in text.split(",")]


@pytest.mark.parametrize(
    "text", ["", ",", "20,", "0", "-1", "1.5", "1e3", "+3", "1_000", "\u0663", "20;30", "9" * 5000]
)
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(console.CommandError, match=r"^lengths must be numbers from 1 to 1048574 with commas between, "):
        parse_lengths(text)


# What it counts


def test_a_table_and_exit_code_0(ntm_eval: Eval, work: pathlib.Path) -> None:
    result = ntm_eval("--lengths", "3,130", "--sequences", "7")
    assert (result.returncode, result.stderr) == (0, "")
    header, _, short, long, *_ = result.stdout.splitlines()
    columns = ["length", "N", "sequences", "perfect", "wrong bits", "worst", "cost"]
    assert [cell.strip() for cell in header.split("|")[1:-1]] == columns
    assert [cell.strip() for cell in short.split("|")[1:-2]] == ["3", "128", "7", "7", "0", "0"]
    assert [cell.strip() for cell in long.split("|")[1:-2]] == ["130", "132", "7", "7", "0", "0"]
    assert "cost: bits per sequence\n" in result.stdout
    assert not list(work.iterdir())


def test_wrong_bits_and_exit_code_1(ntm_eval: Eval, edited_model: Callable[..., pathlib.Path]) -> None:
    """A network without its weights says neither 0 nor 1, which costs a bit each."""
    silent = edited_model(weights=lambda weights: 0 * weights)
    result = ntm_eval("--model", silent, "--lengths", "10", "--sequences", "3", "--option", "pattern=ones", "--json")
    assert (result.returncode, result.stderr) == (1, "")
    summary = json.loads(result.stdout)
    assert summary.pop("seconds") > 0
    assert summary == {
        "model": "tiny",
        "checkpoint_sha256": "0" * 64,
        "task": {"name": "copy", "options": {"bits": 8, "pattern": "ones"}},
        "seed": 0,
        "results": [
            {
                "length": 10,
                "memory_locations": 128,
                "sequences": 3,
                "perfect_sequences": 0,
                "wrong_bits": 240,
                "wrong_bits_mean": 80.0,
                "wrong_bits_worst": 80,
                "cost_mean": 80.0,
            }
        ],
    }


def test_a_seed_makes_the_same_figures_however_they_are_computed(ntm_eval: Eval) -> None:
    def results(*options: str) -> Any:
        result = ntm_eval("--lengths", "20", "--memory-locations", "12", "--sequences", "9", "--json", *options)
        assert result.returncode == 1
        (figures,) = json.loads(result.stdout)["results"]
        figures["cost_mean"] = pytest.approx(figures["cost_mean"])
        return figures

    assert results("--batch-size", "2", "--threads", "3") == results("--batch-size", "9", "--threads", "1") == results()
    assert results("--seed", "1") != results()


def test_quiet(ntm_eval: Eval) -> None:
    result = ntm_eval("--quiet", "--lengths", "3")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_memory_that_is_too_small_is_not_silent(ntm_eval: Eval) -> None:
    result = ntm_eval("--lengths", "5,10,11,200", "--memory-locations", "12", "--sequences", "3")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"ntm-eval: warning: length={length} needs {length + 2} memory locations, and there are 12: expect wrong bits"
        for length in (11, 200)
    ]


# Any task


INVERSE = """
import dataclasses, pathlib
import numpy as np
from ntm.tasks import Batch, Task

pathlib.Path("ran").touch()

@dataclasses.dataclass(frozen=True)
class Inverse(Task):
    turns: int = 1
    input_size = 9
    output_size = 8
    training_sizes = {"steps": range(2, 5)}

    def batch(self, rng, batch_size, size):
        x = rng.integers(0, 2, (size["steps"], batch_size, 9))
        return Batch(x, 1 - x[:, :, :8], np.ones(x.shape[:2]))
"""


def test_a_task_of_the_user_is_run_only_if_the_user_says_so(
    ntm_eval: Eval, edited_model: Callable[..., pathlib.Path], work: pathlib.Path
) -> None:
    model = edited_model(props={"task": '{"name": "Inverse", "options": {"turns": 2}}'})
    (work / "mine.py").write_text(INVERSE)
    result = ntm_eval("--model", model)
    assert_trouble(result, "its task Inverse is not built in: give --task FILE.py:Inverse")
    assert not (work / "ran").exists()
    result = ntm_eval("--model", model, "--task", "mine.py:Inverse", "--json")
    assert (result.returncode, result.stderr) == (1, "")
    assert (work / "ran").exists()
    summary = json.loads(result.stdout)
    assert summary["task"] == {"name": "Inverse", "options": {"turns": 2}}
    assert [(row["steps"], row["memory_locations"]) for row in summary["results"]] == [(2, 128), (4, 128)]
    assert all(row["wrong_bits"] for row in summary["results"])
    assert_trouble(ntm_eval("--model", model, "--task", "mine.py:Other"), "its tasks: Inverse")


def test_a_model_file_that_names_a_program_as_its_task_makes_nothing_run(
    ntm_eval: Eval, edited_model: Callable[..., pathlib.Path], work: pathlib.Path
) -> None:
    (work / "mine.py").write_text(INVERSE)
    model = edited_model(props={"task": '{"name": "mine.py:Inverse", "options": {}}'})
    assert_trouble(ntm_eval("--model", model), "its task mine.py:Inverse is not built in")
    assert_trouble(ntm_eval("--model", model, "--task", "repeat-copy"), "the task repeat-copy has 10 inputs")
    assert ntm_eval("--model", model, "--version").returncode == 0
    assert [path.name for path in work.iterdir()] == ["mine.py"]


@pytest.mark.slow
def test_where_nobody_can_know_the_next_bit_the_exit_code_is_0(
    ntm_eval: Eval, untrained: Callable[[str], pathlib.Path]
) -> None:
    result = ntm_eval("--model", untrained("dynamic-ngrams"), "--sequences", "3", "--size", "length=20")
    assert (result.returncode, result.stderr) == (0, "")
    header, _, row, *_ = result.stdout.splitlines()
    assert [cell.strip() for cell in header.split("|")[6:-1]] == ["worst", "cost", "optimal", "above optimal"]
    worst, cost, optimal, above = (float(cell) for cell in row.split("|")[6:-1])
    assert worst > 0
    assert above == pytest.approx(cost - optimal, abs=0.1)
    assert result.stdout.endswith("and that of the optimal predictor\n")


def test_sizes_of_several_numbers(ntm_eval: Eval) -> None:
    """A task that the model has not learned, and yet fits it."""
    sizes = ["--size", "length=2,repeats=3", "--size", "repeats=2, length=5"]
    result = ntm_eval("--task", "repeat-copy", "--option", "bits=7", *sizes, "--json", "--sequences", "2")
    assert (result.returncode, result.stderr) == (1, "")
    summary = json.loads(result.stdout)
    assert summary["task"] == {"name": "repeat-copy", "options": {"bits": 7, "pattern": "random", "count": "number"}}
    assert [(row["length"], row["repeats"]) for row in summary["results"]] == [(2, 3), (5, 2)]


# The pictures


@pytest.mark.slow
def test_pictures_go_where_it_says(ntm_eval: Eval, work: pathlib.Path) -> None:
    result = ntm_eval("--lengths", "3,5", "--sequences", "2", "--plot", "--trace", "t.png")
    assert result.returncode == 0
    assert result.stderr == f"ntm-eval: wrote {PICTURES['--plot']} and t.png\n"
    assert {path.name for path in work.iterdir()} == {PICTURES["--plot"], "t.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in work.iterdir())


def test_a_picture_is_replaced_only_by_force(ntm_eval: Eval, work: pathlib.Path) -> None:
    options = ("--lengths", "3", "--sequences", "2", "--quiet")
    mine = work / PICTURES["--trace"]
    mine.write_text("mine")
    assert_trouble(ntm_eval(*options, "--trace"), f"{mine.name} exists: use --force to replace it")
    assert mine.read_text() == "mine"
    result = ntm_eval(*options, "--trace", "--force")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert mine.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "x.jpg"], "cannot draw x.jpg: its name must end in .png or .pdf or .svg"),
        (["--plot", "x"], "cannot draw x: "),
        (["--plot", "x.png", "--trace", "./x.png"], "x.png cannot be both pictures"),
        (["--plot", "no/x.png"], "cannot write no/x.png: no such file or directory"),
        (["--trace", "/dev/null/x.png"], "cannot write /dev/null/x.png: not a directory"),
        (["--plot", "--lengths", ",".join(["3"] * 21)], "a plot has room for 20 sizes, not 21"),
        (["--trace", "--lengths", "10000"], "a trace of the first size is too large: put a smaller size first"),
    ],
)
def test_a_picture_that_cannot_be_is_refused_before_the_counting(
    ntm_eval: Eval, work: pathlib.Path, arguments: list[str], message: str
) -> None:
    assert_trouble(ntm_eval("--sequences", 1 << 20, *arguments), message)
    assert not list(work.iterdir())


@pytest.mark.slow
def test_the_figures_are_there_even_if_no_picture_can_be(ntm_eval: Eval, work: pathlib.Path) -> None:
    (work / "full.png").symlink_to("/dev/full")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = ntm_eval("--lengths", "3", "--sequences", "2", "--plot", "full.png", env=buffered)
    assert result.returncode == 2
    assert result.stderr == "ntm-eval: error: cannot write full.png: no space left on device\n"
    assert result.stdout.startswith("| length |")


@pytest.mark.slow
def test_the_pictures_are_there_even_if_nobody_reads_the_figures(ntm_eval: Eval, work: pathlib.Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = ntm_eval("--lengths", "3", "--sequences", "2", "--plot", "p.png", "--trace", "t.png", stdout=write_end)
    os.close(write_end)
    assert result.stderr == "ntm-eval: wrote p.png and t.png\n"
    assert {path.name for path in work.iterdir()} == {"p.png", "t.png"}


@pytest.mark.slow
def test_the_pictures_are_there_even_if_the_figures_cannot_be_written(ntm_eval: Eval, work: pathlib.Path) -> None:
    with open("/dev/full", "w") as full:
        result = ntm_eval("--lengths", "3", "--sequences", "2", "--quiet", "--json", "--plot", "p.png", stdout=full)
    assert result.returncode == 2
    assert result.stderr == "ntm-eval: error: cannot write standard output: no space left on device\n"
    assert [path.name for path in work.iterdir()] == ["p.png"]


@pytest.mark.slow
def test_matplotlib_says_nothing_of_its_cache(ntm_eval: Eval) -> None:
    """Not even where it can keep none."""
    environment = os.environ | {"MPLCONFIGDIR": "/dev/null/none"}
    result = ntm_eval("--lengths", "3", "--sequences", "2", "--plot", "--quiet", env=environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.slow
def test_matplotlib_is_missing(tiny_model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.modules['matplotlib'] = None; {_CODE}"
        command = [sys.executable, "-c", code, "--model", str(tiny_model), "--lengths", "3", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)

    for option in PICTURES:
        assert_trouble(run(option), "matplotlib is missing: pip install 'neural-turing-machine[plot]'")
    assert run().returncode == 0


@pytest.mark.parametrize(
    ("arguments", "completed"),
    [
        (["--plot"], ["--plot", "ntm-eval-plot.png"]),
        (["--plot", "--trace"], ["--plot", "ntm-eval-plot.png", "--trace", "ntm-eval-trace.png"]),
        (["--plot", "-f"], ["--plot", "ntm-eval-plot.png", "-f"]),
        (["--plot", "x.png", "--json"], ["--plot", "x.png", "--json"]),
        (["--trace=x.png"], ["--trace=x.png"]),
        ([], []),
    ],
    ids=" ".join,
)
def test_a_picture_without_a_name_gets_one(arguments: list[str], completed: list[str]) -> None:
    assert with_default_files(arguments) == completed


# What it refuses, and how it ends


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "20,x"], "lengths must be numbers from 1 to 1048574 with commas between, not 20,x"),
        (["--sequences", "0"], "'--sequences'"),
        (["--lengths", "3", "--size", "length=3"], "give either --size or --lengths"),
        (["--size", "length"], "a size is NAME=NUMBER, not 'length'"),
        (["--size", "items=3"], "a size of the task copy has length, not items=3"),
        (["--size", "length=0"], "the task copy, batch of length=0: "),
        (["--option", "pattern=noise"], "the task copy: pattern must be one of random, sparse, "),
        (["--task", "copying"], "there is no task 'copying': give one of copy, repeat-copy, "),
        (["--task", "repeat-copy"], "the task repeat-copy has 10 inputs, and the model tiny 9"),
        (
            ["--task", "repeat-copy", "--option", "bits=7", "--lengths", "3"],
            "a size of the task repeat-copy has length and repeats",
        ),
        (["--memory-locations", "0"], "'--memory-locations'"),
        (["--batch-size", "0"], "'--batch-size'"),
        (["--threads", "0"], "'--threads'"),
        (["--seed", "-1"], "'--seed'"),
        (["--model", "no/Model"], "there is no model folder no/Model; bundled models: "),
        (["20"], "unexpected extra argument"),
    ],
)
def test_wrong_usage(ntm_eval: Eval, arguments: list[str], message: str) -> None:
    assert_trouble(ntm_eval(*arguments), message)


def test_fewer_locations_than_the_heads_start_from(ntm_eval: Eval, edited_model: Callable[..., pathlib.Path]) -> None:
    result = ntm_eval("--model", edited_model(first={"weights": [[0.5, 0.5]] * 2}), "--memory-locations", "1")
    assert_trouble(result, "memory_locations must be at least 2, not 1")


def test_a_graph_that_does_not_run(ntm_eval: Eval, edited_model: Callable[..., pathlib.Path]) -> None:
    def teleport(model: Any) -> None:
        model.graph.node[0].op_type = "Teleport"

    assert_trouble(ntm_eval("--model", edited_model(change=teleport), "--lengths", "3"), "Teleport")


def test_standard_output_is_closed_or_full(command: list[str]) -> None:
    arguments = [*command, "--lengths", "3", "--sequences", "1"]
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *arguments], capture_output=True, check=False, text=True
    )
    assert_trouble(closed, "standard output is closed")
    with open("/dev/full", "w") as full:
        result = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    message = "ntm-eval: error: cannot write standard output: no space left on device\n"
    assert (result.returncode, result.stderr) == (2, message)


def test_nobody_reads_the_table(ntm_eval: Eval) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = ntm_eval("--lengths", "3", stdout=write_end)
    os.close(write_end)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_in_the_middle_of_a_long_sequence(
    command: list[str], tmp_path: pathlib.Path, number: signal.Signals, code: int
) -> None:
    """With progress on a terminal, so that the test knows that it is under way."""
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [*command, "--lengths", "100000", "--sequences", "10", "--plot", "p.png"],
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(stderr)
    shown, deadline = b"", time.monotonic() + 60
    while b"length=100000: 0 of 10 sequences" not in shown:
        assert time.monotonic() < deadline
        shown += os.read(terminal, 1 << 16)
    process.send_signal(number)
    with contextlib.suppress(OSError):  # the end of the process is the end of the terminal
        while os.read(terminal, 1 << 16):
            pass
    os.close(terminal)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, b"")
    assert not list(tmp_path.iterdir())


def test_help_and_version_need_neither_numpy_nor_matplotlib() -> None:
    code = f"import sys; sys.modules['numpy'] = sys.modules['matplotlib'] = None; {_CODE}"
    for option, start in (("--help", "Usage: ntm-eval"), ("--version", "ntm-eval ")):
        done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, check=False, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(start)


def test_help_says_which_pictures_there_are(ntm_eval: Eval) -> None:
    shown = " ".join(ntm_eval("--help").stdout.split())
    assert shown.count("FILE ends in .png or .pdf or .svg; its default is ") == len(PICTURES)
