"""Planted bugs in what the clock starts, and in the clock itself."""

from tests.simulation.mutants import OF_TWO, Patch, mutant

from gleitzeit.engine import engine as engine_module
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.schedule import Schedule
from gz_coordinator.clock import Clock
from gz_coordinator.service import Service
from gz_coordinator.streams import recovery

OF_TWO |= {"goes_on_with_schedules_that_it_gave_away", "forgets_schedules_when_it_takes_over"}


@mutant
def forgets_that_its_clock_is_behind() -> list[Patch]:
    return [(Clock, "not_before", lambda self, at: None)]


async def _adopts_none(service: Service, warnings: list[str]) -> None:
    """What the clock is to start is not read."""


@mutant
def forgets_schedules_at_restart() -> list[Patch]:
    return [(recovery, "_adopt_schedules", _adopts_none)]


@mutant
def forgets_schedules_when_it_takes_over() -> list[Patch]:
    return [(recovery, "_adopt_schedules", _adopts_none)]


@mutant
def fires_again_after_a_restart() -> list[Patch]:
    adopt = Engine.adopt_schedule

    def forgetful(self: Engine, now: int, schedule: Schedule) -> None:
        schedule.decided -= round(schedule.definition.every_seconds * 1000)
        adopt(self, now, schedule)

    return [(Engine, "adopt_schedule", forgetful)]


@mutant
def fires_schedules_early() -> list[Patch]:
    def at_once(self: Engine, schedule: Schedule, due: int) -> None:
        if schedule.next_due() == due and self.schedules.get(schedule.name) is schedule:
            self._fire(schedule, due, "due")
            self._arm_schedule(schedule)

    def arm(self: Engine, schedule: Schedule) -> None:
        due = schedule.next_due()
        if due is not None:
            self._at(due - 400, self._schedule_due, schedule, due)

    return [(Engine, "_schedule_due", at_once), (Engine, "_arm_schedule", arm)]


@mutant
def fires_schedules_that_are_paused() -> list[Patch]:
    def next_due(self: Schedule) -> int | None:
        return None if self.deleted else next(self.due_after(self.decided), None)

    return [(Schedule, "next_due", next_due)]


@mutant
def starts_beside_what_is_under_way() -> list[Patch]:
    return [(Engine, "under_way", lambda self, schedule: [])]


@mutant
def goes_on_with_schedules_that_it_gave_away() -> list[Patch]:
    def keep(self: Engine, item: inp.Disown) -> None:
        kept = dict(self.schedules)
        Engine._disown(self, item)
        self.schedules.update(kept)

    return [(engine_module, "_ON", {**engine_module._ON, inp.Disown: keep})]
