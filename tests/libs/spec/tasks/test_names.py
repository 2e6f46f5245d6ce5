from typing import Any

import pytest

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.references.references import BUILT_INS, RESERVED
from gleitzeit.spec.tasks.names import index_names


def test_ids_and_names_mean_tasks() -> None:
    index = index_names([("a", "Load Data"), ("b", ""), ("c", "c")])
    assert index.ids == {"a": "a", "b": "b", "c": "c", "Load Data": "a"}
    assert index.ambiguous == frozenset()


def test_an_id_goes_before_a_name() -> None:
    assert index_names([("a", "b"), ("b", "")]).ids["b"] == "b"


def test_a_name_of_two_tasks_means_neither() -> None:
    index = index_names([("a", "x"), ("b", "x"), ("c", "y")])
    assert "x" not in index.ids
    assert index.ambiguous == {"x"}


def test_a_reserved_word_is_no_name_for_references() -> None:
    assert "config" not in index_names([("a", "config")]).ids


def complaints(name: str, **use: Any) -> list[str]:
    """What is said of a task of this name and another one that reads it."""
    tasks = [{"id": name, "method": "python/execute", "code": "result = {'x': 2}"}, {"id": "other", **use}]
    return [problem.message for problem in check({"name": "n", "tasks": tasks}, builtin()).problems]


def echo(message: str) -> dict[str, Any]:
    return {"method": "echo/echo", "params": {"message": message}}


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_references_read_otherwise_is_no_id(name: str) -> None:
    assert complaints(name, **echo("x")) == [
        f"'{name}' cannot be the id of a task: ${{{name}…}} has a meaning of its own"
    ]


@pytest.mark.parametrize("name", ["in", "and", "or", "not", "not.yet"])
def test_a_word_of_conditions_is_no_id(name: str) -> None:
    word = name.partition(".")[0]
    assert complaints(name, **echo("x")) == [f"'{name}' cannot be the id of a task: '{word}' is a word of conditions"]


@pytest.mark.parametrize(
    "name", ["loop", "matrix", "input", "file", "true", "null", "size", "a-b", "1", *sorted(BUILT_INS)]
)
def test_other_names_are_tasks_wherever_they_are_read(name: str) -> None:
    for use in (echo(f"${{{name}.x}}"), echo(f"${{{name}.x * 2}}"), {"method": "echo/echo", "when": f"{name}.x > 1"}):
        assert complaints(name, **use) == []
    assert complaints(name, for_each=[1, 2], **echo(f"${{{name}.x}} of ${{item}}")) == []


def test_a_name_that_means_two_things_in_a_task_is_refused() -> None:
    rounds = {"method": "echo/echo", "until": {"condition": "loop.round > 1", "max": 3}}
    said = "may mean the task 'loop' or what a task with 'until' sees; give that task another id"
    assert complaints("loop", **rounds) == [f"loop.round {said}"]
    said = "may mean the task 'matrix' or what a task with 'matrix' sees; give that task another id"
    assert complaints("matrix", matrix={"y": [1]}, **echo("${matrix.y}")) == [f"${{matrix.y}} {said}"]
    assert complaints("matrix", matrix={"y": [1]}, **echo("${item.y}")) == []
