"""`concurrency` of workflows and tasks: short and long, and what is wrong with it."""

from typing import Any

import pytest

from gleitzeit.model.definition import Concurrency
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check


def flow(concurrency: object, of: str) -> Any:
    document: dict[str, Any] = {"name": "n", "inputs": {"who": "x"}}
    task: dict[str, Any] = {"id": "a", "method": "echo/ping"}
    (task if of == "task" else document)["concurrency"] = concurrency
    return check({**document, "tasks": [task, {"id": "b", "method": "echo/ping"}]}, builtin())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (3, Concurrency("", 3)),
        ("gpu", Concurrency("gpu")),
        ({"key": "${inputs.who}", "limit": 2, "on_conflict": "fail"}, Concurrency("${inputs.who}", 2, "fail")),
        ({"limit": 2}, Concurrency("", 2)),
    ],
)
@pytest.mark.parametrize("of", ["workflow", "task"])
def test_every_spelling(of: str, written: object, read: Concurrency) -> None:
    definition = flow(written, of).definition
    assert definition is not None
    found = definition.concurrency if of == "workflow" else definition.tasks[0].concurrency
    otherwise = "n" if of == "workflow" else "echo/ping"
    assert found == Concurrency(read.key or otherwise, read.limit, read.on_conflict)


def test_the_key_of_a_task_makes_it_wait_for_what_it_reads_and_that_of_a_workflow_cannot() -> None:
    definition = flow({"key": "${b.response}"}, "task").definition
    assert definition is not None
    assert definition.tasks[0].dependencies == ("b",)
    [problem] = flow({"key": "${b.response}"}, "workflow").problems
    assert "cannot depend on its tasks" in problem.message


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (0, "a whole number from 1"),
        ([], "is a limit, a key, or a map"),
        ({}, "is a limit, a key, or a map"),
        ({"key": "k", "limt": 2}, "has no key 'limt'"),
        ({"key": "k", "on_conflict": "cancel"}, "must be one of queue, cancel_running, fail"),
        ({"key": "${nobody.x}"}, "there is no task 'nobody'"),
    ],
)
@pytest.mark.parametrize("of", ["workflow", "task"])
def test_what_is_wrong(of: str, written: object, words: str) -> None:
    [problem] = flow(written, of).problems
    assert words in problem.message
