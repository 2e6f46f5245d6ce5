import pytest

from gleitzeit import errors
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
        (errors.InvalidState("it has ended"), 1),
        (errors.Overloaded("too much queued"), 1),
        (FileNotFoundError(2, "No such file or directory", "x.yaml"), 2),
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
    assert "gz up" in complaint(NotRunning("no coordinator")).advice
    assert "gz list" in complaint(errors.WorkflowNotFound("x")).advice


def test_the_end_of_a_workflow_as_an_exit_code() -> None:
    assert [of_status(status) for status in ("completed", "failed", "cancelled")] == [0, 1, 7]
