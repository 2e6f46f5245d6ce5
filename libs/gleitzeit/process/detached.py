"""To start an embedded stack that outlives us, and to learn its address. Light: for the CLI, before its heavy imports.

The pipe that a detached stack reports on carries one JSON line: an Address, or `{"error": "why not"}`.
"""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from gleitzeit.errors import ConfigurationError, GleitzeitError
from gleitzeit.process.private import concealed
from gleitzeit.process.state import Address


class DetachedFailed(GleitzeitError):
    """The stack could not start; the message says why."""

    name = "STACK_FAILED"


class _Failure(Struct):
    """`usage`: what was asked for can never work."""

    error: str
    usage: bool = False


class Detached:
    """A stack on its way. `address` must be called, once, or `abandon`."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int, log: Path) -> None:
        self.pid = process.pid
        self.descriptor = descriptor  # readable when `address` will not block for long
        self._process = process
        self._log = log

    def address(self, timeout_seconds: float) -> Address:
        """Wait for it. It is that of another stack if one was there already.

        Raises ConfigurationError for what can never work, else DetachedFailed, and TimeoutError.
        """
        line = b""
        try:
            while not line.endswith(b"\n"):
                if not select.select([self.descriptor], [], [], timeout_seconds)[0]:
                    raise TimeoutError(f"the stack was not ready in {timeout_seconds:g} s; its log is {self._log}")
                chunk = os.read(self.descriptor, 65536)
                if not chunk:
                    raise DetachedFailed(f"the stack ended before it was ready; its log is {self._log}")
                line += chunk
        finally:
            self.abandon()
        report = msgspec.json.decode(line)
        if "error" in report:
            failure = msgspec.convert(report, _Failure)
            raise (ConfigurationError if failure.usage else DetachedFailed)(failure.error)
        return msgspec.convert(report, Address)

    def abandon(self) -> None:
        """Let it go on without us. Its end is the business of init, or of nobody while we live."""
        os.close(self.descriptor)
        self._process.returncode = 0  # or Popen would warn that it still runs, which is what it is for


def start_detached(
    state: Path, *, providers: Sequence[str], environ: Mapping[str, str], options: Sequence[str] = ()
) -> Detached:
    """Start `python -m gleitzeit.stack` for this state folder, in a session of its own; returns at once.

    `options` are further ones of its command line, such as `["--nats", URL]`. It works in our directory and logs to
    state/logs.
    """
    log = state / "logs" / "stack.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "gleitzeit.stack", "--embedded", "--state", str(state)]
    command += ["--provider", ",".join(providers), "--ready-fd", str(write_end), *options]
    command, hidden = concealed(command)
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environ, **hidden},
                start_new_session=True,
                pass_fds=(write_end,),
            )
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return Detached(process, read_end, log)


def report_address(descriptor: int, address: Address) -> None:
    """The detached stack's side of the pipe, when it is ready."""
    _report(descriptor, address)


def report_failure(descriptor: int, message: str, *, usage: bool) -> None:
    """The detached stack's side of the pipe, when it cannot be; with `usage`, never with these arguments."""
    _report(descriptor, _Failure(message, usage))


def _report(descriptor: int, what: Struct) -> None:
    with contextlib.suppress(OSError):  # whoever asked has gone
        os.write(descriptor, msgspec.json.encode(what) + b"\n")
        os.close(descriptor)
