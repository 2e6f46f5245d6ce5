"""What others see: the shapes that clients rely on."""

import msgspec
from tests.libs.engine.builders import NOW, Desk, raw, task

from gleitzeit.engine import view
from gleitzeit.engine.decisions.signals import awaited_signals
from gleitzeit.engine.explain import explain


def encoded(value: object) -> object:
    return msgspec.json.decode(msgspec.json.encode(value))


def test_times_are_iso_in_utc_with_milliseconds() -> None:
    assert view.iso(0) is None
    assert view.iso(1_794_923_160_123) == "2026-11-17T13:46:00.123Z"


def test_a_task_on_its_way() -> None:
    desk = Desk()
    desk.submit(task("a", name="First"), task("b", "a"))
    pending = view.task_view(desk.workflow().tasks["b"])
    assert encoded(pending) == {
        "task_id": "b", "name": "b", "method": "echo/echo", "status": "pending", "attempts": 0, "dependencies": ["a"],
    }  # fmt: skip
    desk.wait(1.5)
    desk.complete("a", {"x": 1})
    done = encoded(view.task_view(desk.workflow().tasks["a"]))
    assert done == {
        "task_id": "a", "name": "First", "method": "echo/echo", "status": "completed", "attempts": 1,
        "dependencies": [], "provider": "p", "started_at": view.iso(NOW), "completed_at": view.iso(NOW + 1500),
        "duration_seconds": 1.5, "result": {"x": 1},
    }  # fmt: skip


def test_a_large_result_is_named_by_its_size_unless_it_is_asked_for() -> None:
    desk = Desk()
    desk.submit(task("a"))
    desk.complete("a", "x" * 5000)
    done = desk.workflow().tasks["a"]
    assert view.task_view(done)["result_size_bytes"] == 5002
    assert "result" not in view.task_view(done)
    assert view.task_view(done, None)["result"] == raw("x" * 5000)


def test_an_error_keeps_its_code_its_name_and_its_data() -> None:
    desk = Desk()
    desk.submit(task("a"))
    desk.fail("a", -32602, data={"name": "INVALID_PARAMS", "key": "x"})
    seen = encoded(view.task_view(desk.workflow().tasks["a"]))
    assert isinstance(seen, dict)
    assert seen["error"] == {
        "code": -32602, "name": "INVALID_PARAMS", "message": "no", "data": {"name": "INVALID_PARAMS", "key": "x"},
    }  # fmt: skip
    whole = view.workflow_head(desk.workflow(), ())
    assert whole["error"]["task"] == "a"
    assert whole["status"] == "failed"


def test_a_thousand_large_errors_fit_into_a_page_and_each_is_whole_by_itself() -> None:
    desk = Desk()
    desk.submit(task("a"))
    data = {"name": "ODD", "output": "o" * 16_000, "stderr": "e" * 16_000}
    desk.fail("a", -1, data=data, message="m" * 16_000)
    failed = desk.workflow().tasks["a"]
    error = encoded(view.task_view(failed)["error"])
    assert isinstance(error, dict)
    assert error["message"].startswith("mmm")
    assert error["data"]["name"] == "ODD"
    assert error["data"]["output"].endswith("ooo")
    assert 1_000 * len(msgspec.json.encode(error)) < 8 << 20
    assert len(view.workflow_head(desk.workflow(), ())["error"]["message"]) < 4_096
    assert len(explain(desk.engine, desk.workflow(), failed, NOW).message) < 4_096
    whole = encoded(view.task_view(failed, None)["error"])
    assert isinstance(whole, dict)
    assert (whole["message"], whole["data"]) == ("m" * 16_000, data)


def test_a_page_of_a_workflow_says_where_the_next_one_starts() -> None:
    desk = Desk()
    desk.submit(*(task(f"t{i}") for i in range(5)), outputs={"all": "${t0.x}"})
    seen = view.workflow_view(desk.workflow(), {desk.workflow().id}, after=1, limit=2)
    assert [t["task_id"] for t in seen["tasks"]] == ["t1", "t2"]
    assert (seen["next"], seen["held"], seen["tasks_total"], seen["counts"]) == (3, True, 5, {"running": 5})
    assert "next" not in view.workflow_view(desk.workflow(), {desk.workflow().id}, after=3, limit=2)
    assert seen["seq"] == len(desk.events["w"])


def test_the_results_and_the_outputs() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", on_error="skip"), outputs={"x": "${a.x}", "text": "x is ${a.x}"})
    desk.complete("a", {"x": 1})
    desk.fail("b")
    seen = encoded(view.result_view(desk.workflow()))
    assert isinstance(seen, dict)
    assert seen["status"] == "completed"
    assert seen["results"] == {"a": {"x": 1}}
    assert seen["outputs"] == {"x": 1, "text": "x is 1"}


def test_outputs_that_cannot_be_made_fail_the_workflow() -> None:
    desk = Desk()
    desk.submit(task("a"), outputs={"x": "${a.nothing}"})
    desk.complete("a", {"x": 1})
    assert desk.workflow().state == "failed"
    error = desk.workflow().error
    assert error is not None
    assert error.message.startswith("output 'x': ${a.nothing}: there is no 'nothing' (there are: x)")


def test_the_signals_that_tasks_wait_for_or_will() -> None:
    wait = {"method": "signal/wait"}
    desk = Desk()
    desk.submit(
        task("now", params={"signal_name": "go"}, **wait),
        task("first"),
        task("later", "first", params={"name": "approved"}, **wait),
        task("unknown", "first", params={"signal_name": "${first.x}"}, **wait),
    )
    assert awaited_signals(desk.workflow()) == ["approved", "go"]
