"""The port behind which a job runs apart from the provider, and what comes back.

`ProcessIsolation` (in `processes.py`) gives each job a process with limits. Stronger walls (namespaces, a container, a
virtual machine) are further implementations of the same three methods.
"""

from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

from gleitzeit.process.output import Output
from gz_provider_python.wire import Job, Report

OnOutput = Callable[[Literal["stdout", "stderr"], str], None]
"""Called in the event loop with text as the script prints it; must not block or raise."""


class Ended(Struct, frozen=True):
    """A job whose process is gone, with everything that it started.

    `report` is what the job said at its end; None if it could not, and then `exit_code` says why: what the process
    left, negative for the number of the signal that killed it.
    """

    report: Report | None
    exit_code: int
    stdout: Output
    stderr: Output
    seconds: float
    timed_out: bool = False


class Isolation(Protocol):
    """Runs jobs side by side; how many at once is the caller's business."""

    async def start(self) -> None:
        """Get ready, so that the first job does not wait for it."""

    async def run(self, job: Job, *, timeout_seconds: float, on_output: OnOutput) -> Ended:
        """Run `job` to its end. At the timeout, and when this coroutine is cancelled, everything that the job started
        is killed, and is dead when this returns or raises.

        Raises a retryable TaskError if the job was lost, or could not be started, for a reason that is not its own.
        """
        ...

    async def close(self) -> None:
        """Kill what still runs, and end."""
