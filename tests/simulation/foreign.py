"""A foreign provider: it keeps no table of calls, knows no fences, and never says that it is busy. Whatever comes it
does, and of what it does nothing is left when the socket closes."""

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from tests.simulation.laws import broken
from tests.simulation.loop import Process
from tests.simulation.network import End, Message

from gleitzeit.discovery.base import ProviderSeen
from gleitzeit.errors import TaskError
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.messages import Reply, Result
from gleitzeit.provider.call import Meta
from gleitzeit.schemas import openrpc

if TYPE_CHECKING:
    from tests.simulation.world import World

_json = msgspec.json.Encoder().encode


class Foreign:
    def __init__(self, world: "World", url: str, random: Random, *, alone: bool) -> None:
        """`alone`: nobody else serves its method."""
        self.world = world
        self.name = "foreign"
        self.url = url
        self.capacity = random.choice([1, 1, 2, 3])
        self.random = random
        self.methods = world.provider_methods[:1]
        if alone:
            world.provider_methods = world.provider_methods[1:]
        self.starts = 0
        self.unreachable_until = 0.0
        self.process: Process | None = None
        self._ends: list[End] = []
        self._sent: dict[tuple[End, int], str] = {}
        """Calls that have left their coordinators, by the coordinators' end of the socket and the request's number."""

    @property
    def instance(self) -> str:
        return f"{self.url}#{self.starts}"

    def start(self) -> None:
        if self.process is None:
            self.starts += 1
            self.process = Process(self.world.loop, self.instance, self.world)
            self._ends = []
            self.world.announce(ProviderSeen(self.name, self.instance, self.url))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None
            for end in self._ends:
                if not end.closed:
                    self.world.network_lost(end)

    def accept(self, end: End) -> None:
        self._ends.append(end)
        end.receive = self._receive

    def _receive(self, end: End, message: Message) -> None:
        match message:
            case ("request", number, "rpc.discover", _):
                about = {"name": self.name, "capacity": self.capacity}
                end.reply(number, Result(Raw(_json(openrpc(self.name, "1", self.methods, about)))))
            case ("request", number, _, params):
                self._serve(end, number, msgspec.json.decode(params))

    def _serve(self, end: End, number: int, params: dict[str, Any]) -> None:
        meta = msgspec.convert(params.pop("_meta"), Meta)
        self.world.laws.lent(meta, params)
        assert self.process is not None
        seconds = self.random.expovariate(1 / self.world.rates.work)
        self.process.loop.call_later(seconds, self._finish, end, number, meta, context=self.process.context)

    def _finish(self, end: End, number: int, meta: Meta) -> None:
        reply: Reply
        if self.random.random() < self.world.rates.task_failure:
            reply = failure_of(TaskError("by chance"))
        else:
            result = {"call": meta.call_id, "value": number, "text": "${t0.value}", "usage": {"total_tokens": 1}}
            self.world.laws.outcomes[meta.call_id] = _json(result)
            reply = Result(Raw(_json(result)))
        if not end.closed:
            end.reply(number, reply)

    # Law 9: never more calls at once than it takes, whoever sends them

    def call_sent(self, end: End, number: int, call_id: str) -> None:
        self._sent[end, number] = call_id
        self._sent = {sent: call for sent, call in self._sent.items() if self._is_open(*sent)}
        if len(self._sent) > self.capacity:
            raise broken(9, f"{self.name} has the calls {list(self._sent.values())}, and takes {self.capacity}")
        self.world.laws.counts["filled"] += len(self._sent) == self.capacity

    def call_cancelled(self, end: End, number: int) -> None:
        self._sent.pop((end, number), None)

    def _is_open(self, end: End, number: int) -> bool:
        """As far as its coordinator can know. One that stands still for longer than its lease can end nothing."""
        world = self.world
        if end.process.paused_until >= world.loop.now and end.process.name not in world.store.living():
            return False
        return end.process.alive and not end.closed and number in end.requests
