"""Cores, threads and memory of this machine and of a process."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

CGROUP, OWN_CGROUP = "/sys/fs/cgroup", "/proc/self/cgroup"  # version 2


def usable_cores() -> int:
    """Cores that this process may use, by its affinity and the quota of its container."""
    cores = float(len(os.sched_getaffinity(0)))
    quota, period = _words("/sys/fs/cgroup/cpu.max", 2)
    if quota.isdigit() and period.isdigit():
        cores = min(cores, int(quota) / int(period))
    return max(1, int(cores))


def one_thread() -> AbstractContextManager:
    """Limits linear algebra to one thread: splitting sums over threads changes their last bits."""
    import scipy.linalg  # noqa: F401  Only loaded libraries are limited.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")


def usable_memory() -> int:
    """Free bytes of the machine, and of its container or the job of a batch system (cgroup v2).

    Their usage includes cached files that the kernel can drop; they count as free.
    """
    (name,) = _words(OWN_CGROUP, 1)  # such as 0::/slurm/job_1; '/' in a container
    group, free = Path(CGROUP) / name.removeprefix("0::").strip("/"), _free_memory()
    for place in (group, *group.parents):
        (limit,), (used,) = (_words(f"{place}/memory.{what}", 1) for what in ("max", "current"))
        if limit.isdigit() and used.isdigit():
            free = min(free, int(limit) - int(used) + _inactive_files(place))
    return free


def resident_memory(pid: int) -> int:
    """Resident bytes of a process; 0 if there is no such process."""
    pages = _words(f"/proc/{pid}/statm", 7)[1]
    return int(pages or 0) * os.sysconf("SC_PAGE_SIZE")


def _free_memory() -> int:
    """Available bytes of the machine's memory."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)


def _inactive_files(group: Path) -> int:
    """Bytes of a control group's inactive cached files."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _words(path: str, count: int) -> list[str]:
    """The `count` words in a kernel file; as many empty ones if there is no such file."""
    try:
        words = Path(path).read_text().split()
    except OSError:
        words = []
    return words if len(words) == count else [""] * count
