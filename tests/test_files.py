import os
import pathlib
import shutil
import stat
import threading

import pytest

from ntm.files import atomic_output


def test_the_file_appears_at_the_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    with atomic_output(path) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["file"]


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
