"""Free memory: of the machine, and of the container or cluster job.

free_memory() // 2**30          # gigabytes
"""

import os
from collections.abc import Iterator
from pathlib import Path

_PROCESS = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # older Linux
)


def free_memory() -> int:
    """Free memory in bytes; two gigabytes if the system does not say.

    In a container or cluster job its own limit counts: a process that exceeds it is killed without
    a message, however much memory the machine has.
    """
    return max(0, min([_free_on_machine(), *_free_in_groups()]))


def _free_on_machine() -> int:
    try:  # free memory, and the file cache, which the system frees on demand
        for line in (_PROCESS / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2 << 30


def _free_in_groups() -> Iterator[int]:
    """Free memory in each control group that limits this process."""
    for folder in _group_folders():
        for limit, used, cached in _LIMITS:
            try:
                room = int((folder / limit).read_text()) - int((folder / used).read_text())
            except (OSError, ValueError):  # another version of groups, or no limit
                continue
            yield room + _statistic(folder / "memory.stat", cached)


def _group_folders() -> Iterator[Path]:
    try:
        lines = (_PROCESS / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top = _GROUPS / "memory" if kinds else _GROUPS
        inside = Path(name.lstrip("/"))
        if ".." in inside.parts:  # a container may list groups outside itself
            inside = Path()
        yield from dict.fromkeys((top / inside, *(top / above for above in inside.parents)))


def _statistic(file: Path, name: str) -> int:
    try:
        rows = dict(line.split() for line in file.read_text().splitlines())
        return int(rows.get(name, 0))
    except (OSError, ValueError):
        return 0
