"""The cores that this process may use."""

import os
import pathlib


def available_cores(system: pathlib.Path = pathlib.Path("/")) -> int:
    """The cores that this process may use, by its affinity and by the quota of its container, rounded up.

    ``os.process_cpu_count`` of Python 3.13 knows the affinity alone.

    Args:
        system: the folder with ``proc/self``; tests use another one.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *_quotas(system)]))


def _quotas(system: pathlib.Path) -> list[int]:
    """The quotas, in cores, of the control groups of this process and of their parents.

    See cgroups(7). Version 1 has a group for each controller, and the group of ``cpu`` has the quota; version 2 has one
    group.
    """
    found = []
    groups: dict[str, str] = {}  # the path of the group by controller, which is "" in version 2
    for line in _lines(system / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), path)
    for line in _lines(system / "proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        root, mount_point = mount.split()[3:5]
        file_system, *_, options = kind.split()  # the field between them, the source, may be empty
        if file_system == "cgroup2":
            controller, read = "", _quota
        elif file_system == "cgroup" and "cpu" in options.split(","):
            controller, read = "cpu", _quota_of_version_1
        else:
            continue
        group_path = pathlib.PurePosixPath(groups.get(controller, root))
        # A container sees a part of the tree, but the path may be a path of the whole tree.
        below = group_path.relative_to(root) if group_path.is_relative_to(root) else pathlib.PurePosixPath()
        top = system / mount_point.lstrip("/")
        found += [read(group) for group in (top / below, *(top / parent for parent in below.parents))]
    return [quota for quota in found if quota is not None]


def _quota(group: pathlib.Path) -> int | None:
    return _cores("".join(_lines(group / "cpu.max")).split())


def _quota_of_version_1(group: pathlib.Path) -> int | None:
    return _cores([line for name in ("quota", "period") for line in _lines(group / f"cpu.cfs_{name}_us")])


def _cores(quota_and_period: list[str]) -> int | None:
    """A quota in microseconds per period, and the period, as cores; None without a limit."""
    if len(quota_and_period) != 2 or not all(number.isdecimal() for number in quota_and_period):
        return None  # the quota is "max" or -1
    quota, period = map(int, quota_and_period)
    return -(-quota // period) if quota and period else None


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # the system has no such file
        return []
