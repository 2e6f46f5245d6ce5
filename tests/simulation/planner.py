"""A client with a schedule: it makes it, changes, pauses, triggers, deletes it, and sees in the end that it goes on."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from tests.simulation.client import LATER, Client
from tests.simulation.laws import broken

from gleitzeit import errors
from gleitzeit.model.definition import Definition, RetryPolicy, TaskDefinition

if TYPE_CHECKING:
    from tests.simulation.world import World


class Planner(Client):
    def __init__(self, world: "World", name: str, random: Random) -> None:
        super().__init__(world, name, planned(random), partial(planned, random), random)
        self._may_vanish = False
        """A try to delete the schedule was not answered: it may be carried out at any later time."""

    async def _live(self) -> None:
        await asyncio.sleep(self.random.uniform(0, self.world.rates.storm / 3))
        await self._put(self.definition)
        while self.world.faulty:
            await asyncio.sleep(self.random.uniform(0.5, 5))
            await self._meddle()
        await self._see_it_go_on()
        await self._delete()
        self.finished = True

    async def _put(self, definition: Definition) -> None:
        random = self.random
        await self._insist(
            "schedule.put",
            name=self.name,
            definition=definition,
            every=random.choice([2, 5, 15]),
            overlap=random.choice(["skip", "queue", "allow", "cancel_running"]),
            catch_up=random.choice(["none", "one", "all"]),
            catch_up_limit=3,
        )

    async def _meddle(self) -> None:
        chance = self.random.random()
        if chance < 0.1:
            await self._try("schedule.pause")
        elif chance < 0.3:
            await self._try("schedule.resume")
        elif chance < 0.4:
            await self._try("schedule.trigger")
        elif chance < 0.45:
            await self._put(self.other())
        elif chance < 0.5:
            await self._delete()
            await self._put(self.definition)

    async def _try(self, method: str) -> None:
        with contextlib.suppress(*LATER):
            await self._there(self._ask, method)

    async def _delete(self) -> None:
        """Until it is known to be gone."""
        while True:
            try:
                await self._there(self._ask, "schedule.delete")
            except LATER:
                self._may_vanish = True
                await asyncio.sleep(self.random.uniform(0.1, 2.0))
            else:
                return

    async def _see_it_go_on(self) -> None:
        """Law 26: it is there, and fires."""
        before = await self._fired()
        fired = before
        while fired <= before:
            fired = await self._fired()
            await asyncio.sleep(self.random.uniform(1, 4))

    async def _fired(self) -> int:
        """How often; a pause of before may arrive late."""
        while (view := await self._there(self._insist, "schedule.resume")) is None:
            await self._put(self.definition)
        return int(view["fired"])

    async def _there(self, ask: Callable[..., Awaitable[dict[str, Any]]], method: str) -> dict[str, Any] | None:
        """Law 26: what was acknowledged is there. None if it is gone, and may be."""
        try:
            return await ask(method, name=self.name)
        except errors.ScheduleNotFound as error:
            if self._may_vanish:
                return None
            raise broken(26, f"the schedule {self.name} was acknowledged, and is lost") from error


def planned(random: Random) -> Definition:
    """What a schedule starts: it comes to an end by itself."""
    work = TaskDefinition(
        id="t0",
        method=random.choice(["sim/work", "sim/pay"]),
        params=Raw(msgspec.json.encode({"n": random.randrange(1000), "in": [], "note": "$${t0.value}"})),
        references=True,
        retry=RetryPolicy(random.choice([1, 2]), "fixed", 0.5, jitter=False),
    )
    timer = TaskDefinition(
        id="t1",
        method="timer/sleep",
        params=Raw(msgspec.json.encode({"seconds": random.choice([0, 1, 8])})),
        dependencies=("t0",) if random.random() < 0.5 else (),
    )
    tasks = (work, timer)[: random.randint(1, 2)]
    if random.random() < 0.5:
        params = {"n": random.randrange(1000), "in": [], "note": "$${t0.value}"}
        last = TaskDefinition("last", random.choice(["sim/work", "sim/pay"]), Raw(msgspec.json.encode(params)),
                              references=True, trigger="always", late=True)  # fmt: skip
        tasks = (*tasks, last)
    return Definition(name="planned", tasks=tasks)
