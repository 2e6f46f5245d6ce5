import pytest

from gleitzeit import errors
from gleitzeit.client import AmbiguousId
from gleitzeit.client.views import WorkflowRow
from gleitzeit.process.children import ChildExited
from gleitzeit.process.detached import DetachedFailed
from gz_cli.exits import NotRunning, UsageError, complaint, of_status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DocumentError("2 problems"), 2),
        (errors.InvalidParams("limit must be a number"), 2),
        (errors.ConfigurationError("no provider 'x'"), 2),
        (UsageError("an input is KEY=VALUE"), 2),
        (errors.WorkflowNotFound("there is no workflow 'x'"), 3),
        (errors.TaskNotFound("no such task"), 3),
        (errors.MethodNotFound("no such method"), 3),
        (errors.ProtocolNotFound("no such protocol"), 3),
        (errors.Unauthorized("refused"), 4),
        (errors.ConnectionLost("cannot connect"), 5),
        (NotRunning("no coordinator runs"), 5),
        (TimeoutError("no answer within 1 s"), 6),
        (errors.InvalidState("it has ended"), 2),
        (errors.Overloaded("too much queued"), 1),
        (FileNotFoundError(2, "No such file or directory", "x.yaml"), 2),
        (NotADirectoryError(20, "Not a directory", "x/state"), 2),
        (OSError("no space left"), 1),
        (ChildExited("coordinator", 1, "", "the address is in use"), 2),
        (DetachedFailed("the stack could not start"), 2),
        (ValueError("oops"), 1),
    ],
)
def test_every_error_has_an_exit_code_and_a_sentence(error: Exception, code: int) -> None:
    said = complaint(error)
    assert said.code == code
    assert said.sentence


def test_the_sentence_names_the_file_and_the_advice_the_way_out() -> None:
    assert complaint(FileNotFoundError(2, "No such file or directory", "x.yaml")).sentence == (
        "x.yaml: No such file or directory"
    )
    assert complaint(FileNotFoundError(2, "No such file", "x.yaml ")).sentence == "'x.yaml ': No such file"
    assert "gz up" in complaint(NotRunning("no coordinator")).advice
    assert "--state" in complaint(PermissionError(13, "Permission denied", "/home/ada/.gleitzeit/logs")).advice
    assert complaint(PermissionError(13, "Permission denied", "/home/ada/x.yaml")).advice == ""
    assert "gz list" in complaint(errors.WorkflowNotFound("x")).advice


def test_an_ambiguous_name_comes_with_the_candidates_and_the_way_to_the_newest() -> None:
    rows = [WorkflowRow(f"wf-{number}", "Hello", "completed", 1, {}) for number in (2, 1)]
    said = complaint(AmbiguousId("Hello", rows))
    assert said.code == 2
    assert said.advice.splitlines() == [
        "give one of these ids, or Hello@latest for the newest:",
        "  wf-2  Hello  completed",
        "  wf-1  Hello  completed",
    ]
    assert "@latest" not in complaint(AmbiguousId("wf-", rows)).advice


def test_the_end_of_a_workflow_as_an_exit_code() -> None:
    assert [of_status(status) for status in ("completed", "failed", "cancelled")] == [0, 1, 7]
