"""What the table in tests/acceptance/compatibility does not say: whatever comes in, and twice is once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.legacy import TASK_TYPES, modern

KEYS = [
    "task_type",
    "parameters",
    "params",
    "method",
    "type",
    "status",
    "server",
    "function",
    "output",
    "fields",
    "parameter",
]
VALUES = st.recursive(
    st.none()
    | st.integers()
    | st.sampled_from(["mcp_function", "llm_generate", "signal/v1", "${task_a_result.x}", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(workflow=st.dictionaries(st.sampled_from([*KEYS, "tasks", "error_strategy"]), VALUES))
def test_it_never_fails_and_twice_is_once(workflow: dict[str, Any]) -> None:
    once = modern(workflow)
    assert modern(once) == once
    check(once, builtin())


@pytest.mark.parametrize(
    ("text", "now"),
    [
        ("${task_a_result}", "${a.result}"),
        ("say ${task_a-b_result.x.y} and ${ task_c_result[0] }", "say ${a-b.result.x.y} and ${c.result[0]}"),
        ("${task_result}", "${task_result}"),
        ("${my_task_result}", "${my_task_result}"),
        ("$${task_a_result}", "$${task_a_result}"),
    ],
)
def test_references(text: str, now: str) -> None:
    task = {"id": "b", "task_type": "llm_generate", "parameters": {"prompt": [{"x": text}]}}
    assert modern({"tasks": [task]})["tasks"][0]["parameters"]["prompt"] == [{"x": now}]


def test_a_document_of_today_is_left_alone() -> None:
    document = {"name": "n", "status": "x", "tasks": [{"id": "a", "method": "echo/echo", "result": "${task_a_result}"}]}
    assert modern(document) == document


def test_every_task_type_has_a_method_that_is_there() -> None:
    for method in TASK_TYPES.values():
        assert method == "mcp" or builtin().get(method) is not None


def test_a_task_type_without_a_meaning_is_an_error_with_its_place() -> None:
    found = check({"name": "n", "tasks": [{"id": "a", "task_type": "file_operation"}]}, builtin())
    assert [(one.path, "task_type" in one.message) for one in found.problems] == [(("tasks", 0, "task_type"), True)]


def test_where_a_call_runs_is_no_matter_of_the_document() -> None:
    task = {"id": "a", "method": "llm/chat", "params": {"prompt": "x", "require_gpu": True}}
    found = check({"name": "n", "tasks": [task]}, builtin())
    assert found.definition is not None
    assert b"require_gpu" not in bytes(found.definition.tasks[0].params)
    assert [(one.severity, one.path[-1]) for one in found.problems] == [("warning", "require_gpu")]
