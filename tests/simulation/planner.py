"""A client with a schedule: it makes it, changes, pauses, triggers, deletes it, and sees in the end that it goes on."""

import asyncio
import contextlib
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
        super().__init__(world, name, planned(random), planned(random), random)

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
            await self._put(self.other)
        elif chance < 0.5:
            await self._delete()
            await self._put(self.definition)

    async def _try(self, method: str) -> None:
        with contextlib.suppress(*LATER):
            await self._ask(method, name=self.name)

    async def _delete(self) -> None:
        with contextlib.suppress(errors.ScheduleNotFound):  # the answer to an earlier try was lost
            await self._insist("schedule.delete", name=self.name)

    async def _see_it_go_on(self) -> None:
        """Law 26: it is there, and fires."""
        before = (await self._there("schedule.resume"))["fired"]
        fired = before
        while fired <= before:
            fired = (await self._there("schedule.resume"))["fired"]  # a pause of before may arrive late
            await asyncio.sleep(self.random.uniform(1, 4))

    async def _there(self, method: str) -> dict[str, Any]:
        try:
            return await self._insist(method, name=self.name)
        except errors.ScheduleNotFound as error:
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
    return Definition(name="planned", tasks=(work, timer)[: random.randint(1, 2)])
