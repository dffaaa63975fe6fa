"""The cores that this process may use."""

import os
import pathlib


def available_cores(system: pathlib.Path = pathlib.Path("/")) -> int:
    """The cores that this process may use: what its affinity leaves it, and the quota of its container, rounded up.

    Python 3.13 offers ``os.process_cpu_count``, which knows of the affinity alone.

    Args:
        system: the folder that has ``proc/self`` in it; another one for tests.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *_quotas(system)]))


def _quotas(system: pathlib.Path) -> list[int]:
    """The quotas of the control groups that this process is in, in cores: of each group and of those above it.

    See cgroups(7). Version 1 has a group for each controller, of which ``cpu`` counts, version 2 has one for all.
    """
    found = []
    groups: dict[str, str] = {}  # the path of the group, by controller; that of version 2 has no name
    for line in _lines(system / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), path)
    for line in _lines(system / "proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        root, mount_point = mount.split()[3:5]
        file_system, *_, options = kind.split()  # between them the source, which may be empty
        if file_system == "cgroup2":
            controller, read = "", _quota
        elif file_system == "cgroup" and "cpu" in options.split(","):
            controller, read = "cpu", _quota_of_version_1
        else:
            continue
        group_path = pathlib.PurePosixPath(groups.get(controller, root))
        # A container sees a part of the tree; the path may be that of the whole.
        below = group_path.relative_to(root) if group_path.is_relative_to(root) else pathlib.PurePosixPath()
        top = system / mount_point.lstrip("/")
        found += [read(group) for group in (top / below, *(top / parent for parent in below.parents))]
    return [quota for quota in found if quota is not None]


def _quota(group: pathlib.Path) -> int | None:
    return _cores("".join(_lines(group / "cpu.max")).split())


def _quota_of_version_1(group: pathlib.Path) -> int | None:
    return _cores([line for name in ("quota", "period") for line in _lines(group / f"cpu.cfs_{name}_us")])


def _cores(quota_and_period: list[str]) -> int | None:
    """The microseconds of computing in a period of so many, as cores; None where there is no limit."""
    if len(quota_and_period) != 2 or not all(number.isdecimal() for number in quota_and_period):
        return None  # "max", or -1
    quota, period = map(int, quota_and_period)
    return -(-quota // period) if quota and period else None


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no such system
        return []
