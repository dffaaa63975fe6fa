"""What XLA is told, and the cache of compiled trainings: damaged files, other processors, no room, odd names."""

import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from ntm.training import compilation

_LEVEL = "--xla_backend_optimization_level=1"
_ENTRY = "xla_compile_cache__1__2__XLA_CPU_JIT.pb"
_OPTIONS = ("--max-batches", "1", "--size", "length=1-2", "--controller-sizes", "4")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """An environment without a setting of XLA, that is as it was after the test."""
    for name in ("XLA_FLAGS", "TF_XLA_FLAGS"):
        monkeypatch.setenv(name, "")  # so that it is remembered
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compilation, "_folder", None)


@pytest.fixture
def folder() -> pathlib.Path:
    """The folder of a cache that is set up."""
    compilation.set_up()
    assert compilation._folder is not None
    return compilation._folder


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_compiled_is_kept_in_the_cache_of_the_user(tmp_path: pathlib.Path) -> None:
    compilation.set_up()
    (folder,) = (tmp_path / "neural-turing-machine" / "xla").iterdir()
    assert names(folder) == []
    assert os.environ["TF_XLA_FLAGS"] == f'--tf_xla_persistent_cache_directory="{folder}"'
    assert os.environ["XLA_FLAGS"] == _LEVEL


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--xla_dump_to=x", f"--xla_dump_to=x {_LEVEL}"),
        ("--xla_backend_optimization_level=3", "--xla_backend_optimization_level=3"),
    ],
)
def test_settings_of_the_user_stay(flags: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=mine")
    compilation.set_up()
    assert os.environ["XLA_FLAGS"] == expected
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_persistent_cache_directory=mine"
    assert not compilation.discard()


@pytest.mark.parametrize("change", ["tensorflow", "instructions", "processor", "flags", "machine"])
def test_every_processor_and_tensorflow_has_a_folder_of_its_own(
    change: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that is compiled for one ends another with "illegal instruction"."""
    assert compilation._key() == folder.name
    if change == "tensorflow":
        monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    elif change == "instructions":
        monkeypatch.setattr(np, "show_config", lambda **_: {"SIMD Extensions": {"found": ["AVX2"]}})
    elif change == "processor":
        monkeypatch.setattr(compilation, "_OF_A_PROCESSOR", ())
    elif change == "flags":
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    else:
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert compilation._key() != folder.name


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "without a checksum", "checksum of another"])
def test_a_damaged_file_is_deleted_before_tensorflow_sees_it(damage: str, folder: pathlib.Path) -> None:
    path, checksum = folder / _ENTRY, folder / f"{_ENTRY}.sha256"
    whole = folder / _ENTRY.replace("1", "3")
    path.write_bytes(b"code" * 100)
    whole.write_bytes(b"good" * 100)
    compilation.keep()
    compilation.set_up()
    assert names(folder) == sorted([path.name, checksum.name, whole.name, f"{whole.name}.sha256"])
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        os.truncate(path, 399)
    elif damage == "flipped":
        path.write_bytes(b"code" * 99 + b"coda")
    elif damage == "without a checksum":
        checksum.unlink()
    else:
        checksum.write_bytes((folder / f"{whole.name}.sha256").read_bytes())
    compilation.set_up()
    assert names(folder) == sorted([whole.name, f"{whole.name}.sha256"])


def test_a_file_that_xla_is_writing_is_left_alone_but_not_for_ever(folder: pathlib.Path) -> None:
    written, left = (folder / f"{_ENTRY}{number}.tmp" for number in "12")
    written.touch()
    left.touch()
    os.utime(left, (time.time() - 3600,) * 2)
    compilation.keep()
    compilation.set_up()
    assert names(folder) == [written.name]


def test_the_oldest_files_go_where_all_are_too_large_whatever_they_are_keyed_by(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "_CACHE_BYTES", 3_000)
    other = folder.with_name("tensorflow-1.0-0")
    other.mkdir()
    for age, path in enumerate([folder / f"{_ENTRY}3", other / f"{_ENTRY}2", folder / f"{_ENTRY}1"]):
        path.write_bytes(bytes(1_000))
        os.utime(path, (time.time() - 100 * age,) * 2)
    compilation.keep()
    assert names(folder) == [f"{_ENTRY}3", f"{_ENTRY}3.sha256"]
    assert names(other) == [f"{_ENTRY}2"]


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may be as large as a compiled training, as where a quota is used up."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
def test_without_room_there_is_no_cache() -> None:
    compilation.set_up()
    assert "TF_XLA_FLAGS" not in os.environ


def test_where_no_folder_can_be_made_there_is_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compilation.set_up()
    assert "TF_XLA_FLAGS" not in os.environ


@pytest.mark.slow
def test_trainings_share_a_cold_cache_of_any_name_and_go_on_where_it_is_damaged(tmp_path: pathlib.Path) -> None:
    cache = tmp_path / "o'd \"d,\té\\x"
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}  # which compiles faster

    def begin(number: int, first: str = "pass") -> "subprocess.Popen[str]":
        program = f"{first}; from ntm.commands import train; train()"
        arguments = [sys.executable, "-c", program, "--output", str(tmp_path / str(number)), *_OPTIONS]
        return subprocess.Popen(
            arguments, stderr=subprocess.PIPE, text=True, env=environment | {"XDG_CACHE_HOME": str(cache)}
        )

    def end(process: "subprocess.Popen[str]") -> None:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert errors.startswith("ntm-train: not converged after 8 sequences")
        assert errors.count("\n") == 1

    def entries() -> dict[pathlib.Path, bytes]:
        return {path: path.read_bytes() for path in cache.rglob("*.pb")}

    for process in [begin(0), begin(1)]:
        end(process)
    (path,), (content,) = zip(*entries().items(), strict=True)
    assert path.with_name(f"{path.name}.sha256").is_file()

    path.write_bytes(content[: len(content) // 2])
    end(begin(2))
    assert entries().keys() == {path}
    assert len(entries()[path]) > 0.9 * len(content)

    compiled = path.stat().st_mtime_ns
    end(begin(3))
    assert path.stat().st_mtime_ns == compiled  # it was read

    path.write_bytes(content[: len(content) // 2])
    unseen = "from ntm.training import compilation; compilation._delete_damaged = lambda folder: None"
    end(begin(4, unseen))  # as if it were damaged after the look at it
    assert path not in entries()
