"""The exceptions that travel, each with its JSON-RPC code. Those that never leave their process, and the names of one
protocol's own failures, stand where they are raised.

    GleitzeitError                    -32603  anything of ours
    ├── ProtocolError                         a message that is not JSON-RPC 2.0, or not for us
    │   ├── ParseError                -32700
    │   ├── InvalidRequest            -32600
    │   ├── MethodNotFound            -32601
    │   └── InvalidParams             -32602
    ├── DocumentError                 -28001  a definition with problems; `problems` lists all of them
    │   └── CircularDependency        -28006  tasks that wait for each other, and nothing else is wrong
    ├── WorkflowNotFound              -28002
    ├── InvalidState                  -28007  e.g. to cancel a workflow that has ended
    ├── TemplateNotFound              -28011
    ├── ScheduleNotFound              -28012
    ├── TaskError                     -29002  a task's method failed; says whether to try again
    │   ├── TaskValidation            -29001  a validation task found that something does not hold
    │   ├── TaskTimeout               -29003
    │   ├── TaskCancelled             -29004
    │   ├── ParameterError            -29006  a reference that cannot be resolved
    │   ├── ResultInvalid             -29007
    │   ├── BudgetExceeded            -29010  what the task or its workflow may spend is spent
    │   └── LoopExhausted             -29011  the last round of an `until`, and its condition does not hold
    ├── TaskNotFound                  -29009
    ├── ProtocolNotFound              -30001
    ├── ProviderNotFound              -30002
    ├── ProviderNotAvailable          -30003  nobody served the task's method for as long as it was to wait
    ├── ProviderBusy                  -30007  full; data.retryAfterSeconds says when to ask again
    ├── Fenced                        -30010  the caller is not, or no longer, the owner
    ├── CallUnknown                   -30011  no such call here; data names the provider's instance
    ├── CallGone                      -30012  the call was acknowledged before and will not run again
    ├── WrongInstance                 -30013  the provider was started anew since the call was addressed
    ├── BlobNotFound                  -31007
    ├── ShardElsewhere                -26007  another coordinator has this workflow, or will have it in a moment
    ├── CircuitOpen                   -30014  the provider failed again and again, and is left alone for a while
    ├── ConfigurationError            -31003
    ├── ResourceExhausted             -31004  no space, or a limit reached
    ├── Overloaded                    -31005  too much queued; data.retryAfterSeconds
    ├── PayloadTooLarge               -31006
    ├── ConnectionLost                -25001  the socket closed before an answer came
    ├── Unauthorized                  -25005
    ├── JournalError                  -26001  what was to be durable is not
    │   ├── JournalConflict           -26002  the stream does not end where the writer believed
    │   ├── JournalFull               -26003  no space; nothing was written
    │   ├── JournalLocked             -26004  another coordinator holds it
    │   ├── JournalCorrupt            -26005  a checksum does not match
    │   ├── JournalFenced             -26006  another coordinator has taken over what we believed to own
    │   └── JournalReplaced           -26008  its file is not the one that was opened: deleted, moved or replaced
    └── RemoteError                           any other error that a peer answered; keeps its code

The numbers are those of earlier versions where they had one. `error_for(code, ...)` is the way back from the wire.
"""

from collections.abc import Iterator
from typing import Any


class GleitzeitError(Exception):
    """Ours. `data` is what travels beside the message in a JSON-RPC error; it must be encodable as JSON."""

    code: int = -32603
    name: str = "INTERNAL_ERROR"
    retryable: bool = False

    def __init__(self, message: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message or self.name.replace("_", " ").lower())
        self.message = str(self.args[0])
        self.data = data


class ProtocolError(GleitzeitError):
    code = -32600
    name = "INVALID_REQUEST"


class ParseError(ProtocolError):
    code = -32700
    name = "PARSE_ERROR"


class InvalidRequest(ProtocolError):
    pass


class MethodNotFound(ProtocolError):
    code = -32601
    name = "METHOD_NOT_FOUND"


class InvalidParams(ProtocolError):
    code = -32602
    name = "INVALID_PARAMS"


class DocumentError(GleitzeitError):
    """`data["problems"]` is the list of all of them: `{path, message, suggestion?, line?, column?}`."""

    code = -28001
    name = "WORKFLOW_VALIDATION"


class CircularDependency(DocumentError):
    code = -28006
    name = "WORKFLOW_CIRCULAR_DEPENDENCY"


class WorkflowNotFound(GleitzeitError):
    code = -28002
    name = "WORKFLOW_NOT_FOUND"


class InvalidState(GleitzeitError):
    code = -28007
    name = "INVALID_STATE"


class TemplateNotFound(GleitzeitError):
    code = -28011
    name = "TEMPLATE_NOT_FOUND"


class ScheduleNotFound(GleitzeitError):
    code = -28012
    name = "SCHEDULE_NOT_FOUND"


class TaskError(GleitzeitError):
    """Raise it in a provider's method to fail the task with a message that its author will read."""

    code = -29002
    name = "TASK_EXECUTION_FAILED"

    def __init__(self, message: str = "", data: dict[str, Any] | None = None, *, retryable: bool = True) -> None:
        super().__init__(message, data)
        self.retryable = retryable


class TaskValidation(TaskError):
    code = -29001
    name = "TASK_VALIDATION_FAILED"

    def __init__(self, message: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message, data, retryable=False)


class TaskTimeout(TaskError):
    code = -29003
    name = "TASK_TIMEOUT"


class TaskCancelled(TaskError):
    code = -29004
    name = "TASK_CANCELLED"


class ParameterError(TaskError):
    code = -29006
    name = "TASK_PARAMETER_ERROR"


class ResultInvalid(TaskError):
    code = -29007
    name = "TASK_RESULT_INVALID"


class BudgetExceeded(TaskError):
    code = -29010
    name = "BUDGET_EXCEEDED"

    def __init__(self, message: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message, data, retryable=False)


class LoopExhausted(TaskError):
    code = -29011
    name = "LOOP_EXHAUSTED"


class TaskNotFound(GleitzeitError):
    code = -29009
    name = "TASK_NOT_FOUND"


class ProtocolNotFound(GleitzeitError):
    code = -30001
    name = "PROTOCOL_NOT_FOUND"


class ProviderNotFound(GleitzeitError):
    code = -30002
    name = "PROVIDER_NOT_FOUND"


class ProviderNotAvailable(GleitzeitError):
    code = -30003
    name = "PROVIDER_NOT_AVAILABLE"


class ProviderBusy(GleitzeitError):
    """Not a failure of the task: the call was never started. `data["retryAfterSeconds"]` says when to ask again."""

    code = -30007
    name = "PROVIDER_OVERLOADED"
    retryable = True


class Fenced(GleitzeitError):
    code = -30010
    name = "FENCED"


class CallUnknown(GleitzeitError):
    code = -30011
    name = "CALL_UNKNOWN"


class CallGone(GleitzeitError):
    code = -30012
    name = "CALL_GONE"


class WrongInstance(GleitzeitError):
    code = -30013
    name = "WRONG_INSTANCE"


class CircuitOpen(GleitzeitError):
    code = -30014
    name = "CIRCUIT_OPEN"
    retryable = True


class ConfigurationError(GleitzeitError):
    code = -31003
    name = "CONFIGURATION_ERROR"


class ResourceExhausted(GleitzeitError):
    code = -31004
    name = "RESOURCE_EXHAUSTED"
    retryable = True


class Overloaded(GleitzeitError):
    code = -31005
    name = "OVERLOADED"
    retryable = True


class PayloadTooLarge(GleitzeitError):
    code = -31006
    name = "PAYLOAD_TOO_LARGE"


class BlobNotFound(GleitzeitError):
    code = -31007
    name = "BLOB_NOT_FOUND"


class ShardElsewhere(GleitzeitError):
    """Said by one coordinator to another, and to clients only while nobody has the shard. Nothing was changed."""

    code = -26007
    name = "SHARD_ELSEWHERE"
    retryable = True


class ConnectionLost(GleitzeitError):
    code = -25001
    name = "CONNECTION_LOST"
    retryable = True


class Unauthorized(GleitzeitError):
    code = -25005
    name = "UNAUTHORIZED"


class JournalError(GleitzeitError):
    code = -26001
    name = "JOURNAL_ERROR"
    retryable = True


class JournalConflict(JournalError):
    code = -26002
    name = "JOURNAL_CONFLICT"


class JournalFull(JournalError):
    code = -26003
    name = "JOURNAL_FULL"


class JournalLocked(JournalError):
    code = -26004
    name = "JOURNAL_LOCKED"


class JournalCorrupt(JournalError):
    code = -26005
    name = "JOURNAL_CORRUPT"


class JournalFenced(JournalError):
    code = -26006
    name = "JOURNAL_FENCED"


class JournalReplaced(JournalError):
    code = -26008
    name = "JOURNAL_REPLACED"


class RemoteError(GleitzeitError):
    """An error a peer answered whose code is none of ours. `code` is that of the instance, not of the class."""

    def __init__(self, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message, data)
        self.code = code
        self.name = str((data or {}).get("name") or NAMES.get(code, "REMOTE_ERROR"))


NAMES = {
    -31001: "SYSTEM_NOT_INITIALIZED",
    -31002: "SYSTEM_SHUTDOWN",
    -31003: "CONFIGURATION_ERROR",
    -31004: "RESOURCE_EXHAUSTED",
    -31005: "RATE_LIMIT_EXCEEDED",
    -30001: "PROTOCOL_NOT_FOUND",
    -30002: "PROVIDER_NOT_FOUND",
    -30003: "PROVIDER_NOT_AVAILABLE",
    -30004: "PROVIDER_INITIALIZATION_FAILED",
    -30005: "PROVIDER_UNHEALTHY",
    -30006: "PROVIDER_TIMEOUT",
    -30007: "PROVIDER_OVERLOADED",
    -30008: "METHOD_NOT_SUPPORTED",
    -30009: "PROTOCOL_VERSION_MISMATCH",
    -29001: "TASK_VALIDATION_FAILED",
    -29002: "TASK_EXECUTION_FAILED",
    -29003: "TASK_TIMEOUT",
    -29004: "TASK_CANCELLED",
    -29005: "TASK_DEPENDENCY_FAILED",
    -29006: "TASK_PARAMETER_ERROR",
    -29007: "TASK_RESULT_INVALID",
    -29008: "TASK_RETRY_EXHAUSTED",
    -29009: "TASK_NOT_FOUND",
    -28001: "WORKFLOW_VALIDATION_FAILED",
    -28002: "WORKFLOW_NOT_FOUND",
    -28003: "WORKFLOW_EXECUTION_FAILED",
    -28004: "WORKFLOW_TIMEOUT",
    -28005: "WORKFLOW_CANCELLED",
    -28006: "WORKFLOW_CIRCULAR_DEPENDENCY",
    -28007: "WORKFLOW_INVALID_STATE",
    -27001: "QUEUE_NOT_FOUND",
    -27002: "QUEUE_FULL",
    -27003: "QUEUE_EMPTY",
    -27004: "SCHEDULING_FAILED",
    -27005: "SCHEDULER_NOT_RUNNING",
    -26001: "PERSISTENCE_CONNECTION_FAILED",
    -26002: "PERSISTENCE_WRITE_FAILED",
    -26003: "PERSISTENCE_READ_FAILED",
    -26004: "PERSISTENCE_TRANSACTION_FAILED",
    -26005: "PERSISTENCE_INTEGRITY_ERROR",
    -25001: "NETWORK_UNREACHABLE",
    -25002: "CONNECTION_REFUSED",
    -25003: "CONNECTION_TIMEOUT",
    -25004: "CONNECTION_LOST",
    -25005: "AUTHENTICATION_FAILED",
    -25006: "AUTHORIZATION_FAILED",
}
"""What earlier versions called their codes: peers may still send them. Where a class of ours has the code, its own name
is what we send."""

# For which a second attempt can only fail again, if the peer does not say otherwise.
FINAL_CODES = frozenset(
    {
        -32602,
        -32601,
        -32600,
        -30008,
        -29001,
        -28001,
        -28006,
        -31003,
        -31006,
        -25005,
        -25006,
        -29006,
        -29004,
        -29010,
        -29011,
    }
)


def _tree(root: type[GleitzeitError]) -> Iterator[type[GleitzeitError]]:
    for child in root.__subclasses__():
        yield child
        yield from _tree(child)


def classes() -> list[type[GleitzeitError]]:
    """All that travel by a code of their own."""
    return sorted(_BY_CODE.values(), key=lambda cls: cls.code)


def error_for(code: int, message: str, data: Any = None) -> GleitzeitError:
    """The exception for an error object from the wire. `data` that is no object is kept as `{"data": data}`."""
    as_dict = data if isinstance(data, dict) or data is None else {"data": data}
    cls = _BY_CODE.get(code)
    return cls(message, as_dict) if cls is not None else RemoteError(code, message, as_dict)


def name_of(code: int) -> str:
    """The name of one of our codes, for who sends the code alone; "" for others."""
    cls = _BY_CODE.get(code)
    return cls.name if cls is not None else NAMES.get(code, "")


def is_retryable(code: int, data: Any = None) -> bool:
    """Whether another attempt can succeed: the peer's own word (`data.retryable`) first; unknown codes: yes."""
    if isinstance(data, dict) and isinstance(data.get("retryable"), bool):
        return bool(data["retryable"])
    return code not in FINAL_CODES


_BY_CODE: dict[int, type[GleitzeitError]] = {
    cls.code: cls for cls in _tree(GleitzeitError) if cls is not ProtocolError and cls is not RemoteError
}
