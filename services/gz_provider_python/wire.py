"""What the provider and the processes it forks say to each other.

Two channels, both unix sockets. The *control* socket joins provider and zygote and carries frames of fixed size, so
that one read is one frame and the descriptors sent beside it stay with it. The *job* socket joins the provider and
one running script and carries one `Job` down and one `Report` up, each a JSON text behind its length.
"""

import struct
from typing import Any, Literal

from msgspec import Raw, Struct

from gleitzeit.model.blobs import MAX_BLOB_BYTES

ORDER = struct.Struct("!cQi")
"""From the provider: kind, id of the run, signal number (0 for SPAWN)."""
SPAWN = b"S"
"""Start a run. Three descriptors travel beside it: job socket, stdout, stderr."""
SIGNAL = b"K"
"""Send a signal to the process group of the run."""
FORGET = b"F"
"""The provider is closing: kill everything and end."""

NEWS = struct.Struct("!cQi")
"""From the zygote: kind, id of the run, number."""
STARTED = b"p"
"""The number is the process id."""
EXITED = b"x"
"""Nothing of the run is alive any more. The number is the exit code, or minus the number of the signal that ended it.
"""
REFUSED = b"r"
"""The fork failed. The number is the errno."""

LENGTH = struct.Struct("!Q")
"""Before a Job and before a Report: how many bytes follow."""

MAX_REPORT_BYTES = MAX_BLOB_BYTES
"""What is large in a result leaves as blobs."""

REPORTED = 99
"""Exit code of a run that has sent its report and leaves no process behind; the zygote then need not search for any."""

Kind = Literal["execute", "function", "eval", "validate", "describe"]


class Limits(Struct, frozen=True):
    """What one script may use; see `setrlimit(2)`. They bind each process that it starts, not the sum of them."""

    memory_bytes: int = 4 << 30
    """of address space"""
    file_bytes: int = 1 << 30
    """of one file"""
    open_files: int = 256
    cpu_seconds: int = 0
    """0: nothing beyond what the timeout allows"""

    def halved(self) -> "Limits":
        return Limits(self.memory_bytes // 2, self.file_bytes // 2, self.open_files // 2, -(-self.cpu_seconds // 2))


class Job(Struct, frozen=True, omit_defaults=True):
    """One piece of work for a process of its own.

    `kind` says which of the members count: `execute` runs `code` (or the text of `path`), `function` calls
    `function(*args, **kwargs)`, `eval` evaluates `code`, `validate` parses, `describe` looks a function up.
    """

    kind: Kind
    limits: Limits
    working_dir: str
    code: str = ""
    path: str = ""
    """A script file; its text is the code."""
    function: str = ""
    functions_dir: str = ""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    bindings: dict[str, Any] = {}
    """Values of the placeholders in `code`."""
    variables: dict[str, Any] = {}
    """Names the script finds set: `context`, `inputs`, …"""
    imports: list[str] = []
    environment: dict[str, str] = {}
    """All of it; nothing is inherited."""
    untrusted: bool = False


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why a job did not come to a result. `traceback` holds the author's own lines only."""

    kind: Literal["exception", "syntax", "exit", "result", "parameter"]
    type: str
    message: str
    traceback: str = ""
    exit_code: int = 1
    line: int = 0
    column: int = 0
    text: str = ""
    """The source line that is wrong, of a `syntax` failure."""
    limit: str = ""
    """Which of the limits was met: `memory`, `file_size`, `open_files`."""


class Report(Struct, frozen=True, omit_defaults=True):
    """What a job came to: a failure, or `result` as JSON. `assigned` is false where a script named no result."""

    result: Raw = Raw(b"null")
    assigned: bool = False
    failure: Failure | None = None
