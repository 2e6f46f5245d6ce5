"""Permits between coordinators: one grant for one wish, durable before it is told, and nothing of that where one is
alone."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.libs.engine.builders import CATALOGUE, NOW, Desk, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.decisions.limits import LOOK_MS
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.replay import replay
from gleitzeit.model.definition import Concurrency, Priority
from gleitzeit.model.permits import Ask, Grant, Held, HeldPermit

LIMIT = "task/k"


def keeper(*, keeps: bool = True) -> Engine:
    """One of several coordinators, which has the key's shard, or not, and none of the workflows."""
    engine = Engine(CATALOGUE, Identity("c", 1, "me", shards=8, epochs={0: 1}))
    engine.owns = lambda stream: keeps and stream.startswith("$limit/")
    return engine


def beside_the_keeper() -> Desk:
    """Of one that has all the workflows, and none of the keys."""
    desk = Desk(providers=())
    desk.engine = Engine(CATALOGUE, Identity("c", 1, "me", shards=8, epochs=dict.fromkeys(range(8), 2)))
    desk.engine.owns = lambda stream: not stream.startswith("$limit/")
    desk.provider("p#1")
    return desk


def wish(holder: str, number: str, *, epoch: int = 1, most: int = 1) -> Ask:
    return Ask(LIMIT, holder, number, most, epoch=epoch)


def take(engine: Engine, ask: Ask, token: str) -> Decision:
    return engine.decide(NOW, [inp.TakePermit(token, ask)])


def told(decision: Decision) -> dict[str, str]:
    return {one.token: type(one.error).__name__ if one.error else one.verdict for one in decision.answers}


def test_who_waits_has_its_turn_in_the_commit_in_which_a_permit_comes_back() -> None:
    engine = keeper()
    assert told(take(engine, wish("a/t/1", "1"), "first")) == {"first": "granted"}
    assert told(take(engine, wish("b/t/1", "2"), "second")) == {}
    back = engine.decide(NOW, [inp.ReturnPermits("back", (HeldPermit(LIMIT, "a/t/1", "1"),))])
    assert told(back) == {"second": "granted", "back": ""}
    assert back.limits == [Held(LIMIT, (Grant("b/t/1", "2", 1),))]


def test_of_those_that_wait_the_most_urgent_is_told_first_and_who_asks_again_keeps_its_place() -> None:
    engine = keeper()
    take(engine, wish("a/t/1", "1"), "first")
    for number, priority in enumerate((1, 2, 2, 4), start=2):
        take(engine, replace(wish(f"{number}/t/1", str(number)), priority=priority), str(number))
    assert told(take(engine, wish("3/t/1", "3"), "3 again")) == {"3": "ShardElsewhere"}
    holder, order = ("a/t/1", "1"), []
    while holder is not None:
        back = engine.decide(NOW, [inp.ReturnPermits(None, (HeldPermit(LIMIT, *holder),))])
        order += told(back)
        holder = next(((grant.holder, grant.ask) for held in back.limits for grant in held.grants), None)
    assert order == ["5", "3 again", "4", "2"]


def test_what_is_more_urgent_than_what_another_is_asked_for_is_asked_for_beside_it() -> None:
    desk = beside_the_keeper()
    limit = Concurrency("k", 2)

    def asked(name: str, priority: Priority) -> list[str]:
        desk.submit(task("a", concurrency=limit, priority=priority), workflow_id=name)
        return [one.permit.workflow.id for one in desk.last.effects if isinstance(one, fx.AskPermit)]

    assert [asked(f"low{n}", Priority.LOW) for n in range(3)] == [["low0"], ["low1"], []]
    assert [asked(f"high{n}", Priority.HIGH) for n in range(3)] == [["high0"], ["high1"], []]
    assert asked("normal", Priority.NORMAL) == []
    permit = next(one for one in desk.engine._asked["task/k"] if one.workflow.id == "high0")
    desk.tell(inp.PermitAnswered(permit, "granted"))
    assert desk.states("high0") == {"a": "running"}
    assert [one.permit.workflow.id for one in desk.last.effects if isinstance(one, fx.AskPermit)] == ["high2"]


@pytest.mark.parametrize("was_under_way", [False, True])
@pytest.mark.parametrize(("on_conflict", "verdict"), [("fail", "reached"), ("cancel_running", "replaced")])
def test_who_is_turned_away_after_it_was_cancelled_ends_as_it_would_have(
    on_conflict: Any, verdict: str, was_under_way: bool
) -> None:
    desk = beside_the_keeper()
    limit = Concurrency("k", 1, on_conflict)
    desk.submit(task("a"), task("last", trigger="always", late=True), concurrency=limit)
    if was_under_way:
        (permit,) = (one.permit for one in desk.last.effects if isinstance(one, fx.AskPermit))
        desk.tell(inp.PermitAnswered(permit, "granted"))
        before, desk = desk, beside_the_keeper()
        desk.events = before.events
        desk.engine.adopt(desk.now, replay(desk.events["w"]))
        desk.tell()
    (permit,) = (one.permit for one in desk.last.effects if isinstance(one, fx.AskPermit))
    desk.tell(inp.Cancel("cancel", "w"))
    desk.tell(inp.PermitAnswered(permit, verdict))
    assert desk.states() == {"a": "cancelled", "last": "running"}
    desk.complete("last")
    assert desk.workflow().state == "cancelled"


def test_who_is_cancelled_while_it_waits_for_a_permit_of_another_coordinators_gives_its_wish_back() -> None:
    desk = beside_the_keeper()
    desk.submit(task("a"), task("last", trigger="always", late=True), concurrency=Concurrency("k", 1, "queue"))
    (permit,) = (one.permit for one in desk.last.effects if isinstance(one, fx.AskPermit))
    desk.tell(inp.Cancel("cancel", "w"))
    assert [one.permit.holder for one in desk.last.effects if isinstance(one, fx.ReturnPermit)] == [permit.ask.holder]
    assert desk.states() == {"a": "cancelled", "last": "running"}


def test_what_is_said_of_an_earlier_wish_frees_nothing() -> None:
    engine = keeper()
    take(engine, wish("a/t/1", "1"), "first")
    assert told(take(engine, wish("a/t/1", "2"), "again")) == {"again": "granted"}
    late = engine.decide(NOW, [inp.ReturnPermits("late", (HeldPermit(LIMIT, "a/t/1", "1"),))])
    gone = engine.decide(NOW, [inp.PermitsGone((HeldPermit(LIMIT, "a/t/1", "1", epoch=9),))])
    assert (late.limits, gone.limits) == ([], [])
    assert told(take(engine, wish("b/t/1", "3"), "other")) == {}


def test_who_had_the_workflow_before_is_not_heard_any_more() -> None:
    engine = keeper()
    take(engine, wish("a/t/1", "1", epoch=2), "heir")
    assert told(take(engine, wish("a/t/1", "2", epoch=1), "deposed")) == {"deposed": "outdated"}
    engine.decide(NOW, [inp.PermitsGone((HeldPermit(LIMIT, "a/t/1", "1", epoch=1),))])
    assert told(take(engine, wish("b/t/1", "3"), "other")) == {}


def test_what_was_granted_is_known_where_the_shard_goes_and_asked_after() -> None:
    engine = keeper()
    engine.decide(NOW, [inp.Adopt("adopt", (), (Held(LIMIT, (Grant("a/t/1", "1", 1),)),))])
    assert told(take(engine, wish("b/t/1", "2"), "other")) == {}
    looked = engine.decide(NOW + LOOK_MS, [])
    assert looked.effects == [fx.AskAfterPermits((HeldPermit(LIMIT, "a/t/1", "1", 1),))]
    gone = engine.decide(NOW + LOOK_MS, [inp.PermitsGone((HeldPermit(LIMIT, "a/t/1", "1", 1),))])
    assert told(gone) == {"other": "granted"}


def test_a_key_of_another_is_not_ours_to_give() -> None:
    assert told(take(keeper(keeps=False), wish("a/t/1", "1"), "asked")) == {"asked": "ShardElsewhere"}


def test_alone_a_coordinator_writes_and_asks_nothing() -> None:
    desk = Desk()
    limit = Concurrency("k", 1)
    for name in ("one", "two"):
        desk.submit(task("a", concurrency=limit), workflow_id=name, concurrency=limit)
        assert not desk.last.limits
    desk.complete("a", workflow_id="one")
    assert desk.states("two") == {"a": "running"}
    assert not desk.last.limits
    assert not any(isinstance(e, fx.AskPermit | fx.ReturnPermit | fx.AskAfterPermits) for e in desk.last.effects)


def test_a_permit_that_its_turn_finds_paused_goes_to_the_next() -> None:
    desk = Desk()
    limit = Concurrency("k", 1)
    for name in ("one", "two", "three"):
        desk.submit(task("a", concurrency=limit), workflow_id=name)
    desk.tell(inp.Pause("p", "two"))
    desk.complete("a", workflow_id="one")
    assert [desk.states(name)["a"] for name in ("two", "three")] == ["ready", "ready"]
    desk.wait(3)
    assert [desk.states(name)["a"] for name in ("two", "three")] == ["ready", "running"]
    desk.tell(inp.Resume("r", "two"))
    desk.complete("a", workflow_id="three")
    assert desk.states("two")["a"] == "running"


def test_one_that_ends_before_it_uses_its_permit_leaves_it_to_the_next() -> None:
    desk = Desk()
    limit = Concurrency("k", 1)
    for name in ("one", "two", "three"):
        desk.submit(task("a", concurrency=limit), workflow_id=name)
    desk.tell(inp.Hold("h", "two"))
    desk.complete("a", workflow_id="one")
    desk.tell(inp.Cancel("c", "two"))
    assert desk.states("three")["a"] == "running"


def test_one_elsewhere_that_a_newer_one_replaces_is_told_so_as_often_as_it_asks() -> None:
    engine = keeper()
    take(engine, wish("a/t/1", "1"), "first")
    second, third = (Ask(LIMIT, f"{name}/t/1", name, 1, "cancel_running", 1) for name in "bc")
    asked = take(engine, second, "second")
    assert [type(effect) for effect in asked.effects] == [fx.AskAfterPermits]
    assert told(take(engine, third, "third")) == {"second": "replaced"}
    assert told(take(engine, second, "again")) == {"again": "replaced"}
    back = engine.decide(NOW, [inp.ReturnPermits("back", (HeldPermit(LIMIT, "a/t/1", "1"),))])
    assert told(back) == {"third": "granted", "back": ""}


def test_what_was_granted_to_an_earlier_wish_is_not_held_by_one_who_waits() -> None:
    """One that had the workflow before was granted it and died; the heir wishes for the same, behind another task."""
    desk = beside_the_keeper()
    limit = Concurrency("k", 1)
    desk.submit(task("first", concurrency=limit), task("second", concurrency=limit))
    (asked,) = [one.permit.ask for one in desk.last.effects if isinstance(one, fx.AskPermit)]
    before, mine = HeldPermit(LIMIT, "w/second/1", "heirs.1"), HeldPermit(LIMIT, asked.holder, asked.id)
    (answer,) = desk.tell(inp.CheckPermits("check", (before, mine))).answers
    assert answer.permits == (HeldPermit(LIMIT, "w/second/1", "heirs.1", 2),)
