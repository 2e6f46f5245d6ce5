"""A provider process: the real table of calls, and around it as much of a provider as the coordinator can notice.

It mirrors `gleitzeit.provider.service`: bind the fence, ask the table, start what is to be started, answer.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct
from tests.simulation.loop import Process
from tests.simulation.network import End, Message

from gleitzeit.discovery.base import ProviderLost, ProviderSeen
from gleitzeit.errors import (
    GleitzeitError,
    InvalidParams,
    ProviderBusy,
    ResourceExhausted,
    TaskCancelled,
    TaskError,
    TaskTimeout,
)
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.messages import Failure, Result
from gleitzeit.provider.call import Meta
from gleitzeit.provider.calls import CallTable, Entry, Fence, Outcome
from gleitzeit.schemas import openrpc

if TYPE_CHECKING:
    from tests.simulation.world import World

_json = msgspec.json.Encoder().encode
Respond = Callable[[Outcome], None]


class Work(Struct):
    """What runs for an entry: the timers that will end it."""

    meta: Meta
    timers: list[asyncio.TimerHandle]
    stopping: bool = False


class Provider:
    """`url` is where its processes listen, one after the other. `methods` are the names of what it serves."""

    def __init__(self, world: "World", name: str, url: str, capacity: int, random: Random) -> None:
        self.world = world
        self.name = name
        self.url = url
        self.capacity = capacity
        self.random = random
        self.starts = 0
        self.unreachable_until = 0.0
        self.sick_until = 0.0
        self.process: Process | None = None
        self.table: CallTable
        self.ends: dict[int, End] = {}

    # The process

    @property
    def instance(self) -> str:
        return f"{self.url}#{self.starts}"

    def start(self) -> None:
        if self.process is not None:
            return
        self.starts += 1
        self.process = Process(self.world.loop, self.instance, self.world)
        self.table = CallTable(self.instance, self.capacity)
        self.ends = {}
        self.world.announce(ProviderSeen(self.name, self.instance, self.url))

    def kill(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process = None
        self.world.laws.instance_died(self.instance)
        for end in self.ends.values():
            self.world.network_lost(end)

    def drain(self) -> None:
        """Told to stop: it starts nothing more, and ends when what runs has ended."""
        if self.process is not None and not self.table.draining:
            self.table.draining = True
            self.world.announce(ProviderLost(self.instance))
            self.process.loop.call_later(self.random.uniform(2, 12), self.kill)

    def accept(self, end: End) -> None:
        number = self.table.opened()
        end.data["number"] = number
        self.ends[number] = end
        end.receive = self._receive
        end.add_close_callback(lambda closed: self._lose(number))

    def _lose(self, number: int) -> None:
        self.ends.pop(number, None)
        self.table.lost(number, self._now())
        self._arm()

    def _now(self) -> float:
        return self.world.loop.now

    # Messages

    def _receive(self, end: End, message: Message) -> None:
        match message:
            case ("request", number, method, params):
                self._request(end, number, method, params)
            case ("notify", "call.ack", params):
                self.table.ack(msgspec.json.decode(params)["callIds"])
            case ("cancel", number, _):
                cancel = end.data.pop(number, None)
                if cancel is not None:
                    cancel()

    def _request(self, end: End, number: int, method: str, params: Any) -> None:
        try:
            if method == "rpc.discover":
                if "fence" in params["_meta"]:
                    self._bind(end, msgspec.convert(params["_meta"]["fence"], Fence))
                end.reply(number, Result(Raw(_json(self._describe()))))
            elif method == "call.attach":
                self._attach(end, number, msgspec.json.decode(params))
            else:
                self._serve(end, number, method, msgspec.json.decode(params))
        except GleitzeitError as error:
            end.reply(number, failure_of(error))

    def _describe(self) -> dict[str, Any]:
        about = {"name": self.name, "instance": self.instance, "capacity": self.capacity, "calls": "v1"}
        return openrpc(self.name, "1", self.world.provider_methods, about)

    def _bind(self, end: End, fence: Fence) -> None:
        self.world.laws.fence_heard(self.instance, fence.shard, fence.epoch)
        older = self.table.bind(end.data["number"], fence)
        self.world.laws.fence_passed(self.instance, fence.shard, fence.epoch)
        if older is not None:
            closing = self.ends.get(older)
            self._lose(older)
            if closing is not None and self.process is not None:
                self.process.spawn(closing.close(4001, "a newer connection of the same owner took over"))

    def _attach(self, end: End, number: int, asked: dict[str, Any]) -> None:
        self._bind(end, msgspec.convert(asked["fence"], Fence))
        respond = partial(self._respond, end, number)
        entry = self.table.attach(asked["callId"], end.data["number"], respond)
        self._wait(end, number, entry, respond)

    def _serve(self, end: End, number: int, method: str, params: dict[str, Any]) -> None:
        meta = msgspec.convert(params.pop("_meta"), Meta)
        assert meta.fence is not None
        self._bind(end, meta.fence)
        respond = partial(self._respond, end, number)
        self.world.laws.arrived.add((self.instance, meta.call_id))
        try:
            entry, start = self.table.send(
                meta.call_id, end.data["number"], respond, lease_seconds=meta.lease_seconds, instance=meta.instance
            )
        except ProviderBusy:
            self.world.laws.turned_away(self.instance, meta.call_id)
            raise
        if start:
            self._start(entry, meta, params)
            if entry.outcome is not None:
                return
        self._wait(end, number, entry, respond)

    def _wait(self, end: End, number: int, entry: Entry, respond: Respond) -> None:
        if entry.outcome is not None:
            respond(entry.outcome)
        else:
            end.data[number] = partial(self._cancelled, end, entry, respond)

    def _respond(self, end: End, number: int, outcome: Outcome) -> None:
        end.data.pop(number, None)
        end.reply(number, Result(Raw(outcome)) if isinstance(outcome, bytes) else outcome)

    def _cancelled(self, end: End, entry: Entry, respond: Respond) -> None:
        why = TaskCancelled("cancelled by the caller", retryable=False)
        if entry.connection == end.data["number"]:
            self._stop(entry, why)
        else:
            self.table.leave(entry, respond)
            respond(failure_of(why))

    # Work

    def _start(self, entry: Entry, meta: Meta, params: dict[str, Any]) -> None:
        process = self.process
        assert process is not None
        self.world.laws.execution_started(self.instance, self.capacity, meta, params)
        if params["n"] % 4 == 0:
            self._finish(entry, meta, self._outcome(meta))
            return
        entry.work = work = Work(meta, [])
        finished = partial(self._finish, entry, meta, self._outcome(meta))
        loop, context = process.loop, process.context
        work.timers.append(
            loop.call_later(self.random.expovariate(1 / self.world.rates.work), finished, context=context)
        )
        if meta.deadline_seconds is not None:
            late = TaskTimeout("took too long")
            work.timers.append(loop.call_later(meta.deadline_seconds, self._stop, entry, late, context=context))
        end = self.ends.get(entry.connection or 0)
        if end is not None:
            end.notify("notifications/stream", {"progressToken": meta.progress_token, "seq": 1, "delta": "…"})

    def _outcome(self, meta: Meta) -> Outcome:
        """What the work will come to. The text in it is never to be taken for a reference."""
        rates, random = self.world.rates, self.random
        if self.world.faulty and self._now() < self.sick_until:
            return failure_of(ResourceExhausted("503"))
        if random.random() < rates.task_failure:
            return failure_of(ProviderBusy("a rate limit", {"retryAfterSeconds": random.choice((0.5, 10.0, 20.0))}))
        if random.random() < rates.task_failure:
            error = TaskError("by chance") if random.random() < 0.7 else InvalidParams("by chance")
            return failure_of(error)
        number = random.getrandbits(32)
        spent = {"usage": {"total_tokens": number % 100}, "requests": 1 + number % (meta.budget.calls or 1)}
        return _json({"call": meta.call_id, "value": number, "text": "${t0.value} $${ {{t0.value}}", **spent})

    def _stop(self, entry: Entry, why: GleitzeitError) -> None:
        """Told to end, it ends a little later, unless it has finished by then."""
        work: Work | None = entry.work
        if work is None or work.stopping or self.process is None:
            return
        work.stopping = True
        ended = partial(self._finish, entry, work.meta, failure_of(why))
        delay = self.random.uniform(0, 0.3)
        work.timers.append(self.process.loop.call_later(delay, ended, context=self.process.context))

    def _finish(self, entry: Entry, meta: Meta, outcome: Outcome | Failure) -> None:
        work: Work | None = entry.work
        for timer in work.timers if work is not None else ():
            timer.cancel()
        self.world.laws.execution_ended(self.instance, meta, outcome)
        for respond in self.table.finish(entry, outcome, self._now()):
            respond(outcome)

    # Time

    def _expire(self) -> None:
        for entry in self.table.expire(self._now()):
            self._stop(entry, TaskCancelled("nobody asked for the call for the length of its lease"))
        self._arm()

    def _arm(self) -> None:
        expiry = self.table.next_expiry()
        if expiry is not None and self.process is not None:
            delay = max(0.0, expiry - self._now())
            self.process.loop.call_later(delay, self._expire, context=self.process.context)
