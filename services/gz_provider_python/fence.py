"""What code of unknown origin may not do.

This is a fence, not a wall: an audit hook stops what goes through Python's own doors (sockets, other programs, files to
be written), and whoever knows CPython well gets around it. It keeps an honest mistake of a language model from reaching
the network or the disk. A wall is another `Isolation` (see `isolation.py`).

Files may be read, wherever the user who runs the provider may read them: Python could not import otherwise.
"""

import os
import sys

_REFUSED_PREFIXES = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system",
    "os.kill", "os.pidfd", "pty.", "ctypes.", "cpython.PyInterpreterState_New", "signal.pthread_kill", "syslog.",
    "resource.setrlimit", "resource.prlimit", "_posixsubprocess.", "urllib.", "ftplib.", "imaplib.", "nntplib.",
    "poplib.", "smtplib.", "telnetlib.", "webbrowser.", "sqlite3.enable_load_extension", "sqlite3.load_extension",
)  # fmt: skip
_REFUSED_MODULES = frozenset({"ctypes", "_ctypes", "_posixsubprocess", "_xxsubinterpreters", "_interpreters"})
# Events that change what is on the disk, and which of their arguments are paths.
_WRITES = {
    "os.chmod": (0,), "os.chown": (0,), "os.link": (0, 1), "os.mkdir": (0,), "os.remove": (0,), "os.rename": (0, 1),
    "os.rmdir": (0,), "os.symlink": (1,), "os.truncate": (0,), "os.utime": (0,), "os.setxattr": (0,),
    "os.removexattr": (0,), "os.chflags": (0,), "shutil.rmtree": (0,), "shutil.move": (0, 1),
    "shutil.chown": (0,), "sqlite3.connect": (0,), "tempfile.mkstemp": (0,), "tempfile.mkdtemp": (0,),
}  # fmt: skip
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def put_up(folder: str) -> None:
    """Fence this process in for good. It may write inside of `folder` only; what it may not is a PermissionError."""
    root = os.path.realpath(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "import" and arguments[0] in _REFUSED_MODULES:
            raise PermissionError(f"untrusted code may not import {arguments[0]}")
        if event == "open":
            _check_open(root, *arguments[:3])
        elif event in _WRITES:
            for index in _WRITES[event]:
                _check_path(root, arguments[index], event)
        elif event.startswith(_REFUSED_PREFIXES):
            raise PermissionError(f"untrusted code may not use {event}")

    for name in _REFUSED_MODULES:
        sys.modules.pop(name, None)  # what is loaded already would be imported without a word
    sys.addaudithook(hook)


def _check_open(root: str, path: object, mode: object, flags: object) -> None:
    if isinstance(path, int):
        return  # an open descriptor: it was checked when it was opened
    writes = isinstance(flags, int) and flags & _WRITE_FLAGS
    if writes or (isinstance(mode, str) and set(mode) & set("wax+")):
        _check_path(root, path, "open for writing")


def _check_path(root: str, path: object, action: str) -> None:
    if isinstance(path, int):
        return
    name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if name == os.devnull:
        return
    real = os.path.realpath(name)
    if not name or (real != root and not real.startswith(root + os.sep)):
        raise PermissionError(f"untrusted code may write in its own folder only ({action}: {name or path!r})")
