"""Which system calls are hit one by one, and by what; and those that need no such test."""

import os

ALL = "CRASH_CALLS_ALL" in os.environ
"""Also the calls that only read, and combinations that neither disk nor network brings about."""
FAULTS = {"KILL": "signal=KILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}

JOURNAL = ("pwrite64", "fdatasync", "fcntl", "newfstatat")
OTHERS = (
    *("write", "sendto", "recvfrom", "connect", "read", "close"),
    *("poll", "ioctl", "socket", "setsockopt", "getsockopt"),
)
SPILL = ("unlink", "openat", "write", "fsync", "close")
"""While an outcome is kept beside the journal."""
START = ("openat", "pwrite64", "fdatasync", "fsync", "ftruncate", "fallocate", "unlink", "mmap")
START_AND_READS = (
    *START,
    *("mkdir", "flock", "pread64", "utimensat", "close", "read", "fcntl", "newfstatat", "fchown"),
)
"""On the files of the journal alone."""
WITHOUT_EFFECT = {
    *("futex", "getpid", "gettid", "getrandom", "rt_sigprocmask", "sched_yield"),
    # They wait.
    *("epoll_wait", "epoll_ctl", "pselect6", "restart_syscall", "clock_nanosleep"),
    # Threads and their memory come and go.
    *("clone", "clone3", "rseq", "set_robust_list", "exit"),
    *("brk", "mmap", "munmap", "mprotect", "madvise"),
}

_NEEDS_SPACE = {"openat", "pwrite64", "write", "fdatasync", "fsync", "ftruncate", "fallocate"}
# A lock is refused by another process, not by a disk: SQLite asks again until it gets it.
_LOCKS = {"fcntl"}


def open_to(fault, calls):
    """Those of the calls that this fault can hit."""
    if ALL or fault == "KILL":
        return calls
    if fault == "EIO":
        return tuple(call for call in calls if call not in _LOCKS)
    return tuple(call for call in calls if call in _NEEDS_SPACE)


def in_words(hits):
    """A count of calls by name, as one figure."""
    each = ", ".join(f"{count} {call}" for call, count in hits.items() if count)
    return f"each of {hits.total()} calls, no fault ({each})"
