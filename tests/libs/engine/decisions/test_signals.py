"""Signals of tasks between coordinators: whom they are for is asked of all, and the task ends when all have it."""

import msgspec
import pytest
from tests.libs.engine.builders import CATALOGUE, Desk, raw, task

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.explain import explain
from gleitzeit.engine.state.replay import replay
from gleitzeit.model.targets import Target

KEY = "s/send/1"
THERE = Target("there", "there", "running")


def shared(*here: str) -> Desk:
    """One of several coordinators, which has these workflows: they wait for the signal."""
    desk = Desk(providers=())
    desk.engine = Engine(CATALOGUE, Identity("c", 1, "me", shards=8, epochs=dict.fromkeys(range(8), 1)))
    for name in here:
        desk.submit(task("w8", method="signal/wait", params={"name": "go"}), workflow_id=name)
    return desk


def send(desk: Desk, *targets: str) -> None:
    """To these, or to all that wait for it."""
    method, whom = ("signal/send", {"target_workflows": targets}) if targets else ("signal/broadcast", {})
    params = {"name": "go", "payload": 7, **whom}
    desk.submit(task("send", method=method, params=params), workflow_id="s")


def found(desk: Desk, *targets: Target) -> None:
    search = next(one.search for one in desk.last.effects if isinstance(one, fx.FindTargets))
    desk.tell(inp.TargetsFound(search, targets))


def sends(desk: Desk) -> list[fx.SendSignal]:
    return [one for one in desk.last.effects if isinstance(one, fx.SendSignal)]


def came_to(desk: Desk) -> object:
    """The result of the task, or the message of its error."""
    sender = desk.workflow("s").tasks["send"]
    if sender.error is not None:
        return sender.error.message
    return msgspec.json.decode(sender.result)["workflows"] if sender.result is not None else sender.state


def test_the_task_ends_when_those_elsewhere_have_it_and_those_here_have_it_at_once() -> None:
    desk = shared("here")
    send(desk, "here", "there")
    assert came_to(desk) == "ready"
    found(desk, Target("here", "here", "running"), THERE)
    (effect,) = sends(desk)
    assert (effect.targets, effect.sending.signal.idempotency_key) == (("there",), KEY)
    assert (came_to(desk), desk.workflow("here").state) == ("waiting", "completed")
    sender = desk.workflow("s")
    assert explain(desk.engine, sender, sender.tasks["send"], desk.now).reason == "sending"
    desk.tell(inp.SignalSent(effect.sending, "there"))
    assert came_to(desk) == ["here", "there"]


def test_nobody_is_asked_for_ids_that_are_here() -> None:
    desk = shared("here")
    send(desk, "here")
    assert came_to(desk) == ["here"]


def test_after_a_restart_it_is_sent_to_all_again_and_who_has_it_takes_it_once() -> None:
    desk = shared("here")
    send(desk, "here", "there")
    found(desk, Target("here", "here", "running"), THERE)
    heir = shared()
    heir.now = desk.now
    workflows = tuple(replay(desk.events[name]) for name in ("here", "s"))
    heir.events = desk.events
    heir.tell(inp.Adopt("adopt", workflows))
    (effect,) = sends(heir)
    assert (effect.targets, effect.sending.signal.idempotency_key) == (("here", "there"), KEY)
    before = list(heir.events["here"])
    heir.tell(inp.Signal("again", "here", "go", raw(7), "s", KEY))  # it has ended since
    assert heir.last.answers[-1].error is None
    assert heir.events["here"] == before
    for target in effect.targets:
        heir.tell(inp.SignalSent(effect.sending, target))
    assert came_to(heir) == ["here", "there"]
    assert heir.workflow("s").state == "completed"


def test_what_is_said_twice_is_received_once_and_without_a_key_twice() -> None:
    desk = shared()
    desk.submit(task("later", method="approval/ask"))
    for key in ("k", "k", "", ""):
        desk.tell(inp.Signal("s", "w", "go", raw(1), "s", key))
    assert len(desk.workflow().signals) == 3


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ([], "no workflow 'there' is under way"),
        ([Target("there", "there", "completed")], "workflow there is completed: it takes no signals any more"),
        ([Target("there", "a", "running"), Target("there", "b", "running")], "2 workflows called 'there' are under"),
    ],
)
def test_errors_are_those_of_one_coordinator_and_nobody_gets_it(known: list[Target], message: str) -> None:
    desk = shared("here")
    send(desk, "here", "there")
    found(desk, Target("here", "here", "running"), *known)
    assert message in str(came_to(desk))
    assert not desk.workflow("here").final


def test_who_ends_before_it_comes_is_an_error_for_a_send_and_none_for_a_broadcast() -> None:
    gone = errors.InvalidState("workflow there is completed: it takes no signals any more")
    for targets, result in ((("there",), gone.message), ((), ["other"])):
        desk = shared()
        send(desk, *targets)
        text = "there" if targets else ""
        others = [] if targets else [Target("", "other", "running")]
        found(desk, Target(text, "there", "running"), *others)
        (effect,) = sends(desk)
        desk.tell(inp.SignalSent(effect.sending, "there", gone))
        for other in others:
            desk.tell(inp.SignalSent(effect.sending, other.workflow_id))
        assert came_to(desk) == result


def test_an_answer_that_comes_after_the_end_counts_for_nothing() -> None:
    desk = shared()
    send(desk, "there")
    search = next(one.search for one in desk.last.effects if isinstance(one, fx.FindTargets))
    desk.tell(inp.TargetsFound(search, (THERE,)))
    (effect,) = sends(desk)
    desk.tell(inp.Cancel("c", "s"))
    desk.tell(inp.SignalSent(effect.sending, "there"), inp.TargetsFound(search, (THERE,)))
    assert desk.workflow("s").state == "cancelled"
    assert not sends(desk)
