"""Limits of one script's process: what it gets, and which of them it met."""

import errno
import math
import os
import resource
import sys

from gz_provider_python.wire import Limits


def cpu_seconds_for(timeout_seconds: float) -> int:
    """More than a script can use on all cores until its timeout: for the case that nobody is left to tell the time."""
    return math.ceil(timeout_seconds * (os.cpu_count() or 1)) + 1


def apply(limits: Limits) -> None:
    """Bind this process. A limit of the system that is lower stays."""
    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform != "darwin":  # which refuses a limit below what it maps into every process
        _lower(resource.RLIMIT_AS, limits.memory_bytes)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_NOFILE, limits.open_files)
    if limits.cpu_seconds:
        # at the soft limit SIGXCPU, which tells us what happened; who ignores it is killed a second later
        _lower(resource.RLIMIT_CPU, limits.cpu_seconds, hard=limits.cpu_seconds + 1)


def met(error: BaseException) -> str:
    """Which limit an exception speaks of: `memory`, `file_size`, `open_files`, or "" for none."""
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError):
        return {errno.EFBIG: "file_size", errno.EMFILE: "open_files", errno.ENOMEM: "memory"}.get(error.errno or 0, "")
    return ""


def _lower(which: int, value: int, hard: int | None = None) -> None:
    _, ceiling = resource.getrlimit(which)
    top = value if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        value, top = min(value, ceiling), min(top, ceiling)
    resource.setrlimit(which, (value, top))
