"""`cache`: a question before the call, no call where the answer is known, and nothing kept of failures."""

import pytest
from msgspec import Raw
from tests.libs.engine.builders import Desk, raw, snapshot, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.underway import Lookup
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Alternative, CachePolicy

HOUR = CachePolicy(3600.0)


def lookups(desk: Desk) -> list[Lookup]:
    return [effect.lookup for effect in desk.last.effects if isinstance(effect, fx.LookUp)]


def kept(desk: Desk) -> list[fx.KeepResult]:
    return [effect for effect in desk.last.effects if isinstance(effect, fx.KeepResult)]


def answer(desk: Desk, lookup: Lookup, result: object = None) -> None:
    found = None if result is None else raw(result)
    desk.tell(inp.LookedUp(lookup, found, desk.now - 1000 if found is not None else 0))


def test_a_miss_is_called_for_and_kept_a_hit_is_not_called_for() -> None:
    desk = Desk()
    desk.submit(task("a", cache=HOUR), task("b", "a", params={"message": "${a.x}"}))
    (first,) = lookups(desk)
    assert not desk.engine.calls
    answer(desk, first)
    desk.complete("a", {"x": 1})
    (keep,) = kept(desk)
    assert (keep.key, bytes(keep.result), keep.ttl_seconds) == (first.key, b'{"x":1}', 3600.0)
    desk.submit(task("a", cache=HOUR), task("b", "a", params={"message": "${a.x}"}), workflow_id="w2")
    (second,) = lookups(desk)
    assert second.key == first.key
    answer(desk, second, {"x": 1})
    assert desk.states("w2") == {"a": "completed", "b": "running"}
    event = next(e for e in desk.events["w2"] if isinstance(e, ev.TaskCached))
    assert (event.key, bytes(event.result), event.stored_at) == (first.key, b'{"x":1}', desk.now - 1000)
    assert b'"message":1' in desk.engine.params_of(desk.call("b", "w2"))
    again = replay(desk.events["w2"])
    again.released[:] = desk.workflow("w2").released[:] = []
    assert snapshot(again) == snapshot(desk.workflow("w2"))


def test_a_hit_needs_no_provider() -> None:
    desk = Desk(providers=())
    workflow = desk.submit(task("a", cache=HOUR))
    answer(desk, lookups(desk)[0], 1)
    assert workflow.state == "completed"


def test_who_names_a_provider_has_no_answer_of_another_ones() -> None:
    desk = Desk(providers=())
    keys = []
    for number, provider in enumerate(("", "openai", "anthropic", "openai")):
        named = task("a", cache=HOUR, provider=provider)
        own = task("b", cache=CachePolicy(60.0, "${workflow.name}"), provider=provider)
        desk.submit(named, own, workflow_id=f"w{number}")
        keys.append(tuple(lookup.key for lookup in lookups(desk)))
    assert keys[1] == keys[3]
    assert len({key for pair in keys[:3] for key in pair}) == 6


def test_failures_are_not_kept() -> None:
    desk = Desk()
    desk.submit(task("a", cache=HOUR))
    answer(desk, lookups(desk)[0])
    desk.fail("a")
    assert not kept(desk)


def test_equal_is_the_method_with_the_resolved_params_or_the_key() -> None:
    def key(**more: object) -> str:
        desk = Desk()
        desk.submit(task("a", cache=more.pop("cache", HOUR), **more))  # type: ignore[arg-type]
        return lookups(desk)[0].key

    same = key(params={"a": 1, "b": 2})
    assert key(params={"b": 2, "a": 1}) == same
    assert key(params={"a": 1, "b": 3}) != same
    assert key(params={"a": 1, "b": 2}, method="llm/chat") != same
    named = CachePolicy(60.0, "k ${workflow.name}")
    assert key(params={"a": 1}, cache=named) == key(params={"a": 2}, cache=named) != key(cache=CachePolicy(60.0, "l"))


def test_a_paused_workflow_takes_no_hit() -> None:
    for pause, resume in ((inp.Pause, inp.Resume), (inp.Hold, inp.Resume)):
        desk = Desk()
        workflow = desk.submit(task("a", cache=HOUR))
        (lookup,) = lookups(desk)
        desk.tell(pause("t", "w"))
        answer(desk, lookup, 1)
        assert workflow.tasks["a"].state == "ready"
        desk.tell(resume("t", "w"))
        answer(desk, lookups(desk)[0], 1)
        assert workflow.state == "completed"


@pytest.mark.parametrize("result", [None, 1])
def test_an_answer_that_comes_too_late_changes_nothing(result: object) -> None:
    desk = Desk()
    workflow = desk.submit(task("a", cache=HOUR))
    (lookup,) = lookups(desk)
    desk.tell(inp.Cancel("t", "w"))
    answer(desk, lookup, result)
    assert workflow.state == "cancelled"
    assert not desk.engine.calls


def test_an_alternative_is_looked_up_for_itself() -> None:
    desk = Desk()
    desk.submit(task("a", cache=HOUR, fallback=(Alternative("x", "llm/chat", Raw(b'{"m":1}')),)))
    (own,) = lookups(desk)
    answer(desk, own)
    desk.fail("a", data={"retryable": False})
    (other,) = lookups(desk)
    assert other.key != own.key
    answer(desk, own, 1)  # nobody waits for it any more
    assert desk.states() == {"a": "ready"}
    answer(desk, other, 2)
    assert desk.states() == {"a": "completed"}


def test_a_call_that_runs_over_a_restart_is_kept_too() -> None:
    desk = Desk()
    desk.submit(task("a", cache=HOUR))
    (lookup,) = lookups(desk)
    answer(desk, lookup)
    other = desk.restart()
    other.provider("p#1")
    other.complete("a", 5)
    assert [keep.key for keep in kept(other)] == [lookup.key]


def test_a_lookup_that_a_restart_forgot_is_asked_again() -> None:
    desk = Desk()
    desk.submit(task("a", cache=HOUR))
    other = desk.restart()
    assert len(lookups(other)) == 1
