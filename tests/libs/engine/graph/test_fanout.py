"""`for_each` and `matrix`: items are tasks of their own, and the task that has them is what they came to."""

import msgspec
import pytest
from tests.libs.engine.builders import Desk, raw, snapshot, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.params import scope_of
from gleitzeit.engine.explain import explain
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Alternative, Budget, CachePolicy, ForEach, TaskDefinition, Until
from gleitzeit.spec.references.references import substitute


def many(over: object, *needs: str, **more: object) -> TaskDefinition:
    fields = {
        name: more.pop(name)
        for name in ("max_parallel", "max_items", "on_item_error", "matrix", "when_each", "by")
        if name in more
    }
    encoded = raw(over)
    for_each = ForEach(encoded, references=b"${" in bytes(encoded), **fields)  # type: ignore[arg-type]
    params = more.pop("params", {"message": "${item} ${index}"})
    return task("m", *needs, params=params, for_each=for_each, **more)


def seen(workflow: Workflow, text: str) -> object:
    return substitute(text, scope_of(workflow).resolve)


def test_items_run_at_once_and_their_results_are_joined_in_order() -> None:
    desk = Desk()
    desk.submit(many(["a", "b", "c"]), task("join", "m", params={"all": "${m}", "second": "${m[1].n}"}))
    assert desk.states() == {"m": "waiting", "join": "pending", "m[0]": "running", "m[1]": "running", "m[2]": "running"}
    assert b'"message":"b 1"' in desk.call("m[1]").params
    for number in (2, 0, 1):
        desk.complete(f"m[{number}]", {"response": f"r{number}", "n": number})
    assert desk.sent() == ["join"]
    assert b'"all":["r0","r1","r2"],"second":1' in desk.call("join").params
    workflow = desk.workflow()
    assert workflow.tasks["m"].result is None, "it is that of its items"
    assert seen(workflow, "${m.n}") == [0, 1, 2]
    assert seen(workflow, "${m.result}") == ["r0", "r1", "r2"]
    assert seen(workflow, "${m[2]} of ${m.status}") == "r2 of completed"
    desk.complete("join")
    assert workflow.state == "completed"
    assert b"r1" not in b"".join(bytes(raw(e)) for e in desk.events["w"] if getattr(e, "task", "") == "m")


def test_an_empty_list_completes_with_an_empty_list() -> None:
    desk = Desk()
    workflow = desk.submit(many([]), task("join", "m", params={"all": "${m}"}))
    assert b'"all":[]' in desk.call("join").params
    assert workflow.tasks["m"].state == "completed"


def test_the_list_comes_from_a_result_and_is_not_written_again() -> None:
    desk = Desk()
    desk.submit(task("before"), many("${before.list}", "before", params={"p": "${item.path}"}))
    desk.complete("before", {"list": [{"path": "x"}, {"path": "y"}]})
    assert b'"p":"y"' in desk.call("m[1]").params
    added = next(e for e in desk.events["w"] if isinstance(e, ev.TasksAdded))
    assert added == ev.TasksAdded(desk.now, "m", 1, 2)
    again = desk.restart()
    again.provider("p#1")
    assert b'"p":"y"' in again.engine.params_of(again.call("m[1]")), "made again from what is known"


@pytest.mark.parametrize(
    ("value", "message"),
    [("text", "for_each wants a list, not a text"), (7, "not a number"), (None, "not null"), ({"a": 1}, "not a map")],
)
def test_what_is_no_list_fails_the_task(value: object, message: str) -> None:
    desk = Desk()
    workflow = desk.submit(task("before"), many("${before.v}", "before"))
    desk.complete("before", {"v": value})
    assert workflow.state == "failed"
    assert workflow.tasks["m"].error is not None
    assert message in workflow.tasks["m"].error.message


def test_too_many_items_fail_the_task() -> None:
    desk = Desk()
    workflow = desk.submit(many([1, 2, 3], max_items=2))
    assert workflow.error is not None
    assert (workflow.error.name, workflow.error.message) == (
        "RESOURCE_EXHAUSTED",
        "for_each has 3 items; max_items is 2",
    )


def test_so_many_at_a_time_as_max_parallel_says() -> None:
    desk = Desk()
    desk.submit(many(list(range(5)), max_parallel=2, attempts=2))
    assert desk.sent() == ["m[0]", "m[1]"]
    desk.fail("m[0]", -29003)
    assert desk.sent() == [], "one that backs off keeps its place"
    desk.complete("m[1]", 1)
    assert desk.sent() == ["m[2]"]
    desk.wait(1)
    assert desk.sent() == ["m[0]"]
    for number in (0, 2, 3, 4):
        desk.complete(f"m[{number}]", number)
    assert desk.workflow().state == "completed"


def failed(mode: str, **more: object) -> Desk:
    """Four items, two at a time: 0 has completed, 1 has failed."""
    desk = Desk()
    desk.submit(many([0, 1, 2, 3], on_item_error=mode, max_parallel=2), task("join", "m", params={"a": "${m}"}), **more)
    desk.complete("m[0]", {"result": "r0"})
    desk.fail("m[1]", message="broken")
    return desk


def test_collect_puts_errors_into_the_list_and_skip_leaves_them_out() -> None:
    for mode, expected in (
        ("collect", b'["r0",{"error":{"code":-29002,"name":"TASK_EXECUTION_FAILED","message":"broken"}},"r2","r3"]'),
        ("skip", b'["r0","r2","r3"]'),
    ):
        desk = failed(mode)
        desk.complete("m[2]", {"result": "r2"})
        desk.complete("m[3]", {"result": "r3"})
        assert b'"a":' + expected in desk.call("join").params
        assert desk.workflow().tasks["m"].state == "completed"
        desk.complete("join")
        assert desk.workflow().state == "completed"


FILES = [{"path": "d/a$${b}.txt"}, {"path": "c.txt"}, {"path": "d.txt", "unread": "d.txt cannot be read"}]


def test_the_result_may_be_a_map_by_a_member_of_the_items() -> None:
    desk = Desk()
    parent = many(FILES, by="path", on_item_error="collect", params={"message": "${item.content || item.path}"})
    workflow = desk.submit(parent, task("join", "m", params={"all": "${m.result}", "of": "${m.summary.total}"}))
    desk.complete("m[0]", {"response": "x", "json": {"n": 1}, "tokens_used": 4})
    desk.fail("m[1]", message="broken")
    desk.complete("m[2]", {"response": "y"})
    assert seen(workflow, '${m.result["c.txt"].status}') == "failed"
    whole = seen(workflow, "${m}")
    assert whole == {
        "d/a${b}.txt": {"status": "success", "content": "x", "json": {"n": 1}},
        "c.txt": {"status": "failed", "error": "broken"},
        "d.txt": {"status": "success", "content": "y"},
    }
    assert b'"of":3' in desk.call("join").params
    assert seen(workflow, "${m.summary}") == {"total": 3, "successful": 2, "failed": 1}
    assert seen(workflow, "${m.usage.total_tokens}") == 4
    assert seen(workflow, "${m.status}") == "completed"


def test_a_file_that_could_not_be_read_is_a_failed_item() -> None:
    desk = Desk()
    workflow = desk.submit(many(FILES[2:] * 2, by="path", on_item_error="collect", params={"x": "${item.content}"}))
    assert desk.states() == {"m": "failed", "m[0]": "failed", "m[1]": "failed"}
    error = workflow.tasks["m"].error
    assert error is not None
    assert (error.code, error.message) == (-29006, "none of 2 went well; the first: d.txt cannot be read")


def test_the_first_failure_cancels_what_has_not_started_and_fails_the_task() -> None:
    desk = failed("fail")
    assert desk.states() == {
        "m": "waiting",
        "join": "pending",
        "m[0]": "completed",
        "m[1]": "failed",
        "m[2]": "running",
        "m[3]": "cancelled",
    }
    cancelled = explain(desk.engine, desk.workflow(), desk.workflow().tasks["m[3]"], desk.now)
    assert cancelled.message == "cancelled because item 1 of m failed"
    desk.complete("m[2]", {"result": "r2"})
    assert desk.states()["m"] == "failed"
    assert desk.states()["join"] == "skipped"
    error = desk.workflow().error
    assert error is not None
    assert (error.task, error.message) == ("m", "item 1: broken")


def test_fail_fast_cancels_running_items_too() -> None:
    desk = failed("fail", error_policy="fail_fast")
    assert desk.states() == {
        "m": "failed",
        "join": "cancelled",
        "m[0]": "completed",
        "m[1]": "failed",
        "m[2]": "cancelled",
        "m[3]": "cancelled",
    }
    assert desk.workflow().state == "failed"
    assert not desk.engine.calls
    join = explain(desk.engine, desk.workflow(), desk.workflow().tasks["join"], desk.now)
    assert join.message == "cancelled because its workflow failed in m: item 1: broken"


def test_a_retry_runs_only_the_items_that_did_not_complete() -> None:
    desk = failed("fail")
    desk.complete("m[2]", {"result": "r2"})
    desk.tell(inp.Retry("again", "w"))
    assert sorted(desk.sent()) == ["m[1]", "m[3]"]
    assert desk.call("m[1]").attempt == 2
    desk.complete("m[1]", {"result": "r1"})
    desk.complete("m[3]", {"result": "r3"})
    assert b'"a":["r0","r1","r2","r3"]' in desk.call("join").params


def test_who_names_an_item_retries_the_task_that_it_belongs_to() -> None:
    desk = failed("fail")
    desk.complete("m[2]", {"result": "r2"})
    desk.tell(inp.Retry("again", "w", ("m[1]",)))
    assert sorted(desk.sent()) == ["m[1]", "m[3]"]


def test_items_have_fallbacks_budgets_and_kept_results_of_their_own() -> None:
    desk = Desk()
    spare = Alternative("shop", "shop/pay", params=raw({"p": "${item}"}), references=True)
    desk.submit(many([1, 2], fallback=(spare,), budget=Budget(calls=1), cache=CachePolicy(60.0)))
    lookups = [e.lookup for e in desk.last.effects if isinstance(e, fx.LookUp)]
    assert len({lookup.key for lookup in lookups}) == 2, "by what is resolved"
    desk.tell(inp.LookedUp(lookups[0], raw({"response": "kept"}), desk.now), inp.LookedUp(lookups[1]))
    assert desk.states() == {"m": "waiting", "m[0]": "completed", "m[1]": "running"}
    desk.fail("m[1]")
    for lookup in [e.lookup for e in desk.last.effects if isinstance(e, fx.LookUp)]:
        desk.tell(inp.LookedUp(lookup))
    error = desk.workflow().tasks["m[1]"].error
    assert error is not None
    assert error.name == "BUDGET_EXCEEDED"
    assert desk.workflow().tasks["m[0]"].definition is desk.workflow().tasks["m"].definition, "nothing is copied"


def test_a_cancel_ends_all_items() -> None:
    desk = failed("collect")
    desk.tell(inp.Cancel("c", "w"))
    assert set(desk.states().values()) == {"cancelled", "completed", "failed"}
    assert desk.workflow().state == "cancelled"
    assert desk.engine.scheduler.queued == 0


def test_a_restart_in_every_state_is_the_replay_and_goes_on() -> None:
    desk = failed("collect")
    for _ in range(3):
        again = desk.restart()
        assert snapshot(replay(desk.events["w"])) == snapshot(replay(again.events["w"]))
        assert again.states() == desk.states()
    again.provider("p#1")
    again.complete("m[2]", {"result": "r2"})
    again.complete("m[3]", {"result": "r3"})
    again.complete("join")
    assert again.workflow().state == "completed"


def test_items_wait_while_the_workflow_is_paused() -> None:
    desk = Desk(providers=())
    desk.submit(many([1, 2]))
    desk.tell(inp.Pause("p", "w"))
    desk.provider("p#1")
    assert desk.sent() == []
    desk.tell(inp.Resume("r", "w"))
    assert desk.sent() == ["m[0]", "m[1]"]


def test_a_condition_of_each_item_leaves_null_for_those_that_are_not_wanted() -> None:
    desk = Desk()
    desk.submit(many([1, 5, 2], when="${item} < 3", when_each=True), task("join", "m", params={"a": "${m}"}))
    assert desk.sent() == ["m[0]", "m[2]"]
    desk.complete("m[0]", {"result": "x"})
    desk.complete("m[2]", {"result": "y"})
    assert b'"a":["x",null,"y"]' in desk.call("join").params


def test_a_matrix_is_the_product_in_order() -> None:
    desk = Desk()
    over = {"axes": {"a": [1, 2], "b": ["x", "y"]}, "exclude": [{"a": 2, "b": "x"}], "include": [{"a": 9, "b": "z"}]}
    desk.submit(many(over, matrix=True, params={"p": "${matrix.a}${item.b}"}))
    sent = [bytes(desk.call(f"m[{n}]").params).split(b'"p":"')[1][:2] for n in range(4)]
    assert sent == [b"1x", b"1y", b"2y", b"9z"]


def test_an_include_adds_to_the_combinations_that_it_fits_or_is_one_more() -> None:
    include = [{"os": "linux", "tag": 1}, {"os": "linux", "py": 3, "tag": 2}, {"extra": 7}, {"os": "win", "py": 4}]
    over = {"axes": {"os": ["linux", "mac"], "py": [3, 4]}, "include": include}
    desk = Desk()
    desk.submit(many(over, matrix=True, params={"p": "${item}"}))
    sent = [msgspec.json.decode(desk.call(f"m[{n}]").params)["p"] for n in range(5)]
    assert sent == [
        {"os": "linux", "py": 3, "tag": 2, "extra": 7},
        {"os": "linux", "py": 4, "tag": 1, "extra": 7},
        {"os": "mac", "py": 3, "extra": 7},
        {"os": "mac", "py": 4, "extra": 7},
        {"os": "win", "py": 4},
    ]


def test_an_item_that_another_task_chose_is_read_as_one_that_was_written() -> None:
    desk = Desk()
    desk.submit(
        many(["x", "y"], params={"p": "${item}"}), task("judge"),
        task("join", "m", "judge", params={"text": "${m[judge.best].text}", "whole": "${m[judge.best]}"}),
    )  # fmt: skip
    desk.complete("judge", {"best": 1})
    for number in range(2):
        desk.complete(f"m[{number}]", {"result": f"r{number}", "text": f"t{number}", "n": number})
    params = msgspec.json.decode(desk.call("join").params)
    assert (params["text"], params["whole"]) == ("t1", "r1")


def test_each_item_goes_round_by_itself() -> None:
    desk = Desk()
    desk.submit(many([3, 1], until=Until("${m.n} >= ${item}"), params={"n": "${loop.round}"}))
    desk.complete("m[0]", {"n": 1})
    desk.complete("m[1]", {"n": 1})
    assert desk.states()["m[1]"] == "completed"
    assert desk.states()["m[0]"] == "running"
    assert b'"n":2' in desk.call("m[0]").params


def test_what_comes_at_the_end_may_take_its_list_from_how_it_ended() -> None:
    desk = Desk()
    at_the_end: dict[str, object] = {"trigger": "always", "late": True}
    desk.submit(task("a"), many(["${workflow.status}", "${workflow.error.task}"], **at_the_end))
    desk.fail("a")
    assert b'"message":"failed 0"' in desk.call("m[0]").params
    assert b'"message":"a 1"' in desk.call("m[1]").params
    again = desk.restart()
    again.provider("p#1")
    assert b'"message":"a 1"' in again.engine.params_of(again.call("m[1]"))
    for number in range(2):
        again.complete(f"m[{number}]", number)
    assert again.workflow().state == "failed"
