"""The law of those who wait for a permit of a key, seen where the permits are kept.

25. Of those who wait the most urgent has its turn first; only who takes the place of another goes before.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gleitzeit.engine.engine import Engine
from gleitzeit.engine.scheduling.permits import Limit
from gleitzeit.model.permits import parts_of

if TYPE_CHECKING:
    from tests.simulation.laws import Durable


class Breach(Exception):
    def __init__(self, law: int, what: str) -> None:
        super().__init__(what)
        self.law = law


class PermitLaws:
    def __init__(self, durable: Mapping[str, "Durable"], counts: dict[str, int]) -> None:
        self._durable = durable
        self._counts = counts
        self._waited: dict[tuple[Engine, str], dict[str, str]] = {}
        """Who has waited when a coordinator wrote last, by coordinator and limit: the holder, and its wish."""

    def committed(self, engine: Engine) -> None:
        for limit in engine._limits.values():
            before = self._waited.get((engine, limit.name), {})
            if before:
                self._most_urgent_first(limit, before)
            queued = [one.ask for one in limit.waiting if one.ask.on_conflict == "queue"]
            self._waited[engine, limit.name] = {ask.holder: ask.id for ask in queued}

    def _most_urgent_first(self, limit: Limit, before: dict[str, str]) -> None:
        left = [one.ask for one in limit.waiting if before.get(one.ask.holder) == one.ask.id]
        most = max((self._priority(ask.holder) for ask in left), default=0)
        for grant in limit.grants.values():
            if before.get(grant.holder) == grant.ask:
                self._counts["handed"] += 1
                if self._priority(grant.holder) < most:
                    names = [ask.holder for ask in left]
                    raise Breach(25, f"{grant.holder} has its turn at {limit.name} before what is more urgent: {names}")

    def _priority(self, holder: str) -> int:
        workflow_id, task = parts_of(holder)
        definition = self._durable[workflow_id].definition
        return definition.priority if not task else self._durable[workflow_id].tasks[task].definition.priority
