"""Waiting for times, signals and people; what comes too early, twice, too late, or does not fit."""

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.libs.engine.builders import NOW, Desk, raw, snapshot, task

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions import waits
from gleitzeit.engine.explain import explain
from gleitzeit.engine.state import workflow
from gleitzeit.engine.state.replay import replay
from gleitzeit.model.definition import ForEach, TaskDefinition
from gleitzeit.spec.moments import from_ms

FORM = {"properties": {"days": {"type": "integer", "minimum": 1}, "why": {"type": "string", "default": "-"}},
        "required": ["days"]}  # fmt: skip


def wait(task_id: str, method: str, /, **params: object) -> TaskDefinition:
    return task(task_id, method=method, params=params)


def signal(desk: Desk, name: str, payload: object = None, workflow_id: str = "w") -> None:
    desk.tell(inp.Signal("s", workflow_id, name, raw(payload)))


def result(desk: Desk, name: str, workflow_id: str = "w") -> Any:
    found = desk.workflow(workflow_id).tasks[name].result
    assert found is not None
    return json.loads(bytes(found))


def answer(desk: Desk, approved: bool = True, workflow_id: str = "w", **values: object) -> None:
    desk.tell(inp.Complete("c", workflow_id, "ask", approved, raw(values), "because", "Ada"))


def asking(**params: object) -> Desk:
    desk = Desk()
    desk.submit(wait("ask", "approval/ask", message="Ship?", **params))
    return desk


# Times


def test_until_a_time_never_early_and_over_a_restart() -> None:
    desk = Desk()
    at = from_ms(NOW + 90_000).isoformat()
    desk.submit(wait("t", "timer/until", at=at), wait("over", "timer/until", at="2020-01-01"))
    desk.wait(0)
    assert desk.states() == {"t": "waiting", "over": "completed"}
    desk.wait(89.999)
    assert desk.states()["t"] == "waiting"
    other = desk.restart()
    other.wait(0.001)
    assert other.states()["t"] == "completed"
    assert result(other, "t") == {"at": "2027-01-15T08:01:30.000Z", "waited_seconds": 90.0}


def test_what_takes_its_time_takes_that_whatever_is_done_to_the_clock_and_what_is_due_at_a_time_is_due() -> None:
    desk = Desk()
    at = from_ms(NOW + 3_600_000).isoformat()
    desk.submit(wait("sleep", "timer/sleep", seconds=60), wait("at", "timer/until", at=at))
    desk.engine.ahead_ms = 3_540_000
    told = explain(desk.engine, desk.workflow(), desk.workflow().tasks["at"], desk.now)
    assert told.message.startswith("waits for another 1 min, until")
    desk.wait(59.999)
    assert desk.states() == {"sleep": "waiting", "at": "waiting"}
    assert desk.engine.due_at() == NOW + 60_000
    desk.engine.ahead_ms = 3_540_001
    desk.wait(0)
    assert desk.states() == {"sleep": "waiting", "at": "completed"}
    desk.wait(0.001)
    assert desk.states()["sleep"] == "completed"


def test_until_a_cron_expression_is_due_in_its_time_zone() -> None:
    desk = Desk()  # it is 08:00 UTC, 09:00 in Berlin
    desk.submit(wait("t", "timer/until", cron="30 9 * * *", timezone="Europe/Berlin"))
    assert desk.workflow().tasks["t"].until == NOW + 30 * 60_000


# Signals


def test_all_of_several_signals_in_any_order() -> None:
    for order in permutations("abc"):
        desk = Desk()
        desk.submit(wait("all", "signal/wait_all", signal_names=["a", "b", "c"]), task("go", "all"))
        for name in order[:-1]:
            signal(desk, name, name.upper())
            assert desk.states()["all"] == "waiting"
        signal(desk, order[-1], order[-1].upper())
        assert {name: one["payload"] for name, one in result(desk, "all")["signals"].items()} == {
            "a": "A", "b": "B", "c": "C"
        }  # fmt: skip
        assert not desk.workflow().signals


def test_any_of_several_takes_one_and_leaves_the_others() -> None:
    desk = Desk()
    desk.submit(
        task("first"),
        wait("any", "signal/wait_any", signal_names=["a", "b"]),
        task("then", "any"),
    )
    signal(desk, "c", 0)
    signal(desk, "b", 1)
    signal(desk, "a", 2)
    assert result(desk, "any")["payload"] == 1
    assert result(desk, "any")["received_at"] == from_ms(NOW).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert [one.name for one in desk.workflow().signals] == ["c", "a"]


def test_a_signal_sent_again_with_its_key_is_one_signal_also_after_the_end() -> None:
    desk = Desk()
    desk.submit(wait("one", "signal/wait", name="go"), wait("two", "signal/wait", name="go"))
    again = inp.Signal("s", "w", "go", raw(1), "", "k", "body")
    for _ in range(3):
        desk.tell(again)
    assert [desk.workflow().tasks[name].state for name in ("one", "two")] == ["completed", "waiting"]
    desk.tell(replace(again, body_sha256="another"))
    assert isinstance(desk.error(), errors.InvalidState)
    desk.tell(replace(again, idempotency_key="l"))
    assert desk.workflow().state == "completed"
    desk.tell(again)
    assert [(one.error, one.created) for one in desk.last.answers] == [(None, False)]
    assert replay(desk.events["w"]).signal_keys == desk.workflow().signal_keys == {"k": "body", "l": "body"}


def test_of_the_keys_of_signals_the_last_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "KEPT_KEYS", 2)
    desk = Desk()
    desk.submit(wait("all", "signal/wait_all", names=["never"]))
    for key in "abc":
        desk.tell(inp.Signal("s", "w", "go", raw(1), "", key, "body"))
    assert list(desk.workflow().signal_keys or ()) == ["b", "c"]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=8))
def test_no_signal_is_lost_and_none_is_taken_twice(sent: list[str], waiting: list[str]) -> None:
    """Some come before the tasks wait (while the workflow is held), some after. A task stays open."""
    desk = Desk()
    desk.submit(task("open"), *(wait(f"w{i}", "signal/wait", name=name) for i, name in enumerate(waiting)), held=True)
    early = len(sent) // 2
    for number, name in enumerate(sent[:early]):
        signal(desk, name, number)
    desk.tell(inp.Resume("r", "w"))
    for number, name in enumerate(sent[early:], early):
        signal(desk, name, number)
    taken = [result(desk, f"w{i}")["payload"] for i in range(len(waiting)) if desk.states()[f"w{i}"] == "completed"]
    kept = [json.loads(bytes(one.payload)) for one in desk.workflow().signals]
    assert sorted([*taken, *kept]) == list(range(len(sent)))
    for name in "abc":
        assert min(sent.count(name), waiting.count(name)) == sum(sent[number] == name for number in taken)
    replayed = replay(desk.events["w"])
    replayed.released.clear()
    assert snapshot(replayed) == snapshot(desk.workflow())


def test_a_task_sends_to_its_own_workflow_and_the_wait_may_come_later() -> None:
    desk = Desk()
    desk.submit(wait("send", "signal/send", signal_name="go", payload={"x": 1}), task("between", "send"),
                task("w8", "between", method="signal/wait", params={"name": "go"}))  # fmt: skip
    assert result(desk, "send") == {"signal_name": "go", "sent": 1, "workflows": ["w"]}
    assert [one.name for one in desk.workflow().signals] == ["go"]
    desk.complete("between")
    assert (result(desk, "w8")["payload"], result(desk, "w8")["sender"]) == ({"x": 1}, "w")


def test_the_end_of_the_sender_and_the_signals_are_one_commit() -> None:
    desk = Desk()
    for name in ("a", "b"):
        desk.submit(wait("w8", "signal/wait", name="go"), workflow_id=name)
    desk.submit(wait("send", "signal/send", name="go", target_workflows=["a", "b"]), workflow_id="s")
    assert set(desk.last.appends) == {"a", "b", "s"}
    assert [desk.workflow(name).state for name in ("a", "b", "s")] == ["completed"] * 3


def test_a_broadcast_reaches_those_that_wait_or_will() -> None:
    desk = Desk()
    desk.submit(wait("w8", "signal/wait", name="go"), workflow_id="waits")
    desk.submit(
        task("first"), task("w8", "first", method="signal/wait_any", params={"names": ["go"]}), workflow_id="will"
    )
    desk.submit(task("other"), workflow_id="never")
    desk.submit(wait("send", "signal/broadcast", name="go"), workflow_id="s")
    assert result(desk, "send", "s")["workflows"] == ["waits", "will"]
    assert not desk.workflow("never").signals


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nobody", "no workflow 'nobody' is under way"),
        ("tset", "no workflow 'tset' is under way (did you mean 'test'?)"),
        ("ended", "workflow ended is completed: it takes no signals any more"),
        ("test", "3 workflows called 'test' are under way"),
    ],
)
def test_where_one_target_cannot_have_it_nobody_gets_it(target: str, message: str) -> None:
    desk = Desk()
    desk.submit(task("a"), workflow_id="ended")
    desk.complete("a", workflow_id="ended")
    desk.submit(task("a"), workflow_id="one")
    desk.submit(task("a"), workflow_id="two")
    desk.submit(wait("send", "signal/send", name="go", target_workflows=["one", target]), workflow_id="s")
    error = desk.workflow("s").tasks["send"].error
    assert error is not None
    assert message in error.message
    assert not desk.workflow("one").signals


def test_what_a_workflow_keeps_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MAX_SIGNALS", 2)
    desk = Desk()
    desk.submit(task("a"))
    for _ in range(3):
        signal(desk, "go")
    assert isinstance(desk.error(), errors.ResourceExhausted)
    assert len(desk.workflow().signals) == 2


def test_a_wait_for_all_that_is_over_says_what_was_missing() -> None:
    desk = Desk()
    desk.submit(wait("all", "signal/wait_all", names=["a", "b"], timeout=5))
    signal(desk, "b")
    desk.wait(5)
    error = desk.workflow().tasks["all"].error
    assert error is not None
    assert error.message == "the signal a did not come in time; b did"


# People


def test_an_answer_completes_the_task_with_the_form_filled_in() -> None:
    desk = asking(form=FORM)
    answer(desk, days=3)
    assert result(desk, "ask") == {
        "approved": True, "values": {"days": 3, "why": "-"}, "comment": "because", "by": "Ada",
        "answered_at": "2027-01-15T08:00:00.000Z",
    }  # fmt: skip


def test_no_fails_the_task_unless_it_is_to_go_on() -> None:
    desk = asking(form=FORM)
    answer(desk, approved=False)
    error = desk.workflow().tasks["ask"].error
    assert error is not None
    assert (error.name, error.message) == ("APPROVAL_REJECTED", "rejected by Ada: because")
    desk = asking(on_reject="continue")
    answer(desk, approved=False)
    assert result(desk, "ask")["approved"] is False


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["'days' is missing"]),
        (
            {"days": "x", "whi": "y"},
            ["'days' must be a whole number, not 'x'", "'whi' is not asked for (did you mean 'why'?)"],
        ),
        ({"days": 0}, ["'days'", "minimum"]),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_with_all_that_is_wrong(values: Any, words: list[str]) -> None:
    desk = asking(form=FORM)
    answer(desk, **values)
    error = desk.error()
    assert isinstance(error, errors.InvalidParams)
    for word in words:
        assert word in error.message
    assert desk.states() == {"ask": "waiting"}
    answer(desk, days=1)
    assert desk.states() == {"ask": "completed"}


def test_whoever_answers_a_second_time_is_told_who_was_first() -> None:
    desk = asking()
    answer(desk)
    answer(desk)
    assert str(desk.error()) == "task ask of w was approved before by Ada, at 2027-01-15T08:00:00.000Z"
    desk = asking()
    answer(desk, approved=False)
    answer(desk)
    assert "was rejected before by Ada" in str(desk.error())


def test_what_asks_nobody_cannot_be_answered() -> None:
    desk = Desk()
    desk.submit(task("first"), task("ask", "first", method="approval/ask"), workflow_id="w")
    answer(desk)
    assert "does not ask yet: it is pending" in str(desk.error())
    desk.tell(inp.Complete("c", "w", "first", True, raw({})))
    assert "asks for no approval: it is echo/echo, and running" in str(desk.error())
    desk.tell(inp.Cancel("x", "w"))
    answer(desk)
    assert "is cancelled: nobody waits for an answer any more" in str(desk.error())
    answer(desk, workflow_id="nobody")
    assert isinstance(desk.error(), errors.WorkflowNotFound)


def test_each_item_is_asked_for_not_all_of_them() -> None:
    desk = Desk()
    each = task("ask", method="approval/ask", params={"message": "x"}, for_each=ForEach(raw([1, 2])))
    desk.submit(each, workflow_id="w")
    desk.tell(inp.Complete("c", "w", "ask", True, raw({})))
    assert "asks for each of its items: answer ask[0], or another one" in str(desk.error())


def test_an_answer_to_an_earlier_attempt_does_not_count() -> None:
    desk = asking(timeout=5)
    desk.wait(5)
    desk.tell(inp.Retry("r", "w"))
    desk.tell(inp.Complete("c", "w", "ask", True, raw({}), attempt=1))
    assert "asks anew, in attempt 2" in str(desk.error())
    desk.tell(inp.Complete("c", "w", "ask", True, raw({}), attempt=2))
    assert desk.states() == {"ask": "completed"}


@pytest.mark.parametrize(("on_timeout", "state"), [("fail", "failed"), ("reject", "failed"), ("approve", "completed")])
def test_when_nobody_answers_it_is_as_the_task_says_also_after_a_restart(on_timeout: str, state: str) -> None:
    desk = asking(form=FORM, timeout=60, on_timeout=on_timeout).restart()
    desk.wait(60)
    assert desk.states() == {"ask": state}
    if state == "completed":
        assert result(desk, "ask")["values"] == {"why": "-"}


# Why it waits


@pytest.mark.parametrize(
    ("definition", "reason", "words"),
    [
        (wait("t", "timer/sleep", seconds=5), "timer", "sleeps for another 5 s"),
        (wait("t", "timer/until", at="2027-01-15T08:01:00Z"), "timer", "until 2027-01-15T08:01:00.000Z"),
        (wait("t", "signal/wait", name="go"), "signal", "waits for the signal go"),
        (wait("t", "signal/wait_any", names=["a", "b"]), "signal", "the signal a or b"),
        (wait("t", "signal/wait_all", names=["a", "b"]), "signal", "the signals a and b"),
        (wait("t", "approval/ask", message="Ship?"), "approval", "`gz approve w t`): Ship?"),
    ],
)
def test_every_wait_has_a_reason(definition: TaskDefinition, reason: str, words: str) -> None:
    desk = Desk()
    workflow = desk.submit(definition)
    told = explain(desk.engine, workflow, workflow.tasks["t"], desk.now)
    assert (told.reason, told.status) == (reason, "waiting")
    assert words in told.message
