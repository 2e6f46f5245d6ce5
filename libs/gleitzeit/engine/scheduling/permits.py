"""Permits of keys, as their keeper has them: who holds one, and who waits for one."""

from typing import Any

from gleitzeit.engine.scheduling.turns import Turns
from gleitzeit.model.definition import Priority
from gleitzeit.model.permits import Ask, Grant, Held

MOST_REPLACED = 1_000
FIRST = max(Priority) + 1
"""The rank of those that have their turn before all that wait by priority."""


def rank_of(ask: Ask) -> int:
    """Those that take the place of others are before those that do not; among them the newest are left."""
    return FIRST if ask.on_conflict == "cancel_running" else ask.priority


class Waiting:
    """One that waits. `whom` is the Permit if it is ours, else the token of another coordinator's request, which has to
    ask again before `until` (UTC milliseconds), or is gone."""

    __slots__ = ("ask", "until", "whom")

    def __init__(self, ask: Ask, whom: Any, until: int | None) -> None:
        self.ask = ask
        self.whom = whom
        self.until = until


class Limit:
    """A key and its permits."""

    __slots__ = ("grants", "leaving", "name", "replaced", "waiting")

    def __init__(self, held: Held) -> None:
        self.name = held.limit
        self.grants = {grant.holder: grant for grant in held.grants}
        """Longest first."""
        self.waiting = Turns[str, Waiting]()
        """By holder."""
        self.leaving: dict[str, str] = {}
        """Holders that have to make room, and why."""
        self.replaced: dict[str, None] = {}
        """Wishes of other coordinators in whose place there is a newer one, the latest of them: whoever has not heard
        so asks again, and is not newer for that."""

    def held(self) -> Held:
        return Held(self.name, tuple(self.grants.values()))

    def free(self, most: int) -> bool:
        return len(self.grants) < most

    def grant(self, ask: Ask) -> None:
        """One that asks again keeps its place."""
        self.grants[ask.holder] = Grant(ask.holder, ask.id, ask.epoch)
        self.waiting.pop(ask.holder)

    def leave(self, holder: str) -> None:
        del self.grants[holder]
        self.leaving.pop(holder, None)

    def wait(self, waiting: Waiting) -> None:
        """One that asks again keeps its place."""
        self.waiting.put(waiting.ask.holder, waiting, rank_of(waiting.ask))

    def too_many(self, most: int) -> list[str]:
        """Those that have to go, of them that stay and them that take the place of others: the newest are left."""
        wanted = [holder for holder in self.grants if holder not in self.leaving]
        wanted += [waiting.ask.holder for waiting in self.waiting if waiting.ask.on_conflict == "cancel_running"]
        return wanted[: max(0, len(wanted) - most)]

    def replace(self, waiting: Waiting) -> None:
        """It waits no more."""
        self.waiting.pop(waiting.ask.holder)
        self.replaced[waiting.ask.id] = None
        if len(self.replaced) > MOST_REPLACED:
            del self.replaced[next(iter(self.replaced))]

    def following(self) -> Waiting | None:
        """Who waits first, if there is a permit for it; it waits no more."""
        first = self.waiting.first()
        return self.waiting.pop(first.ask.holder) if first is not None and self.free(first.ask.most) else None
