"""What ``ntm-copy`` refuses: wrong usage, and files and models that cannot be used."""

import json
import os
import pathlib
import pty
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import onnx
import pytest

import ntm
from ntm.runtime import copy_command, options

Copy = Callable[..., subprocess.CompletedProcess[bytes]]

CONTENT = random.Random(0).randbytes(5000)  # noqa: S311


def assert_trouble(result: subprocess.CompletedProcess[bytes], message: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that says why."""
    assert result.returncode == 2
    assert not result.stdout
    assert result.stderr.startswith(b"ntm-copy: error: ")
    assert result.stderr.endswith(b"\n")
    assert result.stderr.count(b"\n") == 1
    assert message in result.stderr.decode()


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing argument 'INPUT'"),
        (["a", "b"], "unexpected extra argument"),
        (["a", "--bits", "7"], "no such option"),
        (["a", "--threads", "0"], "'--threads'"),
        (["a", "--block-length", "x"], "'--block-length'"),
    ],
)
def test_wrong_usage(ntm_copy: Copy, arguments: list[str], message: str) -> None:
    assert_trouble(ntm_copy(*arguments), message)


def test_the_input_is_missing(ntm_copy: Copy, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    missing = tmp_path / "Missing File"
    assert_trouble(ntm_copy(missing, "-o", target), f"cannot read {missing}: no such file or directory")
    assert not target.exists()


def test_the_input_is_a_folder(ntm_copy: Copy, tmp_path: pathlib.Path, target: pathlib.Path) -> None:
    assert_trouble(ntm_copy(tmp_path, "-o", target), f"cannot read {tmp_path}: is a directory")
    assert not target.exists()


@pytest.fixture
def unprivileged(command: list[str]) -> Copy:
    """Run ``ntm-copy`` as somebody to whom permissions apply."""
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if powerless and (not shutil.which("setpriv") or subprocess.run([*powerless, "true"], check=False).returncode):
        pytest.skip("root may read and write everything")

    def run(*arguments: str | pathlib.Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*powerless, *command, *arguments], capture_output=True, check=False, timeout=60)

    return run


def test_permission_denied(
    unprivileged: Copy, source: pathlib.Path, target: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "closed").mkdir(0o500)
    nowhere = tmp_path / "closed" / "target"
    assert_trouble(unprivileged(source, "-o", nowhere), f"cannot write {nowhere}: permission denied")
    source.chmod(0)
    assert_trouble(unprivileged(source, "-o", target), f"cannot read {source}: permission denied")
    assert not target.exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="there is no file that even root cannot read")
def test_the_input_cannot_be_read(ntm_copy: Copy, target: pathlib.Path) -> None:
    """A file that opens, and whose first byte cannot be read: the memory of the process itself, at address 0."""
    assert_trouble(ntm_copy("/proc/self/mem", "-o", target), "cannot read /proc/self/mem: input/output error")
    assert not target.exists()


def test_standard_streams_are_closed(command: list[str], source: pathlib.Path, target: pathlib.Path) -> None:
    def run(closing: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        script = f'exec "$@" {closing}'
        return subprocess.run(["sh", "-c", script, "sh", *command, *arguments], capture_output=True, check=False)

    assert_trouble(run("<&-", "-"), "standard input is closed")
    assert_trouble(run(">&-", str(source)), "standard output is closed")
    assert_trouble(run(">&-", str(source), "-o", str(target), "--json"), "standard output is closed")
    assert not target.exists()
    result = run("<&- >&- 2>&-", str(source), "-o", str(target))
    assert (result.returncode, target.read_bytes()) == (0, CONTENT)


def test_the_output_exists(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    target.write_bytes(b"precious")
    assert_trouble(ntm_copy(source, "-o", target), f"{target} exists: use --force to replace it")
    assert target.read_bytes() == b"precious"
    assert ntm_copy(source, "-o", target, "--force").returncode == 0
    assert target.read_bytes() == CONTENT


def _same(path: pathlib.Path, _: pathlib.Path) -> pathlib.Path:
    return path.parent / "." / path.name


def _hard_link(path: pathlib.Path, link: pathlib.Path) -> pathlib.Path:
    link.hardlink_to(path)
    return link


def _symbolic_link(path: pathlib.Path, link: pathlib.Path) -> pathlib.Path:
    link.symlink_to(path)
    return link


@pytest.mark.parametrize("alias", [_same, _hard_link, _symbolic_link])
def test_the_output_is_the_input(
    ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path, alias: Callable[..., pathlib.Path]
) -> None:
    other = alias(source, target)
    assert_trouble(ntm_copy(source, "-o", other, "--force"), f"{other} is the input")
    with open(source, "rb") as stdin:
        assert_trouble(ntm_copy("-", "-o", other, "--force", stdin=stdin), f"{other} is the input")
    assert source.read_bytes() == CONTENT


def test_standard_output_is_the_input(ntm_copy: Copy, source: pathlib.Path) -> None:
    with open(source, "ab") as stdout:
        assert_trouble(ntm_copy(source, stdout=stdout), "standard output is the input")
    assert source.read_bytes() == CONTENT


def test_the_output_is_nowhere(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    nowhere = target.parent / "nowhere" / "target"
    assert_trouble(ntm_copy(source, "-o", nowhere), f"cannot write {nowhere}: no such file or directory")
    assert_trouble(ntm_copy(source, "-o", target.parent), f"cannot write {target.parent}: is a directory")
    assert_trouble(ntm_copy(source, "-o", f"{target}/"), f"cannot write {target}/: is a directory")
    assert_trouble(ntm_copy(source, "-o", source / "file"), "not a directory")


def test_no_binary_to_a_terminal(ntm_copy: Copy, source: pathlib.Path) -> None:
    terminal, stdout = pty.openpty()
    assert_trouble(ntm_copy(source, stdout=stdout), "standard output is a terminal")
    os.set_blocking(terminal, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal, 1)
    assert ntm_copy("-", "-o", "-", stdout=stdout, input=b"text").returncode == 0
    assert os.read(terminal, 100) == b"text"
    os.close(terminal)
    os.close(stdout)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_no_space_left(ntm_copy: Copy, source: pathlib.Path) -> None:
    assert_trouble(ntm_copy(source, "-o", "/dev/full"), "cannot write /dev/full: no space left on device")
    with open("/dev/full", "wb") as full:
        assert_trouble(ntm_copy(source, stdout=full), "cannot write standard output: no space left on device")


def test_no_space_left_for_a_regular_file(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", target.parent], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert_trouble(ntm_copy(source, "-o", target), f"cannot write {target}: no space left on device")
        assert list(target.parent.iterdir()) == []
    finally:
        subprocess.run(["umount", target.parent], check=True)


def test_a_file_size_limit(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    assert_trouble(ntm_copy(source, "-o", target, preexec_fn=limit), f"cannot write {target}: file too large")
    assert not target.exists()


# Models it refuses


_FOREIGN = "ntm-export did not write it, or it is cut short"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], _FOREIGN),
        (lambda _: b"", _FOREIGN),
        (lambda _: b"# A text file\n" * 100, _FOREIGN),
        (lambda _: pathlib.Path(sys.executable).read_bytes(), _FOREIGN),
        (lambda content: b"\0" + content[1:], "it is damaged: its checksum is not the one it was written with"),
    ],
    ids=["truncated", "empty", "text", "program", "one byte"],
)
@pytest.mark.parametrize("name", ["step.onnx", "unrolled.onnx", "sparse.onnx", "batched.onnx"])
def test_a_damaged_model(  # noqa: PLR0917  (fixtures)
    ntm_copy: Copy,
    tiny_model: pathlib.Path,
    tmp_path: pathlib.Path,
    source: pathlib.Path,
    target: pathlib.Path,
    name: str,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / name).write_bytes(damage((tiny_model / name).read_bytes()))
    result = ntm_copy(source, "-o", target, "--model", model)
    assert_trouble(result, f"cannot load the model {model / name}: ")
    assert_trouble(result, message)
    assert not target.exists()


def _foreign(model: Any) -> None:
    """A model of others: valid, and nothing that this command could serve."""
    del model.metadata_props[:]


def _unknown_operator(model: Any) -> None:
    model.graph.node[0].op_type = "Teleport"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"props": {"schema_version": "1"}}, "it has schema version '1', and this release reads '7'"),
        ({"change": _foreign}, "ntm-export did not write it"),
        ({"change": _unknown_operator}, "Teleport"),
    ],
    ids=["schema", "foreign", "operator"],
)
def test_a_model_that_cannot_be_served(  # noqa: PLR0917  (fixtures)
    ntm_copy: Copy,
    edited_model: Callable[..., pathlib.Path],
    source: pathlib.Path,
    target: pathlib.Path,
    edit: dict[str, Any],
    message: str,
) -> None:
    assert_trouble(ntm_copy(source, "-o", target, "--model", edited_model(**edit)), message)
    assert not target.exists()


def test_there_is_no_model(ntm_copy: Copy, source: pathlib.Path, target: pathlib.Path) -> None:
    assert_trouble(
        ntm_copy(source, "-o", target, "--model", "no/Model"),
        "there is no model folder no/Model; bundled models: ",
    )
    assert not target.exists()


@pytest.mark.parametrize("name", ["associative-recall", "Copy", "copy.py:Copy"])
def test_a_model_of_another_task(
    ntm_copy: Copy,
    edited_model: Callable[..., pathlib.Path],
    source: pathlib.Path,
    target: pathlib.Path,
    name: str,
) -> None:
    other = edited_model(props={"task": json.dumps({"name": name, "options": {}})})
    result = ntm_copy(source, "-o", target, "--model", other)
    assert_trouble(result, f"the model {other} was trained on {name}, not on copy")
    assert not target.exists()


def test_words_that_are_no_bytes(
    ntm_copy: Copy, tiny_model_of_16_bits: pathlib.Path, source: pathlib.Path, target: pathlib.Path
) -> None:
    result = ntm_copy(source, "-o", target, "--model", tiny_model_of_16_bits)
    assert_trouble(result, f"the model {tiny_model_of_16_bits} has words of 16 bits, not 8")
    assert not target.exists()


def test_a_graph_that_cannot_be_loaded_is_found_out_before_the_output_is_opened(
    edited_model: Callable[..., pathlib.Path], source: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.op_type = "Unheard"

    monkeypatch.setattr(options, "open_output", None)
    with pytest.raises(ntm.ModelError, match="cannot load the model"):
        copy_command.copy(str(source), output="never", model=str(edited_model(change=change)))
