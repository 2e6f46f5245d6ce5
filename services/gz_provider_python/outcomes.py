"""What a job that has ended means for its task: a value, or the error that its author reads. Pure."""

import signal
from typing import Any

import msgspec

from gleitzeit.errors import ParameterError, ResultInvalid, TaskError, TaskTimeout
from gleitzeit.process.output import Output
from gz_provider_python import results
from gz_provider_python.isolation import Ended
from gz_provider_python.wire import REPORTED, Failure, Limits

SHOWN_CHARACTERS = 16_384
"""Of each stream in an error, from its end; errors are journaled, and read by people."""


def check(ended: Ended, limits: Limits, timeout_seconds: float) -> None:
    """Raises the TaskError of a job that did not succeed. Its data: `output`, `stderr`, `traceback`, `exit_code`."""
    report = ended.report
    if ended.timed_out:
        message = f"the script did not end within {timeout_seconds:g} s and was killed, with all that it had started"
        raise TaskTimeout(message, {**_shown(ended), "timeout_seconds": timeout_seconds})
    if report is not None and report.failure is not None:
        raise _failed(report.failure, ended, limits)
    if report is None and ended.exit_code != 0:
        raise _died(ended, limits)


def value_of(ended: Ended) -> Any:
    """The result of a job that succeeded. One that named none gives what it printed."""
    if ended.report is not None and ended.report.assigned:
        return msgspec.json.decode(ended.report.result)
    return results.from_output(ended.stdout.text(), whole=ended.stdout.whole)


def _failed(failure: Failure, ended: Ended, limits: Limits) -> TaskError:
    data = _shown(ended) | {"exit_code": failure.exit_code, "error_type": failure.type}
    data |= {
        name: value
        for name in ("traceback", "line", "column", "text", "limit")
        if (value := getattr(failure, name))
    }  # fmt: skip
    message = failure.message
    if failure.limit:
        message += f" ({_limit(failure.limit, limits)})"
    match failure.kind:
        case "result":
            return ResultInvalid(message, data, retryable=False)
        case "parameter":
            return ParameterError(message, data, retryable=False)
        case "syntax":
            return TaskError(message, data, retryable=False)
    return TaskError(message, data)


def _died(ended: Ended, limits: Limits) -> TaskError:
    """It left without a word: a signal, os._exit, or a crash."""
    data = _shown(ended) | {"exit_code": ended.exit_code}
    if ended.exit_code == REPORTED:
        return TaskError("what the script has reported cannot be read", data)
    if ended.exit_code > 0:
        return TaskError(f"the script ended with exit code {ended.exit_code}", data)
    number = -ended.exit_code
    if number in (signal.SIGXCPU, signal.SIGXFSZ):
        limit = "cpu" if number == signal.SIGXCPU else "file_size"
        return TaskError(f"the script was killed ({_limit(limit, limits)})", data | {"limit": limit})
    hint = "; perhaps the system was out of memory" if number == signal.SIGKILL else ""
    return TaskError(f"the script was killed by {_signal_name(number)}{hint}", data)


def _limit(name: str, limits: Limits) -> str:
    return {
        "cpu": f"the limit is {limits.cpu_seconds} s of processor time",
        "memory": f"the limit is {limits.memory_bytes >> 20} MiB of memory, see --memory-mib",
        "file_size": f"the limit is {limits.file_bytes >> 20} MiB a file, see --file-mib",
        "open_files": f"the limit is {limits.open_files} open files, see --open-files",
    }[name]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _shown(ended: Ended) -> dict[str, Any]:
    return {"output": _end_of(ended.stdout), "stderr": _end_of(ended.stderr)}


def _end_of(output: Output) -> str:
    text = output.text()
    return text if len(text) <= SHOWN_CHARACTERS else "…" + text[-SHOWN_CHARACTERS:]
