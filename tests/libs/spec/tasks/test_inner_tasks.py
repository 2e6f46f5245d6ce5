"""Tasks that run in the coordinator: every spelling, and what is known to be wrong before anything runs."""

import json
from typing import Any

import pytest

from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.schemas import builtin
from gleitzeit.spec.check import Checked, check

CHILD: dict[str, Any] = {
    "name": "child",
    "inputs": {"who": {"type": "string", "required": True}, "times": {"type": "integer", "default": 1}},
    "tasks": [{"id": "say", "method": "echo/echo", "params": {"message": "${inputs.who} ${inputs.times}"}}],
}


def checked(*tasks: dict[str, Any]) -> Checked:
    return check({"name": "n", "tasks": [{"id": "t", **tasks[0]}, *tasks[1:]]}, builtin())


def only(task: dict[str, Any]) -> TaskDefinition:
    found = checked(task)
    assert found.definition is not None, found.problems
    return found.definition.tasks[0]


def params(task: TaskDefinition) -> Any:
    return json.loads(bytes(task.params))


@pytest.mark.parametrize("action", ["wait", "wait_any", "wait_all", "send", "broadcast"])
def test_the_form_of_keys_is_the_form_of_the_method(action: str) -> None:
    keys: dict[str, Any] = {"signal_names": ["a", "b"]} if action in ("wait_any", "wait_all") else {"signal_name": "a"}
    if action == "send":
        keys |= {"payload": {"x": 1}, "target_workflows": ["w"]}
    by_keys = only({"type": "signal", "signal_action": action, **keys})
    by_method = only({"method": f"signal/{action}", "params": keys})
    assert by_keys == by_method
    assert only({"signal_action": action, **keys}) == by_method
    assert (by_method.method, params(by_method)) == (f"signal/{action}", keys)


def test_several_names_alone_mean_any_of_them() -> None:
    assert only({"type": "signal", "signal_names": ["a", "b"]}).method == "signal/wait_any"
    assert only({"signal_name": "a"}).method == "signal/wait"


def test_what_a_person_is_asked() -> None:
    form = {"properties": {"days": {"type": "integer"}}}
    long = only({"method": "approval/ask", "params": {"message": "Ship?", "form": form, "timeout": "1h"}})
    assert only({"approval": {"message": "Ship?", "form": form, "timeout": "1h"}}) == long
    short = only({"approval": "Ship?"})
    assert (short.method, params(short)) == ("approval/ask", {"message": "Ship?"})
    assert only({"type": "approval", "params": {"message": "Ship?"}}) == short


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"method": "timer/until", "params": {"at": "soon"}}, "'at': 'soon' is no time like 2026"),
        ({"method": "timer/until", "params": {"at": "2026-12-24", "timezone": "Europe/Berln"}}, "mean 'Europe/Berlin'"),
        ({"method": "timer/until", "params": {"cron": "61 * * * *"}}, "the minute '61' of '61 * * * *' is wrong: 0 to"),
        ({"method": "timer/until", "params": {"cron": "* * *"}}, "has 3 fields; cron has five: minute hour"),
        ({"method": "timer/until", "params": {"cron": "0 0 30 2 *"}}, "'0 0 30 2 *' is never due: no month"),
        ({"method": "timer/until", "params": {"cron": "@dayly"}}, "mean '@daily'"),
        ({"method": "timer/until", "params": {}}, "needs 'at' or 'cron'"),
        ({"method": "signal/wait", "params": {"name": "a", "timeout": "soon"}}, "'timeout': 'soon' is not a duration"),
        ({"approval": {"form": {"days": {"type": "integer"}}}}, "it has 'properties'"),
        ({"approval": {"form": {"properties": {"days": {"type": "intger"}}}}}, "this is no JSON Schema"),
        ({"approval": {"form": {"properties": {"days": {"type": "intger"}}}}}, "(did you mean 'integer'?)"),
        ({"approval": {"form": {"properties": {"a": {"enum": [1, 2], "default": 3}}}}}, "the default of 'a' must be"),
        ({"approval": {"on_timeout": "give up"}}, "'on_timeout' must be 'fail', 'reject' or 'approve'"),
        ({"approval": 3}, "'approval' is what is asked"),
        ({"method": "workflow/run"}, "workflow/run needs a 'workflow'"),
        ({"workflow": "${a.b}"}, "which workflow is run must be known when it is submitted"),
        ({"workflow": 3}, "a 'workflow' is a file, the name of a template, or a workflow written here"),
        ({"workflow": {"name": "x"}}, "a workflow needs a list of 'tasks'"),
        ({"workflow": CHILD}, "input 'who' is required"),
        ({"workflow": CHILD, "inputs": {"who": 3}}, "input 'who' must be text, not 3"),
        ({"workflow": CHILD, "inputs": {"who": "x", "tims": 3}}, "the workflow has no input 'tims'"),
        ({"workflow": CHILD, "inputs": {"who": "${t2.response}", "times": "x"}}, "'times' must be a whole number"),
    ],
)
def test_what_is_wrong_is_found_at_submit(task: dict[str, Any], message: str) -> None:
    found = checked(task, {"id": "t2", "method": "echo/ping"})
    assert found.definition is None
    [problem] = found.problems
    told = problem.message + (f" (did you mean '{problem.suggestion}'?)" if problem.suggestion else "")
    assert message in told
    assert problem.path[:2] == ("tasks", 0)


@pytest.mark.parametrize(
    "task",
    [
        {"method": "timer/until", "params": {"at": "${t2.response}", "timezone": "${t2.response}"}},
        {"method": "timer/until", "params": {"cron": "${t2.response}"}},
        {"method": "signal/wait", "params": {"name": "a", "timeout": "${t2.response}"}},
        {"workflow": CHILD, "inputs": "${t2.response}"},
        {"workflow": CHILD, "inputs": {"who": "${t2.response}"}},
    ],
)
def test_what_is_known_only_later_is_no_mistake(task: dict[str, Any]) -> None:
    assert checked(task, {"id": "t2", "method": "echo/ping"}).definition is not None


def test_a_timer_says_in_seconds_or_in_words_how_long() -> None:
    assert params(only({"method": "timer/sleep", "params": {"seconds": "1m30s"}})) == {"seconds": 90.0}


@pytest.mark.parametrize("method", [{"method": "timer/sleep", "params": {"seconds": 9}},
                                    {"method": "timer/until", "params": {"cron": "@daily"}}])  # fmt: skip
def test_who_gives_a_timer_a_timeout_is_told_that_nothing_comes_of_it(method: dict[str, Any]) -> None:
    found = checked({**method, "timeout": 1})
    assert found.definition is not None
    (problem,) = found.problems
    assert (problem.severity, problem.path) == ("warning", ("tasks", 0, "timeout"))
    assert checked(method).problems == ()


def test_the_child_is_part_of_the_definition_and_not_of_the_params() -> None:
    task = only({"workflow": CHILD, "inputs": {"who": "Ada"}, "timeout": "5m"})
    assert (task.method, params(task)) == ("workflow/run", {"inputs": {"who": "Ada"}})
    assert isinstance(task.workflow, Definition)
    assert [one.id for one in task.workflow.tasks] == ["say"]


def test_earlier_spellings_of_children() -> None:
    task = only(
        {
            "method": "workflow/execute_async",
            "params": {"workflow_ref": CHILD, "inputs": {"who": "Ada"}, "timeout": 60, "shard_preference": "same"},
        }
    )
    assert (task.method, params(task)) == ("workflow/run", {"inputs": {"who": "Ada"}, "wait": False})
    assert task.timeout_seconds == 60
    assert only({"type": "workflow", "workflow": "./child.yaml"}).workflow is None, "whoever has the file puts it there"


def test_a_mistake_in_a_child_is_shown_where_it_stands() -> None:
    bad = {"name": "child", "tasks": [{"id": "a", "method": "echo/ech"}]}
    [problem] = checked({"workflow": bad}).problems
    assert problem.path == ("tasks", 0, "workflow", "tasks", 0, "method")
    assert problem.suggestion == "echo/echo"


def test_nesting_has_a_bound() -> None:
    document: dict[str, Any] = {"name": "leaf", "tasks": [{"id": "a", "method": "echo/ping"}]}
    for _ in range(8):
        document = {"name": "n", "tasks": [{"id": "a", "workflow": document}]}
    assert check(document, builtin()).definition is not None
    [problem] = check({"name": "n", "tasks": [{"id": "a", "workflow": document}]}, builtin()).problems
    assert "deeper than 8" in problem.message
