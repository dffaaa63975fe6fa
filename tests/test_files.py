import errno
import os
import pathlib
import shutil
import stat
import threading
from typing import Any

import pytest

from ntm.files import atomic_output


@pytest.fixture(autouse=True, params=["without a name", "with a temporary name"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs both ways, where the system knows both."""
    if request.param == "with a temporary name":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("every file has a name here")
    return str(request.param)


def test_the_file_appears_at_the_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    with atomic_output(path) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_kill_leaves(tmp_path: pathlib.Path, way: str) -> None:
    with atomic_output(tmp_path / "file") as file:
        file.write(b"content")
        assert len(os.listdir(tmp_path)) == (way == "with a temporary name")


def _refuse(*_: Any) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize(
    ("module", "name", "substitute"), [(os, "open", _refuse), (os.path, "exists", lambda _: False)]
)
def test_the_file_system_knows_no_unnamed_files_or_there_is_no_proc(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, substitute: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, name, substitute)
        with atomic_output(tmp_path / "file") as file:
            file.write(b"content")
            assert len(os.listdir(tmp_path)) == 1
    assert (tmp_path / "file").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["file"]


def test_a_name_as_long_as_names_may_be(tmp_path: pathlib.Path) -> None:
    path = tmp_path / ("\u3042" * 85)  # 255 bytes
    with atomic_output(path) as file:
        file.write(b"content")
    assert path.read_bytes() == b"content"


def test_the_name_of_a_pipe() -> None:
    """As a shell's process substitution gives it: a link to what is not a path."""
    if not os.path.isdir("/dev/fd"):
        pytest.skip("descriptors have no names here")
    read_end, write_end = os.pipe()
    with atomic_output(f"/dev/fd/{write_end}") as file:
        file.write(b"content")
    assert os.read(read_end, 100) == b"content"
    os.close(read_end)
    os.close(write_end)


def test_permissions_are_those_of_any_new_file(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "plain", "wb"), atomic_output(tmp_path / "atomic"):
        pass
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_exception_leaves_what_was_there(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def interrupted() -> None:
        with atomic_output(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_a_replaced_file_keeps_its_permissions(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    with atomic_output(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileExistsError), atomic_output(path, replace=False):
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_free_name_is_taken_in_one_step(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, way: str, replace: bool
) -> None:
    """Without a moment between the question whether it is free and the answer."""
    if way == "with a temporary name":
        pytest.skip("there it is not")
    monkeypatch.delattr(pathlib.Path, "replace")
    with atomic_output(tmp_path / "file", replace=replace) as file:
        file.write(b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.write_bytes(b"before")
    link.symlink_to(target)
    with atomic_output(link) as file:
        file.write(b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"


def test_the_folder_goes_away(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(FileNotFoundError), atomic_output(folder / "file"):
        shutil.rmtree(folder)


def test_a_device_stays_a_device() -> None:
    with atomic_output("/dev/null") as file:
        file.write(b"content")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_fifo_is_written_as_it_is(tmp_path: pathlib.Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    with atomic_output(fifo) as file:
        file.write(b"content")
    reader.join(timeout=10)
    assert read == [b"content"]
    assert fifo.is_fifo()
