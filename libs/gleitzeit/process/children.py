"""Child processes: each leads a session of its own, says when it is ready, ends with us, and takes its group along."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from gleitzeit.errors import GleitzeitError, InvalidParams
from gleitzeit.process.lifetime import PARENT_FD
from gleitzeit.process.pipes import Pipes
from gleitzeit.process.private import concealed
from gleitzeit.process.ready import READY_FD, NotReady, Ready

LOG_LIMIT_BYTES = 5 * 1024 * 1024  # a log beyond this is set aside as NAME.1 at the next start
ORDINARY_NAMES = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_*", "TZ", "TMPDIR")
LAST_LINES = 6
_PR_SET_PDEATHSIG = 1


class ChildExited(GleitzeitError):
    """A child ended before it was ready. `exit_code` is negative for a signal; the message says why, as far as the
    child said it: by its `reason`, or with the last words of its log."""

    name = "CHILD_EXITED"

    def __init__(self, child: str, exit_code: int, last_words: str, reason: str = "") -> None:
        words = f":\n{last_words}" if last_words else ""
        end = f"{child} {describe_exit(exit_code)} before it was ready{words}"
        super().__init__(f"{child} cannot start: {reason}" if reason else end)
        self.exit_code = exit_code


class Child:
    """One running process. Made by `start_child`; whoever made it must see it to its end by `wait` or `stop`.

    `ready` is the url that it announced, or ChildExited. It stays open for a child that never announces anything, until
    somebody else sets it.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: "_Log") -> None:
        self.name = name
        self.pid = process.pid
        self.reason = ""  # why it will not be ready, if it said so
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(_retrieve)
        self._process = process
        self._log = log
        self._end = asyncio.create_task(self._see_to_end(), name=f"end of {name}")

    @property
    def running(self) -> bool:
        return not self._end.done()

    async def wait(self) -> int:
        """The exit code, negative for a signal. What the child left running in its process group is killed by then."""
        return await asyncio.shield(self._end)

    def terminate(self) -> None:
        """Ask the child, and it alone, to drain."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole process group now."""
        if self.running:
            _kill_group(self.pid)

    async def stop(self, grace_seconds: float) -> int:
        """SIGTERM, and after the grace SIGKILL to the whole group. Returns the exit code."""
        self.terminate()
        try:
            async with asyncio.timeout(grace_seconds):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    def last_words(self) -> str:
        """Why it was not ready, or the last lines in its log file since its start; empty without a log file."""
        return self.reason or self._log.tail()

    async def _see_to_end(self) -> int:
        code = await self._process.wait()
        _kill_group(self.pid)
        if not self.ready.done():
            self.ready.set_exception(ChildExited(self.name, code, self.last_words(), self.reason))
        return code


async def start_child(
    name: str,
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    log: Path | None = None,
    parent_fd: int | None = None,
    announces: bool = True,
    dies_with_us: bool = False,
    pipes: Pipes | None = None,
    cwd: Path | None = None,
) -> Child:
    """Start `command` as the leader of a session of its own, with `environ` and nothing else in its environment.

    Its stdout and stderr go to the end of `log`, or both to our stderr. With `announces` it finds a pipe for its
    address in GLEITZEIT_READY_FD (see ready.py). `parent_fd` is the read end of a pipe whose other end we hold as
    long as we live: by it the child can notice our end (see lifetime.py). `dies_with_us` is for programs that know
    nothing of this: Linux terminates them with us. With `pipes` its three streams are those, instead of the log. Raises
    OSError if the command cannot be started.
    """
    command, hidden = concealed(command)
    environment = {key: value for key, value in environ.items() if key not in (READY_FD, PARENT_FD)} | hidden
    inherited = []
    if parent_fd is not None:
        environment[PARENT_FD] = str(parent_fd)
        inherited.append(parent_fd)
    read_end, write_end = os.pipe() if announces else (-1, -1)
    if announces:
        environment[READY_FD] = str(write_end)
        inherited.append(write_end)
    output = _Log(log if pipes is None else Path(os.devnull))
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL if pipes is None else pipes.theirs[0],
            stdout=output.descriptor if pipes is None else pipes.theirs[1],
            stderr=asyncio.subprocess.STDOUT if pipes is None else pipes.theirs[2],
            cwd=cwd,
            env=environment,
            start_new_session=True,
            pass_fds=inherited,
            preexec_fn=_death_signal() if dies_with_us else None,
        )
    except BaseException:
        if announces:
            os.close(read_end)
        raise
    finally:
        output.close()
        if announces:
            os.close(write_end)
    child = Child(name, process, output)
    if announces:
        _read_ready(child, read_end)
    return child


def filtered_environment(
    environ: Mapping[str, str], *, keep: Iterable[str] = (), add: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a stranger's program may see: ORDINARY_NAMES, what `keep` names (patterns like `LC_*`), and `add`."""
    patterns = (*ORDINARY_NAMES, *keep)
    kept = {k: v for k, v in environ.items() if any(fnmatchcase(k, pattern) for pattern in patterns)}
    return {**kept, **(add or {})}


def variables(given: Mapping[str, Any], param: str) -> dict[str, str]:
    """The environment variables that a task asks for in `param`, as text. Raises InvalidParams for what can be none."""
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    for name, text in texts.items():
        if not name or "=" in name or "\0" in f"{name}{text}":
            raise InvalidParams(f"{param}: {name!r} cannot be a variable with this value")
    return texts


def describe_exit(code: int) -> str:
    """In words: `exited with status 3`, `was killed by SIGKILL`."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class _Log:
    """Where a child writes: the end of a file, or our stderr."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._start = 0
        self.descriptor = sys.stderr.fileno() if path is None else self._open(path)

    def _open(self, path: Path) -> int:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_LIMIT_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._start = os.fstat(descriptor).st_size
        return descriptor

    def close(self) -> None:
        if self._path is not None:
            os.close(self.descriptor)

    def tail(self) -> str:
        if self._path is None:
            return ""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._start, size - 4096))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])


def _read_ready(child: Child, descriptor: int) -> None:
    """Feed the pipe into `child.ready`. A line that is not ours is ignored: the child is then never ready."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    os.set_blocking(descriptor, False)

    def finish(_: object = None) -> None:
        nonlocal descriptor
        if descriptor >= 0:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            descriptor = -1

    def read() -> None:
        chunk = os.read(descriptor, 4096)
        received.extend(chunk)
        if b"\n" in chunk and not child.ready.done():
            _take(child, bytes(received.split(b"\n")[0]))
        if b"\n" in chunk or not chunk:
            finish()

    loop.add_reader(descriptor, read)
    child.ready.add_done_callback(finish)


def _take(child: Child, line: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        child.ready.set_result(msgspec.json.decode(line, type=Ready).url)
        return
    with contextlib.suppress(msgspec.DecodeError):
        child.reason = msgspec.json.decode(line, type=NotReady).error


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Nobody has to wait for a future of ours: its exception counts as seen."""
    if not future.cancelled():
        future.exception()


def _kill_group(pid: int) -> None:
    # PermissionError is what macOS says of a group in which only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _death_signal() -> Callable[[], None] | None:
    """To be run in the child between fork and exec: have the kernel terminate it when we end, however we end."""
    if sys.platform != "linux":
        return None
    import ctypes  # deferred: 10 ms that only the owner of a nats-server pays

    prctl = ctypes.CDLL(None).prctl
    us = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != us:  # we ended before the kernel knew
            os._exit(1)

    return arrange
