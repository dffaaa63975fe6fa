"""The completion of a shell, and the help of the commands: every value has a name, and many options have groups."""

import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from ntm import console

_COMMANDS = {
    "ntm-train": ("training.command", "train"),
    "ntm-export": ("export.command", "export"),
    "ntm-copy": ("runtime.copy_command", "copy"),
    "ntm-eval": ("runtime.eval_command", "evaluate"),
    "ntm-run": ("runtime.run_command", "run"),
    "ntm-view": ("runtime.view_command", "view"),
}


def _function(name: str) -> Callable[..., int | None]:
    module, function = _COMMANDS[name]
    return getattr(importlib.import_module(f"ntm.{module}"), function)  # type: ignore[no-any-return]


def _code(name: str) -> str:
    """A program that is a command."""
    module, _ = _COMMANDS[name]
    return f"from ntm.{module} import main; main()"


def _completions(name: str, *typed: str) -> list[str]:
    """What bash is offered after these words, the last of which is not yet complete."""
    environment = {
        f"_{name.replace('-', '_').upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join([name, *typed]),
        "COMP_CWORD": str(len(typed)),
    }
    command = [sys.executable, "-c", _code(name)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("name", "typed", "offered"),
    [
        ("ntm-train", ["--mem"], ["--memory-locations", "--memory-vector-size"]),
        ("ntm-train", ["--task", "re"], ["repeat-copy"]),
        ("ntm-train", ["--optimizer", ""], ["adam", "rmsprop"]),
        ("ntm-train", ["--version", "--mom"], ["--momentum"]),  # it prints no version
        ("ntm-train", ["--config", "no.toml", "--mom"], ["--momentum"]),  # and reads no file
        ("ntm-export", ["--format", "t"], ["tflite", "triton"]),
        ("ntm-copy", ["--block"], ["--block-length"]),
        ("ntm-eval", ["--model", "a"], ["associative-recall"]),
        ("ntm-run", ["--bi"], ["--bits"]),
    ],
)
def test_a_shell_completes_options_and_words(name: str, typed: list[str], offered: list[str]) -> None:
    assert _completions(name, *typed) == offered


def _run(name: str, option: str, shell: str, home: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Call a command as from a shell, with a home of its own."""
    pretended = f"import shellingham; shellingham.detect_shell = lambda *_: ({shell!r}, {shell!r})"
    command = [sys.executable, "-c", f"{pretended}; {_code(name)}", option]
    environment = os.environ | {"HOME": str(home)}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=60)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_once_completion_is_installed(tmp_path: pathlib.Path) -> None:
    done = _run("ntm-copy", "--install-completion", "bash", tmp_path)
    script = tmp_path / ".bash_completions" / "ntm-copy.sh"
    assert (done.returncode, done.stderr) == (0, "")
    assert str(script) in done.stdout
    program = tmp_path / "ntm-copy"
    program.write_text(f"#!{sys.executable}\n{_code('ntm-copy')}\n")
    program.chmod(0o755)
    typed = f"source {tmp_path}/.bashrc; COMP_WORDS=(ntm-copy --block); COMP_CWORD=1; _ntm_copy_completion {program}"
    offered = subprocess.run(
        ["bash", "--norc", "-c", f'{typed}; echo "${{COMPREPLY[@]}}"'], check=True, capture_output=True, text=True
    )
    assert offered.stdout == "--block-length\n"


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_script_of_a_shell_is_printed(name: str, tmp_path: pathlib.Path) -> None:
    done = _run(name, "--show-completion", "zsh", tmp_path)
    assert (done.returncode, done.stderr, os.listdir(tmp_path)) == (0, "", [])
    assert done.stdout.startswith(f"#compdef {name}\n")


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_an_unknown_shell_is_refused_in_a_line(option: str, tmp_path: pathlib.Path) -> None:
    done = _run("ntm-run", option, "tcsh", tmp_path)
    message = "no completion for this shell: start the command from bash, zsh, fish or PowerShell"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ntm-run: error: {message}\n")
    assert os.listdir(tmp_path) == []


def _help(name: str) -> str:
    command = console.make_command(_function(name))
    with command.make_context(name, [], resilient_parsing=True) as context:
        return str(command.get_help(context))


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_help_names_every_value(name: str) -> None:
    command = console.make_command(_function(name))
    unnamed = [
        parameter.name
        for parameter in command.params
        if not getattr(parameter, "is_flag", False) and not parameter.metavar
    ]
    assert unnamed == []
    assert not re.search(r"<[a-z]", _help(name))  # as <int range>


def test_the_many_options_of_a_training_are_in_groups() -> None:
    helped = _help("ntm-train")
    groups = re.findall(r"^(\w[\w ]*):\n((?:  .*\n?)+)", helped, re.MULTILINE)
    assert [group for group, _ in groups] == ["Options", "Learning", "Network", "Reports and checkpoints"]
    of_group = dict(groups)
    for group, option in (("Options", "--task"), ("Learning", "--momentum"), ("Network", "--read-heads")):
        assert f"  {option} " in of_group[group]
    assert max(text.count("\n  -") for text in of_group.values()) < 20
