"""The params of a request: what the task's author wrote, with references replaced once, and `_meta`."""

import hashlib
from typing import Any

import msgspec
from tests.libs.engine.builders import Desk, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.params import KEPT_SCOPES
from gleitzeit.model import events as ev
from gleitzeit.model.traces import carried_on


def sent(desk: Desk, name: str) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(desk.call(name).params)
    return value


def test_meta_says_who_calls_and_what_for() -> None:
    desk = Desk()
    desk.submit(task("a b", timeout_seconds=2.5, untrusted=True), workflow_id="w/1")
    call = next(iter(desk.engine.calls.values()))
    assert msgspec.json.decode(call.params) == {
        "_meta": {
            "workflow_id": "w/1", "task_id": "a b", "attempt": 1, "callId": "w%2F1/a%20b/1", "instance": "p#1",
            "progressToken": "w%2F1/a%20b/1", "fence": {"cluster": "c", "shard": 0, "epoch": 1, "owner": "me"},
            "leaseSeconds": 20.0, "deadlineSeconds": 2.5, "untrusted": True,
            "traceparent": carried_on("", "w/1", "w%2F1/a%20b/1"),
        }
    }  # fmt: skip


def test_a_reference_alone_keeps_its_type_and_inside_a_text_becomes_text() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"n": "${a.n}", "text": "n=${a.n}", "list": ["${a.n}", "$${a.n}"]}))
    desk.complete("a", {"n": 3})
    params = sent(desk, "b")
    del params["_meta"]
    assert params == {"n": 3, "text": "n=3", "list": [3, "${a.n}"]}


def test_text_that_came_from_a_result_is_not_read_for_references() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"x": "${a.x}", "y": "<${a.x}>"}))
    desk.complete("a", {"x": "${a.secret} $${ {{a.secret}}", "secret": "!"})
    params = sent(desk, "b")
    assert params["x"] == "${a.secret} $${ {{a.secret}}"
    assert params["y"] == "<${a.secret} $${ {{a.secret}}>"


def test_a_secret_travels_by_its_name_and_only_where_the_author_wrote_it() -> None:
    desk = Desk()
    written = {"k": "${secrets.A}", "t": ["Bearer ${secrets.B} ${a.x}"], "x": "${a.x}"}
    desk.submit(task("a"), task("b", "a", params=written, bindings={"_1": "${secrets.A}"}))
    desk.complete("a", {"x": "${secrets.A}"})
    params = sent(desk, "b")
    meta = params.pop("_meta")
    shown = {"k": "${secrets.A}", "t": ["Bearer ${secrets.B} ${secrets.A}"], "x": "${secrets.A}"}
    assert params == {**shown, "bindings": {"_1": "${secrets.A}"}}
    assert meta["secrets"] == [
        {"path": ["k"], "parts": [{"name": "A"}]},
        {"path": ["t", 0], "parts": ["Bearer ", {"name": "B"}, " ", "${secrets.A}"]},
        {"path": ["bindings", "_1"], "parts": [{"name": "A"}]},
    ]


def test_code_travels_with_its_values_beside_it() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"code": "print(_1)"}, bindings={"_1": "${a.text}"}))
    desk.complete("a", {"text": "'); danger('"})
    params = sent(desk, "b")
    assert params["code"] == "print(_1)"
    assert params["bindings"] == {"_1": "'); danger('"}


def test_the_results_of_dependencies_come_along_where_the_schema_wants_them() -> None:
    desk = Desk()
    desk.submit(
        task("a", name="First"), task("b", on_error="skip"), task("c", "a", "b", method="llm/chat"), task("d", "a")
    )
    desk.fail("b")
    desk.complete("a", 1)
    assert sent(desk, "c")["_meta"]["dependencies"] == {"a": 1, "First": 1, "b": None}
    assert "dependencies" not in sent(desk, "d")["_meta"]


def test_the_hash_is_of_the_params_and_the_same_after_a_restart() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"x": "${a}"}))
    desk.complete("a", {"k": [1, 2]})
    started = desk.events["w"][-1]
    assert isinstance(started, ev.TaskStarted)
    assert started.params_sha256 == hashlib.sha256(b'{"x":{"k":[1,2]}}').hexdigest()
    again = desk.restart()
    call = again.call("b")
    assert again.engine._params.build(call) == (desk.call("b").params, started.params_sha256)


def test_an_attempt_after_a_retry_by_hand_sees_the_newer_results() -> None:
    desk = Desk()
    desk.submit(task("a", on_error="skip"), task("b", "a", params={"x": "${a}"}))
    desk.fail("a")
    assert sent(desk, "b")["x"] is None
    desk.fail("b")
    desk.tell(inp.Retry("", "w"))
    desk.complete("a", 5)
    assert sent(desk, "b")["x"] == 5


def test_decoded_results_are_kept_for_a_bounded_number_of_workflows() -> None:
    desk = Desk()
    for number in range(KEPT_SCOPES + 10):
        name = f"w{number}"
        desk.submit(task("a"), task("b", "a", params={"x": "${a}"}), workflow_id=name)
        desk.complete("a", 1, workflow_id=name)
    assert len(desk.engine._params._scopes) == KEPT_SCOPES
    for number in range(KEPT_SCOPES + 10):
        desk.complete("b", workflow_id=f"w{number}")
    assert not desk.engine._params._scopes
