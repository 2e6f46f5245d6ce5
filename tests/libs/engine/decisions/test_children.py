"""Workflows that are tasks of others: one commit for both, whatever becomes of either."""

import json
from typing import Any

import pytest
from tests.libs.engine.builders import Desk, definition, raw, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import Reason, explain
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Concurrency, Definition, ForEach, TaskDefinition

CHILD = "w~run~1"


def run(
    name: str = "run", *needs: str, child: Definition | None = None, inputs: object = None, **more: Any
) -> TaskDefinition:
    params = {"inputs": inputs or {}, **more.pop("params", {})}
    whole = child or definition(task("inner"), outputs={"said": "${inner}"})
    return task(name, *needs, method="workflow/run", params=params, workflow=whole, **more)


def result(desk: Desk, name: str = "run", workflow_id: str = "w") -> Any:
    found = desk.workflow(workflow_id).tasks[name].result
    assert found is not None
    return json.loads(bytes(found))


def test_it_begins_and_ends_with_its_task_in_one_commit_each() -> None:
    desk = Desk()
    desk.submit(run(), task("after", "run"))
    assert set(desk.last.appends) == {"w", CHILD}
    assert (desk.workflow().tasks["run"].child, desk.states()["run"]) == (CHILD, "waiting")
    origin = desk.workflow(CHILD).submitted.origin
    assert origin is not None
    assert (origin.parent, origin.task, origin.attempt) == ("w", "run", 1)
    desk.complete("inner", {"result": "hi"}, CHILD)
    assert set(desk.last.appends) == {"w", CHILD}
    assert result(desk) == {
        "result": {"said": "hi"}, "outputs": {"said": "hi"}, "workflow_id": CHILD, "status": "completed"
    }  # fmt: skip
    assert desk.states() == {"run": "completed", "after": "running"}


def test_without_outputs_the_result_is_what_its_last_task_came_to() -> None:
    desk = Desk()
    desk.submit(run(child=definition(task("one"), task("two", "one"))))
    desk.complete("one", 1, CHILD)
    desk.complete("two", {"result": "last"}, CHILD)
    assert (result(desk)["result"], result(desk)["outputs"]) == ("last", None)


def test_inputs_are_resolved_in_the_parent_and_checked_for_the_child() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    child = definition(task("inner", params={"n": "${inputs.n}"}), inputs=raw(schema))
    desk = Desk()
    desk.submit(task("first"), run("run", "first", child=child, inputs={"n": "${first}"}))
    desk.complete("first", {"result": 5})
    assert json.loads(bytes(desk.workflow(CHILD).inputs)) == {"n": 5}
    desk.submit(run(child=child, inputs={"n": "x"}), workflow_id="bad")
    error = desk.workflow("bad").tasks["run"].error
    assert error is not None
    assert error.message == "input 'n' must be a whole number, not 'x'"
    assert "bad~run~1" not in desk.engine.workflows


def test_a_method_that_wants_it_is_told_what_the_parent_gave() -> None:
    desk = Desk()
    child = definition(task("inner", method="llm/chat"), task("other"))
    desk.submit(run(child=child, inputs={"n": 3}))
    desk.submit(task("inner", method="llm/chat"), workflow_id="whole", inputs=raw({"n": 3}))
    told = {call.id: json.loads(call.params)["_meta"].get("inputs") for call in desk.engine.calls.values()}
    assert told == {"w~run~1/inner/1": {"n": 3}, "w~run~1/other/1": None, "whole/inner/1": None}


def test_its_failure_is_the_tasks_and_an_attempt_more_is_a_new_one() -> None:
    desk = Desk()
    desk.submit(run(attempts=2))
    desk.fail("inner", workflow_id=CHILD)
    assert desk.states() == {"run": "retrying"}
    desk.wait(1)
    assert desk.workflow().tasks["run"].child == "w~run~2"
    desk.fail("inner", workflow_id="w~run~2")
    error = desk.workflow().tasks["run"].error
    assert error is not None
    assert (error.name, error.message) == ("CHILD_FAILED", "workflow w~run~2 failed in inner: no")
    assert desk.workflow().state == "failed"
    desk.tell(inp.Retry("r", "w"))
    desk.complete("inner", {"response": 3}, "w~run~3")
    assert desk.workflow().state == "completed"


def test_what_is_done_to_the_parent_is_done_to_it() -> None:
    desk = Desk()
    grandchild = definition(task("leaf"), task("more", "leaf"))
    child = definition(run("deep", child=grandchild))
    desk.submit(run(child=child))
    family = ["w", CHILD, f"{CHILD}~deep~1"]
    desk.tell(inp.Pause("p", "w"))
    assert [desk.workflow(one).state for one in family] == ["paused"] * 3
    desk.tell(inp.Resume("r", "w"))
    assert [desk.workflow(one).state for one in family] == ["running"] * 3
    desk.tell(inp.Hold("h", "w"))
    assert desk.engine.scheduler.held == set(family)
    desk.tell(inp.Resume("r", "w"))
    desk.tell(inp.Cancel("c", "w"))
    assert [desk.workflow(one).state for one in family] == ["cancelled"] * 3
    assert [type(effect) for effect in desk.last.effects] == [fx.CancelCall]


AT_THE_END = definition(task("inner"), task("last", trigger="always", late=True))


def test_one_that_ends_already_is_not_cut_short_by_its_parent() -> None:
    desk = Desk()
    desk.submit(run(child=AT_THE_END))
    desk.tell(inp.Cancel("token", CHILD, ""))
    desk.tell(inp.Cancel("token", "w", ""))
    assert desk.states(CHILD) == {"inner": "cancelled", "last": "running"}
    assert desk.workflow().state == "cancelled"
    desk.complete("last", 1, CHILD)
    assert desk.workflow(CHILD).state == "cancelled"


def test_one_that_ends_already_is_cut_short_with_its_parent() -> None:
    desk = Desk()
    desk.submit(run(child=AT_THE_END, trigger="always", late=True))
    desk.tell(inp.Cancel("token", CHILD, ""))
    desk.tell(inp.Cancel("token", "w", ""))
    assert desk.states(CHILD) == {"inner": "cancelled", "last": "running"}
    desk.tell(inp.Cancel("token", "w", ""))
    assert desk.states(CHILD) == {"inner": "cancelled", "last": "cancelled"}


def test_one_that_is_cancelled_by_itself_fails_its_task() -> None:
    desk = Desk()
    desk.submit(run(attempts=3))
    desk.tell(inp.Cancel("c", CHILD))
    error = desk.workflow().tasks["run"].error
    assert error is not None
    assert error.message == f"workflow {CHILD} was cancelled"
    assert desk.workflow().state == "failed"


def test_a_task_whose_time_is_up_takes_it_along() -> None:
    desk = Desk()
    desk.submit(run(timeout_seconds=5.0))
    desk = desk.restart()
    desk.wait(5)
    assert desk.workflow().state == "failed"
    assert desk.workflow(CHILD).state == "cancelled"


def test_one_that_nobody_waits_for_goes_on_by_itself() -> None:
    desk = Desk()
    desk.submit(run(params={"wait": False}))
    assert (desk.workflow().state, desk.workflow(CHILD).state) == ("completed", "running")
    assert result(desk)["workflow_id"] == CHILD
    desk.complete("inner", 1, CHILD)
    assert desk.workflow(CHILD).state == "completed"


def called_back(desk: Desk) -> Any:
    """What the signal of the child says."""
    (signal,) = [event for event in desk.events["w"] if isinstance(event, ev.SignalReceived)]
    assert (signal.name, signal.sender) == ("done", CHILD)
    return json.loads(bytes(signal.payload))


@pytest.mark.parametrize("fails", [False, True])
def test_its_end_is_a_signal_for_who_asked_for_one(fails: bool) -> None:
    desk = Desk()
    desk.submit(
        run(params={"wait": False, "callback": {"signal": "done"}}),
        task("go", method="signal/wait", params={"signal_name": "done"}),
    )
    assert desk.states() == {"run": "completed", "go": "waiting"}
    if fails:
        desk.fail("inner", workflow_id=CHILD)
        assert (called_back(desk)["status"], called_back(desk)["error"]["task"]) == ("failed", "inner")
    else:
        desk.complete("inner", {"result": "hi"}, CHILD)
        assert called_back(desk) == {
            "result": {"said": "hi"}, "outputs": {"said": "hi"}, "workflow_id": CHILD, "status": "completed"
        }  # fmt: skip
    assert set(desk.last.appends) == {"w", CHILD}
    assert desk.workflow().state == "completed"
    assert desk.restart().workflow().state == "completed"


def test_a_signal_of_its_end_that_nobody_can_take_is_lost_without_harm() -> None:
    desk = Desk()
    desk.submit(run(params={"wait": False, "callback": {"signal": "done"}}))
    assert desk.workflow().state == "completed"
    desk.complete("inner", 1, CHILD)
    assert desk.workflow(CHILD).state == "completed"


@pytest.mark.parametrize("crash", ["begun", "ended"])
def test_over_a_restart_nothing_is_begun_or_ended_twice(crash: str) -> None:
    desk = Desk()
    desk.submit(run())
    if crash == "ended":
        desk.complete("inner", {"response": 1}, CHILD)
    before = {name: list(events) for name, events in desk.events.items()}
    desk = desk.restart()
    assert {name: list(events) for name, events in desk.events.items()} == before
    if crash == "begun":
        desk.provider("p#1")
        desk.complete("inner", {"response": 1}, CHILD)
    assert desk.workflow().state == "completed"


def test_why_it_waits() -> None:
    desk = Desk()
    workflow = desk.submit(run())
    told = explain(desk.engine, workflow, workflow.tasks["run"], desk.now)
    assert told.reason == "child"
    assert told.message == f"waits for workflow {CHILD}, which is running: completed are 0 of 1 tasks"
    inner = told.inner
    assert inner is not None
    assert (inner.workflow_id, inner.task_id, inner.status, inner.reason) == (CHILD, "inner", "running", "running")


@pytest.mark.parametrize(
    ("within", "options", "reason"),
    [
        (task("inner", method="nobody/does"), {}, "no_provider"),
        (task("inner", method="signal/wait", params={"signal_name": "go"}), {}, "signal"),
        (task("inner", method="approval/ask", params={"message": "May I?"}), {}, "approval"),
        (task("inner"), {"concurrency": Concurrency("one", 1)}, "concurrency"),
    ],
)
def test_why_the_child_waits_is_told_with_the_parent(
    within: TaskDefinition, options: dict[str, Any], reason: str
) -> None:
    desk = Desk()
    desk.submit(task("held"), workflow_id="other", **options)
    workflow = desk.submit(run(child=definition(within, **options)))
    told = explain(desk.engine, workflow, workflow.tasks["run"], desk.now)
    assert told.reason == "child"
    assert told.inner is not None
    assert (told.inner.workflow_id, told.inner.reason) == (CHILD, reason)
    assert told.inner.message


def test_why_items_wait_down_to_the_innermost() -> None:
    desk = Desk()
    child = definition(task("inner", method="signal/wait", params={"signal_name": "go"}))
    workflow = desk.submit(run("each", child=child, for_each=ForEach(raw([1, 2]))))
    told: Reason | None = explain(desk.engine, workflow, workflow.tasks["each"], desk.now)
    reasons = []
    while told is not None:
        reasons.append((told.task_id, told.reason))
        told = told.inner
    assert reasons == [("each", "items"), ("each[0]", "child"), ("inner", "signal")]


def test_many_of_them_one_for_each_item() -> None:
    desk = Desk()
    child = definition(task("inner", params={"n": "${inputs.n}"}), outputs={"n": "${inner}"})
    desk.submit(
        run("each", child=child, inputs={"n": "${item}"}, for_each=ForEach(raw([3, 1, 2]))), task("after", "each")
    )
    children = [f"w~each[{number}]~1" for number in range(3)]
    assert [json.loads(bytes(desk.workflow(name).inputs)) for name in children] == [{"n": 3}, {"n": 1}, {"n": 2}]
    for name in reversed(children):
        desk.complete("inner", {"result": json.loads(bytes(desk.workflow(name).inputs))["n"] * 10}, name)
    assert desk.states()["each"] == "completed"
    assert [result(desk, f"each[{number}]")["outputs"] for number in range(3)] == [{"n": 30}, {"n": 10}, {"n": 20}]
    assert desk.states()["after"] == "running"
