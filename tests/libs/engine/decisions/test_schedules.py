"""Schedules: each time once, whatever crashes, sleeps or jumps; what they do when the one before is not done."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.libs.engine.builders import NOW, Desk, definition, raw, task

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.schedules import scheduled_id
from gleitzeit.engine.state.replay import replay as replay_workflow
from gleitzeit.engine.state.schedule import Schedule, replay
from gleitzeit.model import schedules as sc

MINUTE = 60_000
HOUR = 60 * MINUTE


def plan(**more: Any) -> sc.ScheduleDefinition:
    """Every hour, of a workflow with one task."""
    more.setdefault("every_seconds", 0.0 if "cron" in more else 3600.0)
    return sc.ScheduleDefinition("s", definition(task("a")), start=NOW, **more)


class Clockwork(Desk):
    """A desk that keeps the streams of schedules too."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.facts: dict[str, list[sc.AnyScheduleFact]] = {}
        super().__init__(*arguments, **more)

    def turn(self, inputs: Any = ()) -> Any:
        decision = super().turn(inputs)
        for append in decision.schedules.values():
            stream = self.facts.setdefault(append.schedule.name, [])
            assert append.seq == len(stream) + 1
            stream.extend(append.facts)
        return decision

    def put(self, what: sc.ScheduleDefinition, **more: Any) -> Schedule:
        self.tell(inp.PutSchedule("put", what, **more))
        return self.engine.schedules[what.name]

    def change(self, what: Any) -> None:
        self.tell(inp.ChangeSchedule("change", "s", what))

    def until(self, at: int) -> None:
        """Let time pass as a loop does: from one thing that is due to the next."""
        while (due := self.engine.due_at()) is not None and due <= at:
            self.now = max(self.now, due)
            self.tell()
        self.now = max(self.now, at)
        self.tell()

    def fired(self) -> list[int]:
        """The times for which a workflow was started, in minutes from NOW."""
        return [(f.due - NOW) // MINUTE for f in self.facts.get("s", []) if isinstance(f, sc.ScheduleFired)]

    def finish(self) -> None:
        for call in list(self.engine.calls.values()):
            self.tell(inp.CallCompleted(call, raw(1)))

    def crash(self, down_ms: int = 0) -> "Clockwork":
        """Another engine after a while, from the streams alone."""
        other = Clockwork(providers=(), lease_seconds=self.identity.lease_seconds)
        other.now, other.events, other.facts = self.now + down_ms, self.events, self.facts
        for stream in self.events.values():
            other.engine.adopt(other.now, replay_workflow(stream))
        for stream in self.facts.values():
            schedule = replay(stream)
            if not schedule.deleted:
                at = schedule.checkpoint()
                assert at == Schedule(schedule.definition, at).checkpoint()
                other.engine.adopt_schedule(other.now, Schedule(schedule.definition, at))
        other.tell()
        other.provider("p#1")
        return other


def test_each_time_once_and_never_early_in_one_commit_with_its_workflow() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="allow"))
    desk.until(NOW + HOUR - 1)
    assert desk.fired() == []
    desk.now += 1
    decision = desk.tell()
    workflow_id = scheduled_id("s", NOW + HOUR)
    assert list(decision.appends) == [workflow_id]
    assert list(decision.schedules) == ["s"]
    origin = desk.workflow(workflow_id).submitted.origin
    assert origin is not None
    assert (origin.schedule, origin.due) == ("s", NOW + HOUR)
    desk.until(NOW + 3 * HOUR)
    assert desk.fired() == [60, 120, 180]


@pytest.mark.parametrize(
    ("catch_up", "limit", "expected"),
    [("none", 100, []), ("one", 100, [600]), ("all", 100, list(range(60, 601, 60))), ("all", 3, [480, 540, 600])],
)
def test_what_was_missed_is_made_up_for_as_the_policy_says(catch_up: Any, limit: int, expected: list[int]) -> None:
    desk = Clockwork()
    desk.put(plan(overlap="allow", catch_up=catch_up, catch_up_limit=limit))
    desk = desk.crash(10 * HOUR + 30 * MINUTE)
    assert desk.fired() == expected
    desk.until(NOW + 11 * HOUR)
    assert desk.fired() == [*expected, 660]


def test_a_clock_that_is_set_forward_is_followed_at_once_and_back_is_waited_for() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="allow"))
    desk.until(NOW + MINUTE)
    desk.engine.ahead_ms = 90 * MINUTE
    assert desk.engine.due_at() == NOW - 30 * MINUTE, "what is due has been for so long"
    desk.tell()
    assert desk.fired() == [60]
    assert desk.engine.due_at() == NOW + 30 * MINUTE
    desk.put(replace(plan(), name="new"))
    assert desk.engine.schedules["new"].decided == desk.now + 90 * MINUTE, "it was not there before"
    desk.engine.ahead_ms = 0
    desk.until(NOW + 119 * MINUTE)
    assert desk.fired() == [60]
    desk.until(NOW + 3 * HOUR)
    assert desk.fired() == [60, 120, 180], "no time twice"


def test_a_little_late_is_not_missed() -> None:
    desk = Clockwork()
    desk.put(plan(catch_up="none"))
    desk = desk.crash(HOUR + 30_000)
    assert desk.fired() == [60]


def test_years_of_missed_minutes_are_no_work() -> None:
    desk = Clockwork()
    desk.put(plan(cron="* * * * *", overlap="allow"))
    desk = desk.crash(3 * 365 * 24 * HOUR)
    assert len(desk.fired()) <= 2


def test_overlap_skip_leaves_out() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="skip"))
    desk.until(NOW + 2 * HOUR)
    assert desk.fired() == [60]
    desk.finish()
    desk.until(NOW + 3 * HOUR)
    assert desk.fired() == [60, 180]


def test_overlap_queue_waits_and_survives_a_crash() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="queue"))
    desk.until(NOW + 3 * HOUR)
    assert desk.fired() == [60]
    desk = desk.crash()
    desk.until(NOW + 3 * HOUR)
    for expected in ([60, 120], [60, 120, 180], [60, 120, 180]):
        desk.now += 20_000  # the lease is over: its provider is another one now
        desk.tell()
        desk.until(desk.now + 60_000)
        desk.finish()
        assert desk.fired() == expected


def test_overlap_cancel_running_ends_the_one_before() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="cancel_running"))
    desk.until(NOW + 2 * HOUR)
    assert desk.fired() == [60, 120]
    assert desk.workflow(scheduled_id("s", NOW + HOUR)).state == "cancelled"
    assert desk.workflow(scheduled_id("s", NOW + 2 * HOUR)).state == "running"


def test_what_ends_already_is_not_cut_short_by_the_next_one() -> None:
    desk = Clockwork()
    at_the_end = definition(task("a"), task("last", trigger="always", late=True))
    desk.put(replace(plan(overlap="cancel_running"), definition=at_the_end))
    desk.until(NOW + 3 * HOUR)
    assert desk.fired() == [60, 120, 180]
    for hour in (1, 2):
        assert desk.states(scheduled_id("s", NOW + hour * HOUR)) == {"a": "cancelled", "last": "running"}
    desk.finish()
    assert desk.workflow(scheduled_id("s", NOW + HOUR)).state == "cancelled"


def test_a_pause_leaves_out_what_passes() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="allow"))
    desk.change("pause")
    desk.until(NOW + 2 * HOUR)
    desk = desk.crash()
    desk.change("resume")
    desk.until(NOW + 3 * HOUR)
    assert desk.fired() == [180]


def test_what_is_deleted_and_made_again_does_not_fire_a_time_twice() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="allow"))
    desk.until(NOW + HOUR)
    at = desk.engine.schedules["s"]
    desk.change("delete")
    assert "s" not in desk.engine.schedules
    desk.put(plan(overlap="allow"), before=at.checkpoint())
    desk.until(NOW + 2 * HOUR)
    assert desk.fired() == [60, 120]


def test_a_change_begins_with_what_follows() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="allow"))
    desk.until(NOW + HOUR)
    desk.put(plan(overlap="allow", every_seconds=1800.0))
    desk.until(NOW + 2 * HOUR)
    assert desk.fired() == [60, 90, 120]


def test_by_hand_at_once_also_while_it_is_paused() -> None:
    desk = Clockwork()
    desk.put(plan(), paused=True)
    desk.tell(inp.Trigger("t", "s", "wf-1"))
    assert desk.workflow("wf-1").state == "running"
    assert desk.facts["s"][-1] == sc.ScheduleFired(NOW, 0, "wf-1", "triggered")


def test_by_hand_with_a_key_once() -> None:
    desk = Clockwork()
    desk.put(plan())
    desk.tell(inp.Trigger("t", "s", "wf-k", known_is_fine=True))
    desk.tell(inp.Trigger("t", "s", "wf-k", known_is_fine=True))
    [answer] = desk.last.answers
    assert (answer.created, answer.workflow) == (False, desk.workflow("wf-k"))
    assert desk.facts["s"].count(sc.ScheduleFired(NOW, 0, "wf-k", "triggered")) == 1


def test_backfill_is_one_after_the_other_and_never_twice() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="skip"))
    dues = tuple(NOW - n * HOUR for n in (3, 2, 1))
    for _ in range(2):
        desk.tell(inp.Backfill("b", "s", dues))
    assert desk.fired() == [-180]
    for expected in ([-180, -120], [-180, -120, -60], [-180, -120, -60]):
        desk.finish()
        assert desk.fired() == expected


def test_an_unknown_one_is_told_with_the_near_name() -> None:
    desk = Clockwork()
    desk.put(replace(plan(), name="nightly"))
    desk.tell(inp.ChangeSchedule("c", "nigtly", "pause"))
    error = desk.error()
    assert isinstance(error, errors.ScheduleNotFound)
    assert error.message == "there is no schedule 'nigtly' (did you mean 'nightly'?)"


HAPPENINGS = ["pass", "crash", "jump", "back", "finish"]


@settings(max_examples=60, deadline=timedelta(seconds=5))
@given(
    st.sampled_from(["*/10 * * * *", "0 * * * *", "30 2 * * *", "15 */5 * * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(["skip", "queue", "cancel_running", "allow"]),
    st.sampled_from(["none", "one", "all"]),
    st.lists(
        st.tuples(st.sampled_from(["pass", "crash", "jump", "back", "finish"]), st.integers(1, 30 * HOUR)), max_size=10
    ),
    st.sampled_from([NOW, 1_806_192_000_000, 1_793_491_200_000]),
)
def test_no_time_is_fired_twice_whatever_happens(
    cron: str, zone: str, overlap: Any, catch_up: Any, course: list[tuple[str, int]], begin: int
) -> None:
    """Time passes, processes die and come back later, clocks jump ahead and back (two of the beginnings are just before
    a daylight-saving change): each time of the schedule is decided about at most once, in order, none early."""
    desk = Clockwork()
    desk.now = begin
    desk.put(
        replace(plan(cron=cron, timezone=zone, overlap=overlap, catch_up=catch_up, catch_up_limit=20), start=begin)
    )
    for what, span in course:
        match what:
            case "pass":
                desk.until(desk.now + span)
            case "crash":
                desk = desk.crash(span)
            case "jump":
                desk.now += span
                desk.tell()
            case "back":
                desk.engine.decide(desk.now - span, ())  # a clock that was set back: the engine's does not follow
            case "finish":
                desk.finish()
    fired = [fact for fact in desk.facts["s"] if isinstance(fact, sc.ScheduleFired)]
    dues = [fact.due for fact in fired]
    assert len(set(dues)) == len(dues)
    assert all(fact.due <= fact.at for fact in fired)
    assert [f.due for f in fired if f.cause in ("due", "late")] == sorted(
        f.due for f in fired if f.cause in ("due", "late")
    )
    assert {fact.workflow_id for fact in fired} == set(desk.events)
    schedule = replay(desk.facts["s"])
    assert schedule.checkpoint() == desk.engine.schedules["s"].checkpoint()
    if overlap != "allow":
        assert sum(not desk.workflow(fact.workflow_id).final for fact in fired) <= 1


def test_a_time_that_waits_is_started_if_the_workflow_before_it_ended_while_this_was_read() -> None:
    desk = Clockwork()
    desk.put(plan(overlap="queue"))
    desk.until(NOW + 2 * HOUR)
    assert desk.fired() == [60]
    schedule = desk.engine.schedules.pop("s")  # another coordinator had it, and its stream has not been read yet
    desk.finish()
    assert desk.fired() == [60]
    desk.engine.adopt_schedule(desk.now, Schedule(schedule.definition, schedule.checkpoint()))
    desk.tell()
    assert desk.fired() == [60, 120]
