"""A client: it submits, watches, meddles, asks again after a lost answer, and waits until its workflows have ended."""

import asyncio
import contextlib
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from tests.simulation.laws import BY_THE_CLIENT, broken
from tests.simulation.loop import Process
from tests.simulation.network import End, Message

from gleitzeit import errors
from gleitzeit.model.definition import Definition

if TYPE_CHECKING:
    from tests.simulation.world import World

_FINAL = ("completed", "failed", "cancelled")
_ENDS = ("WorkflowCompleted", "WorkflowFailed", "WorkflowCancelled")
ANSWER_SECONDS = 8.0
AGAIN = 0.2
"""How likely what has ended while there are faults is run again."""
LATER = (errors.ConnectionLost, errors.ResourceExhausted, errors.ShardElsewhere, TimeoutError)
"""What may be otherwise at another time."""


class Client:
    """Owns one workflow. `other` makes a different document, for the same key."""

    cancels = (1, 1, 2)
    """How often it asks for the end, if it does."""
    latency = 1.0
    """Seconds, if the network is not better."""

    def __init__(
        self, world: "World", name: str, definition: Definition, other: Callable[[], Definition], random: Random
    ) -> None:
        self.world = world
        self.name = name
        self.definition = definition
        self.other = other
        self.random = random
        self.process = Process(world.loop, name, world)
        self.finished = False
        self.workflow_id = ""
        self._end: End | None = None
        self._watched_to = 0
        self._watching: End | None = None
        self._signals = self._answers = 0
        self._people = people = Random(f"{world.seed}/{name}/people")
        self._patience = people.choice([0.0, 0.3, 0.8])
        """How likely, when it looks and is asked something, it answers; once the faults are over it does."""
        self._again: dict[str, Any] = {}
        """What is run again, and how; nothing as long as nothing is."""
        self._changed = 0
        """How often this client, the only one to do so, made the workflow go on after its end."""
        self._final: tuple[int, Any] | None = None
        self._news = asyncio.Event()
        """What is watched has ended, or left something out, or can be watched no longer."""
        self.process.spawn(self._live())

    # The socket

    async def _connection(self) -> End:
        while self._end is None or self._end.closed:
            await asyncio.sleep(self.random.uniform(0.05, 1.0))
            self._end = self.world.connect_client(self)
            if self._end is not None:
                self._end.receive = self._receive
                self._end.add_close_callback(lambda _: self._news.set())
        return self._end

    async def _leave(self) -> None:
        """What was asked for may still come: not to this connection."""
        if self._end is not None:
            await self._end.close()

    async def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Raises what the coordinator answered; ConnectionLost and TimeoutError if nobody knows."""
        end = await self._connection()
        view: dict[str, Any] = await end.call(method, params, timeout_seconds=ANSWER_SECONDS)
        return view

    async def _insist(self, method: str, **params: Any) -> dict[str, Any]:
        while True:
            try:
                return await self._ask(method, **params)
            except LATER:
                await asyncio.sleep(self.random.uniform(0.1, 2.0))

    # Law 15: numbers only grow, and no event is left out silently

    def _receive(self, end: End, message: Message) -> None:
        match message:
            case ("notify", "notifications/event", params) if end is self._watching:
                told = msgspec.json.decode(params)
                if told["seq"] != self._watched_to + 1:
                    raise broken(15, f"{self.name} is shown event {told['seq']} after event {self._watched_to}")
                self._watched_to = told["seq"]
                if told["event"]["type"] in _ENDS:
                    self._news.set()
            case ("notify", "notifications/resync", params):
                self._watched_to = msgspec.json.decode(params)["seq"]
                self._news.set()

    async def _watch(self) -> None:
        end = await self._connection()
        if self._watching is not end:
            self._watching = end
            await end.call(
                "workflow.watch", {"workflow_id": self.workflow_id, "after": self._watched_to}, timeout_seconds=8.0
            )

    # Its life

    async def _live(self) -> None:
        await asyncio.sleep(self.random.uniform(0, self.world.rates.storm * (0.9 if self.world.quiet else 0.3)))
        await self._submit()
        if self.world.quiet:
            await self._watch_to_the_end()
        else:
            await self._ask_to_the_end()
            if self.world.faulty and self._people.random() < AGAIN:
                await self._run_again()
        self.finished = True

    async def _run_again(self) -> None:
        """As a workflow of its own, which takes over what was completed."""
        ids = [task.id for task in self.definition.tasks]
        self._again = {"workflow_id": self.workflow_id, "idempotency_key": f"{self.name}/again"}
        if self._people.random() < 0.6:
            self._again["from_task"] = self._people.choice(ids)
        called = [task.id for task in self.definition.tasks if task.method.startswith("sim/")]
        if called and self._people.random() < 0.4:
            self._again["params"] = {self._people.choice(called): {"n": self._people.randrange(1000)}}
        await self._leave()
        self._watched_to, self._watching, self._final, self._changed = 0, None, None, 0
        await self._submit()
        await self._ask_to_the_end()

    async def _ask_to_the_end(self) -> None:
        while not await self._over():
            await self._meddle()
            await asyncio.sleep(self.random.uniform(0.2, 4.0))

    async def _watch_to_the_end(self) -> None:
        """Law 17: who only watches sees it, without asking."""
        while True:
            self._news.clear()
            try:
                await self._watch()
            except LATER:
                await self._leave()
                continue
            await self._news.wait()
            if (await self._insist("workflow.get", workflow_id=self.workflow_id))["status"] in _FINAL:
                return

    async def _submit(self) -> None:
        if self._again:
            await self._submit_again()
            return
        answer = await self._insist("workflow.submit", definition=self.definition, idempotency_key=self.name)
        self.workflow_id = answer["workflow_id"]
        self.world.laws.submit_acknowledged(self.name, self.workflow_id)

    async def _submit_again(self) -> None:
        try:
            answer = await self._insist("workflow.rerun", **self._again)
        except errors.InvalidState:  # a retry that arrived late: it is under way once more
            return
        self.workflow_id = answer["workflow_id"]
        self.world.laws.submit_acknowledged(self._again["idempotency_key"], self.workflow_id)

    async def _over(self) -> bool:
        """Look; whether nothing more is to be done here."""
        view = await self._insist("workflow.get", workflow_id=self.workflow_id)
        self._check_view(view)
        if view["status"] not in _FINAL:
            if not self.world.faulty:
                await self._help(view)
            elif self._patience:
                await self._consider(view, self._patience)
            return False
        if view["status"] != "completed" and self.world.faulty and self.random.random() < 0.3:
            await self._change("workflow.retry")
            return False
        return not self.world.faulty or self.random.random() < 0.3

    def _check_view(self, view: dict[str, Any]) -> None:
        """Law 2: what was final stays as it was; who looks again sees nothing older."""
        final = view["status"] in _FINAL
        seen = view["seq"], [(t["task_id"], t["status"], t.get("result")) for t in view["tasks"]]
        if self._final is not None and self._final[0] >= seen[0] and (not final or self._final != seen):
            raise broken(2, f"{self.workflow_id} was read as final, and now as {view['status']} at {seen[0]}")
        if self._final is not None and final and not self._changed and self._final != seen:
            raise broken(2, f"{self.workflow_id} changed after its end")
        if final:
            self._final = seen

    async def _help(self, view: dict[str, Any]) -> None:
        """The calm: let it go on."""
        if view["status"] == "paused" or view["held"]:
            await self._change("workflow.resume")
            return
        if any(t["status"] == "waiting" and t["method"].startswith("signal/") for t in view["tasks"]):
            await self._signal()
        await self._consider(view, 1.0)

    async def _consider(self, view: dict[str, Any], chance: float) -> None:
        """What is asked: of its tasks, of their items, of the workflows that they wait for."""
        for task in view["tasks"]:
            if "asks" in task:
                if self._people.random() < chance:
                    await self._answer(view["workflow_id"], task)
            elif task["status"] == "waiting" and "child" in task:
                await self._consider_more(chance, workflow_id=task["child"])
            elif task.get("items", {}).get("waiting"):
                await self._consider_more(chance, workflow_id=view["workflow_id"], items_of=task["task_id"])

    async def _consider_more(self, chance: float, **where: str) -> None:
        with contextlib.suppress(*LATER, errors.WorkflowNotFound, errors.TaskNotFound):
            await self._consider(await self._ask("workflow.get", **where), chance)

    async def _answer(self, workflow_id: str, task: dict[str, Any]) -> None:
        """Perhaps two people do so at the same time; and who forgot to close the page does so again, much later."""
        people = self._people
        for _ in range(people.choice([1, 2])):
            self._answers += 1
            by, approved = f"{self.name}/{self._answers}", people.random() < 0.6
            name, attempt = task["task_id"], task["attempts"]
            self.world.laws.people.say(by, workflow_id, name, attempt, approved=approved)
            answer = {"task_id": name, "attempt": attempt, "approved": approved, "by": by}
            self.process.spawn(self._say(by, {"workflow_id": workflow_id, **answer}))

    async def _say(self, by: str, answer: dict[str, Any]) -> None:
        """Law 27: an answer that was acknowledged has counted."""
        for _ in range(self._people.choice([1, 2])):
            with contextlib.suppress(*LATER, errors.InvalidState, errors.TaskNotFound):
                await self._ask("task.complete", **answer)
                if not self.world.laws.people.has_counted(by):
                    raise broken(27, f"{by} was told that the answer counts, and it is not durable: {answer}")
            await asyncio.sleep(self._people.uniform(0.1, self._people.choice([1.0, 20.0])))

    async def _signal(self) -> None:
        """Law 23: sent again, as nobody knows whether it has arrived, it counts once."""
        self._signals += 1
        key = f"{self.workflow_id}/{self.name}/{self._signals}"
        signal = {"name": self.random.choice("abc"), "payload": self.random.randrange(9), "idempotency_key": key}
        for _ in range(2):
            try:
                await self._ask("workflow.signal", workflow_id=self.workflow_id, **signal)
            except errors.InvalidState:
                return
            except LATER:
                continue
            return

    async def _change(self, method: str, **params: Any) -> None:
        """A request that may not fit any more by the time it arrives."""
        if method == "workflow.retry":
            self._changed += 1
        with contextlib.suppress(*LATER, errors.InvalidState):
            await self._ask(method, workflow_id=self.workflow_id, **params)

    async def _cancel(self) -> None:
        """Law 21: who is impatient asks again and again, and what ends by the first may not have ended by then."""
        await self._connection()
        times = self.random.choice(self.cancels)
        await asyncio.gather(*(self._change("workflow.cancel", reason=BY_THE_CLIENT) for _ in range(times)))

    async def _meddle(self) -> None:
        with contextlib.suppress(*LATER):
            await self._watch()
        if not self.world.faulty:
            return
        if self.random.random() < 0.3:
            await self._signal()
        chance = self.random.random()
        if chance < 0.04:
            await self._cancel()
        elif chance < 0.10:
            await self._change("workflow.pause")
        elif chance < 0.18:
            await self._change("workflow.resume")
        elif chance < 0.21:
            await self._change("workflow.hold")
        elif chance < 0.26:
            await self._submit()
        elif chance < 0.30:
            await self._submit_another()

    async def _submit_another(self) -> None:
        """Law 4: the same key with another body is refused."""
        try:
            await self._insist("workflow.submit", definition=self.other(), idempotency_key=self.name)
        except errors.InvalidState:
            return
        raise broken(4, f"the key {self.name} was accepted for another document")


class Hasty(Client):
    """Its workflow is a wide one, of which not all can be queued, or ended, in one turn; and it wants its end soon,
    from beside the coordinator: all that it says may arrive before the first of it is durable. Who comes after another
    one begins the same again as soon as that has asked for its end."""

    cancels = (1, 3)
    latency = 0.001

    def __init__(
        self,
        world: "World",
        name: str,
        definition: Definition,
        other: Callable[[], Definition],
        random: Random,
        after: "Hasty | None",
    ) -> None:
        super().__init__(world, name, definition, other, random)
        self._after = after
        self._has_asked = asyncio.Event()

    async def _submit(self) -> None:
        if self._after is not None:
            await self._after._has_asked.wait()
        await super()._submit()
        await asyncio.sleep(self.random.choice([0.0, 0.1, 1.0]))
        if self.world.faulty:
            await self._cancel()
        self._has_asked.set()
