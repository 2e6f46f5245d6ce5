"""Conditions in validation/* tasks, through the whole check, and gates as conditions of the tasks that they name."""

from typing import Any

import msgspec

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import Checked, check
from gleitzeit.spec.references.references import substitute

CHECK = {"id": "check", "method": "python/execute", "params": {"code": "result = 1"}}


def checked(*tasks: dict[str, Any]) -> Checked:
    return check({"name": "n", "tasks": [CHECK, *tasks]}, builtin())


def test_references_are_bound_and_the_rest_is_left_to_the_context() -> None:
    found = checked(
        {
            "id": "v",
            "method": "validation/evaluate",
            "params": {
                "conditions": [{"name": "a", "expression": "check.result.score > limit"}, "${check.result.x} == 'y'"],
                "context": {"limit": "${check.result.limit}"},
            },
        }
    )
    assert found.problems == ()
    assert found.definition is not None
    task = found.definition.tasks[1]
    assert task.dependencies == ("check",)
    params = msgspec.json.decode(task.params, type=dict[str, Any])
    assert params["bindings"] == {"check.result.score": "${check.result.score}", "check.result.x": "${check.result.x}"}
    sent = substitute(params, lambda reference: f"<{reference.text}>")
    assert sent["conditions"] == [
        {"name": "a", "expression": "${check.result.score} > ${limit}"},
        "${check.result.x} == 'y'",
    ], "no value has become a part of the text"
    assert sent["bindings"]["check.result.score"] == "<check.result.score>"
    assert sent["context"] == {"limit": "<check.result.limit>"}


def test_what_is_no_condition_is_found_where_it_stands() -> None:
    found = checked({"id": "v", "method": "validation/assert", "params": {"assertions": ["check.result.x >"]}})
    assert found.definition is None
    assert found.problems[0].path == ("tasks", 1, "params", "assertions", 0)


def test_a_gate_for_a_task_that_there_is_not() -> None:
    rules = [{"condition": "check.result.x > 1", "enable_tasks": ["check", "ship"], "disable_tasks": ["chek"]}]
    found = checked({"id": "gate", "method": "validation/gate", "params": {"rules": rules}}, {**CHECK, "id": "ship"})
    (problem,) = [one for one in found.problems if "disable_tasks" in one.path]
    assert (problem.message, problem.suggestion) == ("there is no task 'chek' for this gate", "check")
    assert problem.path == ("tasks", 1, "params", "rules", 0, "disable_tasks", 0)


def test_the_tasks_of_a_gate_wait_for_it() -> None:
    rules = [{"name": "r", "condition": "check.result.ok", "enable_tasks": ["a", "Second"], "disable_tasks": ["c"]}]
    found = checked(
        {"id": "gate", "method": "validation/gate", "params": {"rules": rules}},
        {"id": "a", "method": "echo/echo", "when": "check.result.x > 1"},
        {"id": "b", "name": "Second", "method": "echo/echo"},
        {"id": "c", "method": "echo/echo"},
        {"id": "d", "method": "echo/echo"},
    )
    assert found.problems == ()
    assert found.definition is not None
    tasks = {task.id: task for task in found.definition.tasks}
    assert 'gate.allowed["a"]' in tasks["a"].when
    assert "check.result.x" in tasks["a"].when
    assert 'gate.allowed["Second"]' in tasks["b"].when
    assert "gate" in tasks["c"].dependencies
    assert (tasks["d"].when, tasks["d"].dependencies) == ("", ())
