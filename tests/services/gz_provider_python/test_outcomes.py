"""From a job that has ended to what its task is told."""

import signal
from typing import Any

import pytest
from msgspec import Raw

from gleitzeit.errors import ParameterError, ResultInvalid, TaskError, TaskTimeout
from gleitzeit.process.output import Output
from gz_provider_python.isolation import Ended
from gz_provider_python.outcomes import SHOWN_CHARACTERS, check, value_of
from gz_provider_python.wire import REPORTED, Failure, Limits, Report

LIMITS = Limits(memory_bytes=64 << 20, cpu_seconds=7)


def ended(report: Report | None, exit_code: int = REPORTED, *, printed: str = "", **members: Any) -> Ended:
    stdout = Output()
    stdout.feed(printed.encode())
    return Ended(report, exit_code, stdout, Output(), 0.1, **members)


def error_of(job: Ended) -> TaskError:
    with pytest.raises(TaskError) as caught:
        check(job, LIMITS, 3)
    return caught.value


def test_a_reported_result_is_the_value() -> None:
    job = ended(Report(Raw(b'{"a":[1]}'), assigned=True), printed="5")
    check(job, LIMITS, 3)
    assert value_of(job) == {"a": [1]}


def test_without_a_result_the_output_is_the_value() -> None:
    assert value_of(ended(Report(), printed="5")) == 5
    assert value_of(ended(Report(Raw(b"null"), assigned=True), printed="5")) is None


def test_an_exit_without_a_report_is_fine_if_its_code_is() -> None:
    job = ended(None, 0, printed="5")
    check(job, LIMITS, 3)
    assert value_of(job) == 5


def test_an_exception_fails_the_task_with_all_that_is_known() -> None:
    failure = Failure("exception", "ValueError", "ValueError: no", "Traceback…", line=3)
    error = error_of(ended(Report(failure=failure), printed="before"))
    assert (error.message, error.retryable) == ("ValueError: no", True)
    assert error.data == {
        "output": "before", "stderr": "", "exit_code": 1,
        "error_type": "ValueError", "traceback": "Traceback…", "line": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "cls"), [("syntax", TaskError), ("result", ResultInvalid), ("parameter", ParameterError)]
)
def test_what_can_only_fail_again_is_not_retried(kind: Any, cls: type[TaskError]) -> None:
    error = error_of(ended(Report(failure=Failure(kind, "X", "what is wrong"))))
    assert type(error) is cls
    assert not error.retryable


def test_a_limit_is_named_with_its_size_and_its_option() -> None:
    error = error_of(ended(Report(failure=Failure("exception", "MemoryError", "MemoryError", limit="memory"))))
    assert error.message == "MemoryError (the limit is 64 MiB of memory, see --memory-mib)"
    assert error.data is not None
    assert error.data["limit"] == "memory"


@pytest.mark.parametrize(
    ("exit_code", "message"),
    [
        (4, "the script ended with exit code 4"),
        (-signal.SIGSEGV, "the script was killed by SIGSEGV"),
        (-signal.SIGKILL, "the script was killed by SIGKILL; perhaps the system was out of memory"),
        (-signal.SIGXCPU, "the script was killed (the limit is 7 s of processor time)"),
        (-45, "the script was killed by signal 45"),
        (REPORTED, "what the script has reported cannot be read"),
    ],
)
def test_an_end_without_a_word(exit_code: int, message: str) -> None:
    assert error_of(ended(None, exit_code)).message == message


def test_the_timeout_comes_before_how_it_died() -> None:
    error = error_of(ended(None, -signal.SIGTERM, timed_out=True, printed="so far"))
    assert isinstance(error, TaskTimeout)
    assert error.data == {"output": "so far", "stderr": "", "timeout_seconds": 3}


def test_an_error_carries_the_end_of_a_long_output() -> None:
    error = error_of(ended(None, 1, printed="x" * 100_000 + "the end"))
    assert error.data is not None
    assert len(error.data["output"]) == SHOWN_CHARACTERS + 1
    assert error.data["output"].endswith("the end")
