"""The cores that a process may use, in simulated containers."""

import os
import pathlib
import subprocess
import sys

import pytest

from ntm.runtime.cores import available_cores

# As in a container of Docker or of Kubernetes, and on a machine with systemd.
VERSION_2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
VERSION_1 = "31 23 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
OTHERS = (
    "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n32 23 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"
    "\n40 22 0:40 / /nowhere rw - tmpfs  rw"
)
HYBRID = "33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def simulate(system: pathlib.Path, groups: str, mounts: str, files: dict[str, str]) -> int:
    """The cores on a system with these files below ``/sys/fs/cgroup``."""
    (system / "proc/self").mkdir(parents=True)
    (system / "proc/self/cgroup").write_text(groups)
    (system / "proc/self/mountinfo").write_text(f"{OTHERS}\n{mounts}\n")
    for name, content in files.items():
        path = system / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return available_cores(system)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 8),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("150000 100000\n", 2),
        ("300000 100000\n", 3),
        ("3200000 100000\n", 8),
        ("0 100000\n", 8),
        ("", 8),
        ("what\n", 8),
    ],
)
def test_version_2(tmp_path: pathlib.Path, quota: str, cores: int) -> None:
    assert simulate(tmp_path, "0::/\n", VERSION_2.format(root="/"), {"cpu.max": quota}) == cores


def test_version_2_in_a_group_of_groups(tmp_path: pathlib.Path) -> None:
    files = {"cpu.max": "max 100000\n", "user/cpu.max": "200000 100000\n", "user/job/cpu.max": "400000 100000\n"}
    assert simulate(tmp_path, "0::/user/job/step\n", VERSION_2.format(root="/"), files) == 2


@pytest.mark.parametrize("path", ["/docker/abc", "/elsewhere", "/"])
def test_version_2_where_a_part_of_the_tree_is_mounted(tmp_path: pathlib.Path, path: str) -> None:
    mounts = VERSION_2.format(root="/docker/abc")
    assert simulate(tmp_path, f"0::{path}\n", mounts, {"cpu.max": "200000 100000\n"}) == 2


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("100000", 1), ("250000", 3)])
@pytest.mark.parametrize(("path", "root"), [("/", "/"), ("/docker/abc", "/docker/abc"), ("/docker/abc", "/")])
def test_version_1(tmp_path: pathlib.Path, quota: str, cores: int, path: str, root: str) -> None:
    folder = "cpu,cpuacct" + ("/docker/abc" if path != root else "")
    files = {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}
    groups = f"9:cpuset:/other\n4:cpu,cpuacct:{path}\n0::/init.scope\n"
    assert simulate(tmp_path, groups, f"{VERSION_1.format(root=root)}\n{HYBRID}", files) == cores


def test_the_affinity_counts_too(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert simulate(tmp_path, "0::/\n", VERSION_2.format(root="/"), {"cpu.max": "400000 100000\n"}) == 1


def test_where_there_is_neither(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert available_cores(tmp_path) == os.cpu_count()


def test_this_system() -> None:
    code = "from ntm.runtime.cores import available_cores; print(available_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert 1 <= int(done.stdout) <= (os.cpu_count() or 1)
