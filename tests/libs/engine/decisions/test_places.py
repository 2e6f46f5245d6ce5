"""Places at foreign providers: no call without one, kept from call to call, given back when they are told or unused."""

from tests.libs.engine.builders import CATALOGUE, METHODS, Desk, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.decisions.places import BEAT_MS
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.replay import replay
from gleitzeit.model.places import Report

URL = "ws://p"


def desk_of(shards: int, capacity: int = 3) -> Desk:
    """A coordinator that has one provider, which is foreign."""
    desk = Desk(providers=())
    desk.engine = Engine(CATALOGUE, Identity("c", 1, "me", shards=shards, epochs=dict.fromkeys(range(shards), 1)))
    desk.tell(inp.ProviderReady("p", "p#1", METHODS, capacity, foreign=URL))
    return desk


def asked(decision: Decision) -> list[tuple[int, int]]:
    """What it says that it holds, and wants."""
    reports = [effect.report for effect in decision.effects if isinstance(effect, fx.AskPlaces)]
    assert all(report.url == URL for report in reports)
    return [(report.holds, report.wants) for report in reports]


def give(desk: Desk, places: int | None) -> Decision:
    return desk.tell(inp.PlacesGiven(URL, places, "ws://keeper"))


def test_alone_nobody_is_asked() -> None:
    desk = desk_of(1)
    workflow = desk.submit(task("a"), task("b"))
    assert asked(desk.last) == []
    assert desk.states(workflow.id) == {"a": "running", "b": "running"}


def test_no_call_without_a_place_and_a_place_serves_one_call_after_the_other() -> None:
    desk = desk_of(8)
    give(desk, 0)
    desk.submit(task("a"), task("b"))
    assert asked(desk.last) == [(0, 2)]
    assert desk.states("w") == {"a": "ready", "b": "ready"}
    assert asked(give(desk, 1)) == [], "one more would be asked for what is known there"
    assert sorted(desk.states("w").values()) == ["ready", "running"]
    first = next(name for name, state in desk.states("w").items() if state == "running")
    desk.complete(first)
    assert asked(desk.last) == []
    assert sorted(desk.states("w").values()) == ["completed", "running"]


def test_it_says_again_and_again_what_it_wants_and_gives_back_what_it_has_not_needed() -> None:
    desk = desk_of(8)
    give(desk, 0)
    desk.submit(task("a"))
    give(desk, 1)
    assert asked(desk.wait(BEAT_MS / 1000)) == [(1, 1)]
    give(desk, 1)
    desk.complete("a")
    assert asked(desk.last) == []
    assert asked(desk.wait(BEAT_MS / 1000)) == [(0, 0)]
    give(desk, 0)
    assert asked(desk.wait(60)) == []


def test_who_is_told_that_it_has_less_starts_nothing_and_says_when_a_call_has_ended() -> None:
    desk = desk_of(8)
    give(desk, 0)
    desk.submit(task("a"), task("b"), task("c"))
    give(desk, 2)
    desk.tell(inp.PlacesWanted(URL))
    assert asked(desk.last) == [(2, 3)]
    give(desk, 1)
    running = [name for name, state in desk.states("w").items() if state == "running"]
    desk.complete(running[0])
    assert asked(desk.last) == [(1, 2)]
    give(desk, 1)
    desk.complete(running[1])
    assert asked(desk.last) == []
    assert sorted(desk.states("w").values()) == ["completed", "completed", "running"]


def test_one_report_is_under_way_at_a_time_and_is_made_again_if_nobody_answers() -> None:
    desk = desk_of(8)
    desk.submit(task("a"))
    assert asked(desk.last) == [], "the first one, of its own coming, is not answered yet"
    assert asked(give(desk, None)) == [(0, 1)]
    assert asked(desk.tell(inp.PlacesWanted(URL))) == []
    assert asked(give(desk, 1)) == [(1, 1)]


def test_of_a_provider_that_it_does_not_know_it_says_that_it_has_nothing() -> None:
    desk = Desk(providers=())
    desk.engine = Engine(CATALOGUE, Identity("c", 1, "me", shards=8))
    wanted = desk.tell(inp.PlacesWanted(URL))
    assert wanted.effects == [fx.AskPlaces(Report(URL, 0, 0, 0))]
    give(desk, 0)
    assert not desk.engine._shares


def test_what_nobody_can_attach_to_is_ended_when_its_workflow_goes_to_another() -> None:
    desk = desk_of(8)
    give(desk, 0)
    desk.submit(task("a"))
    give(desk, 1)
    gone = desk.tell(inp.Disown("gone", lambda workflow_id: workflow_id == "w"))
    assert [type(effect) for effect in gone.effects] == [fx.CancelCall]


def test_what_a_lost_connection_ended_holds_no_more_than_its_places() -> None:
    desk = desk_of(8)
    give(desk, 0)
    desk.submit(task("a"), task("b"))
    give(desk, 2)
    desk.tell(inp.ProviderDown("p#1", gone=True))
    back = desk.tell(inp.ProviderReady("p", "p#2", METHODS, 3, foreign=URL))
    assert sorted(desk.states("w").values()) == ["running", "running"]
    assert asked(back) == [(2, 2)], "what it serves may be otherwise now"


def test_what_was_never_durable_is_never_reported() -> None:
    """Two calls run, one of them is cancelled, and the journal is full: both of them run on."""
    desk = desk_of(8)
    give(desk, 0)
    for name in ("v", "w"):
        desk.submit(task("a"), workflow_id=name)
    give(desk, 2)
    desk.tell(inp.PlacesWanted(URL))
    give(desk, 0)
    before = replay(desk.events["w"])
    ended = desk.call("a")
    dropped = desk.turn((inp.Cancel("cancel", "w"),))
    assert asked(dropped) == [(1, 1)]
    desk.engine.go_back(desk.now, desk.engine.entangled(), [before], [ended])
    del desk.events["w"][before.seq :]
    assert asked(desk.turn()) == [(2, 2)]
