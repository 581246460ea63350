"""Cores, threads and memory: of this machine, and of a process."""

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

LINUX = sys.platform == "linux"  # tells all of this in /proc; elsewhere psutil knows some
CGROUP = "/sys/fs/cgroup"


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its container."""
    cores = float(len(os.sched_getaffinity(0)) if LINUX else os.cpu_count() or 1)
    quota, period = _words("/sys/fs/cgroup/cpu.max", 2)
    if quota.isdigit() and period.isdigit():
        cores = min(cores, int(quota) / int(period))
    return max(1, int(cores))


def one_thread() -> AbstractContextManager:
    """Linear algebra by one thread: how sums are split among threads changes their last bits."""
    import scipy.linalg  # noqa: F401  What is not loaded yet would not be limited.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")


def usable_memory() -> int:
    """Bytes that are free for new work: of the machine, and of its container.

    What a container uses counts the files that the kernel caches and gives up at need: not here.
    """
    (limit,), (used,) = (_words(f"{CGROUP}/memory.{what}", 1) for what in ("max", "current"))
    free = _free_memory()
    if not (limit.isdigit() and used.isdigit()):
        return free
    return min(free, int(limit) - int(used) + _inactive_files())


def resident_memory(pid: int) -> int:
    """Bytes of a process in memory; 0 if there is no such process."""
    if LINUX:
        pages = _words(f"/proc/{pid}/statm", 7)[1]
        return int(pages or 0) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _free_memory() -> int:
    """Bytes of the machine's memory that new work can have."""
    if LINUX:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    import psutil

    return psutil.virtual_memory().available


def _inactive_files() -> int:
    """Bytes of cached files in the container that nobody has used of late."""
    try:
        lines = Path(f"{CGROUP}/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _words(path: str, count: int) -> list[str]:
    """The words in a file of the kernel; as many empty ones if there is no such file."""
    try:
        words = Path(path).read_text().split()
    except OSError:
        words = []
    return words if len(words) == count else [""] * count
