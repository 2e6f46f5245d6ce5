"""How a command ends: its exit code, and the sentence for a person when something went wrong."""

import errno
import os
from typing import NamedTuple

from gleitzeit.errors import (
    ConfigurationError,
    ConnectionLost,
    DocumentError,
    GleitzeitError,
    InvalidState,
    JournalCorrupt,
    JournalError,
    MethodNotFound,
    ProtocolError,
    ProtocolNotFound,
    ProviderNotFound,
    ScheduleNotFound,
    TaskNotFound,
    TemplateNotFound,
    Unauthorized,
    WorkflowNotFound,
)
from gleitzeit.process.absent import NoModel, NoProvider, NotAllowed, NoTool, NotRunning

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_AUTHORISED = 4
UNREACHABLE = 5
TIMED_OUT = 6
CANCELLED = 7
INTERRUPTED = 130
BROKEN_PIPE = 141
"""Who read our output has gone (`gz list | head -1`): what a shell says of programs that SIGPIPE ends."""

AMBIGUOUS_ID = "AMBIGUOUS_ID"
NOT_STARTED = ("CHILD_EXITED", "STACK_FAILED")
"""A stack could not start; by name, because their classes bring asyncio along."""
DEBUG = "GLEITZEIT_DEBUG"
OTHER_STATE = "what runs here is kept in a folder: --state DIR, or GLEITZEIT_STATE, names one that can be written"
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def show_tracebacks() -> None:
    """For this process, and for what it starts."""
    os.environ[DEBUG] = "1"


class UsageError(GleitzeitError):
    """What was typed cannot be meant."""

    name = "USAGE"


class Complaint(NamedTuple):
    """For stderr: what happened, and what to do about it ("" if nobody knows)."""

    code: int
    sentence: str
    advice: str = ""


def of_status(status: str) -> int:
    """The exit code for the final status of a workflow that a command waited for."""
    return {"completed": OK, "cancelled": CANCELLED}.get(status, FAILED)


def complaint(error: Exception) -> Complaint:
    """For any error that a command may end with."""
    if isinstance(error, GleitzeitError):
        return Complaint(_code(error), error.message, _advice(error))
    if isinstance(error, TimeoutError):
        return Complaint(TIMED_OUT, str(error) or "it took too long")
    if isinstance(error, OSError) and error.filename:
        of_state = error.errno in _NOT_WRITABLE and f"{os.sep}.gleitzeit" in str(error.filename)
        return Complaint(USAGE, of_file(error), OTHER_STATE if of_state else "")
    if isinstance(error, OSError):
        return Complaint(FAILED, error.strerror or str(error))
    return Complaint(FAILED, f"{type(error).__name__}: {error}", "this is a bug; --debug shows where")


def of_file(error: OSError) -> str:
    """What is wrong with a file or folder that was named."""
    name = str(error.filename)
    shown = name if name == name.strip() else repr(name)  # else nobody sees the space
    return f"{shown}: {error.strerror}"


def _code(error: GleitzeitError) -> int:
    if error.name == AMBIGUOUS_ID or error.name in NOT_STARTED:
        return USAGE
    match error:
        case WorkflowNotFound() | TaskNotFound() | ProtocolNotFound() | ProviderNotFound() | MethodNotFound():
            return NOT_FOUND
        case TemplateNotFound() | ScheduleNotFound():
            return NOT_FOUND
        case JournalCorrupt():
            return FAILED
        case JournalError():  # in use, full, out of reach: not possible now
            return USAGE
        case DocumentError() | ConfigurationError() | ProtocolError() | InvalidState() | UsageError():
            return USAGE
        case Unauthorized():
            return NOT_AUTHORISED
        case ConnectionLost():
            return UNREACHABLE
        case _:
            return FAILED


def _advice(error: GleitzeitError) -> str:
    data = error.data or {}
    if isinstance(error, NotRunning):
        return "start one with `gz up`, or name one with --url ws://HOST:PORT/"
    if error.name == AMBIGUOUS_ID:
        newest = f", or {data['newest']} for the newest" if "newest" in data else ""
        return f"give one of these ids{newest}:\n" + "\n".join(f"  {line}" for line in data.get("candidates", ()))
    match error:
        case NoModel():
            return error.ways
        case NotAllowed():
            return "if you trust it: --allow-shell, or `allow_shell: true` in ~/.gleitzeit/config.yaml"
        case NoProvider():
            names = ",".join(("echo", "python", *error.names))
            return f"`gz down` ends that stack, and `gz up --provider {names}` starts one that has them"
        case NoTool():
            return "`gz mcp list` shows the servers, `gz mcp tools` their tools, `gz mcp add` adds one"
        case WorkflowNotFound():
            return "`gz batch list` shows the batches" if "batch" in data else "`gz list` shows the workflows"
        case JournalCorrupt():
            return "`gz journal check` says what is damaged"
        case TemplateNotFound():
            return "`gz template list` shows the templates"
        case ScheduleNotFound():
            return "`gz schedule list` shows the schedules"
        case ConnectionLost():
            return "is the coordinator running? `gz up` starts one here"
        case Unauthorized():
            return "set GLEITZEIT_TOKEN, or `token:` in ~/.gleitzeit/config.yaml"
        case _:
            return ""
