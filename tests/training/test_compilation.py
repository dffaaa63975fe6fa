import os
import pathlib
import shutil
from types import SimpleNamespace

import pytest

from ntm.training import compilation

_LEVEL = "--xla_backend_optimization_level=1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """An environment without a setting of XLA, that is as it was after the test."""
    for name in ("XLA_FLAGS", "TF_XLA_FLAGS"):
        monkeypatch.setenv(name, "")  # so that it is remembered
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_what_is_compiled_is_kept_in_the_cache_of_the_user(tmp_path: pathlib.Path) -> None:
    compilation.set_up()
    folder = tmp_path / "neural-turing-machine" / "xla"
    assert folder.is_dir()
    assert os.environ["TF_XLA_FLAGS"] == f"--tf_xla_persistent_cache_directory={folder}"
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


def test_without_room_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    compilation.set_up()
    assert "TF_XLA_FLAGS" not in os.environ


def test_where_no_folder_can_be_made_there_is_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compilation.set_up()
    assert "TF_XLA_FLAGS" not in os.environ
