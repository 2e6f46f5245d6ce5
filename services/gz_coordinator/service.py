"""The loop of the coordinator: take what arrived, decide, append all of it in one commit, then act and answer.

The one bridge from the engine to the world. One append is in flight at a time; what arrives meanwhile is the next turn.
What is in memory is looked at while it is durable: a workflow at any time but while its own events are being appended,
what spans several between turns.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import Append as Decided
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.journal.base import Append, Journal
from gz_coordinator.clock import Clock
from gz_coordinator.keeping.ended import Ended
from gz_coordinator.keeping.going_back import MOVES, as_in_the_journal, calls_in, has_to_go_back, is_request, tokens_in
from gz_coordinator.keeping.space import Space
from gz_coordinator.narration import narrate, narrate_circuits
from gz_coordinator.streams.limits import FreeLimits, limit_append
from gz_coordinator.streams.own_ids import own_id_append
from gz_coordinator.streams.schedules import load_some, schedule_append
from gz_coordinator.streams.workflows import blobs_of, load_or_quarantine, summary_of
from gz_coordinator.turnstile import Turnstile

T = TypeVar("T")
MAX_INPUTS = 1_000
MAX_INPUT_BYTES = 32 << 20
"""Of results in one turn: they are one commit."""
LOADERS = 2
"""Workflows that are read from the journal to be looked at, at the same time: each is in memory meanwhile."""
TURN_SECONDS = 0.02
"""What a turn may take, about, while one decision means very many steps: others wait for its end, …"""
LEAST_STEPS = 125
"""… and so many it takes all the same."""
LONGEST_IDLE_SECONDS = 30.0
"""Timers of the system stand still while the machine sleeps, and what is due does not."""
_encode = msgspec.json.Encoder().encode


class Performer(Protocol):
    def perform(self, effects: Sequence[fx.Effect]) -> None: ...


class Audience(Protocol):
    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None: ...


class Service:
    def __init__(
        self, engine: Engine, journal: Journal, clock: Callable[[], int], wall: Callable[[], int] | None = None
    ) -> None:
        """See `Clock`."""
        self.engine = engine
        self.journal = journal
        self.clock = Clock(clock, wall)
        self.clock.on_moved = engine.clock_moved
        self.performer: Performer
        self.audience: Audience
        self.encoded_first: dict[str, bytes] = {}
        """The first events of large workflows that are about to be submitted, as JSON."""
        self.quarantined: dict[str, str] = {}
        """The streams of workflows and schedules that cannot be read, and why: nothing of them runs."""
        self.space = Space(journal)
        self.ended = Ended(engine, journal, self.clock, self.space, self.quarantined, self.wake)
        self._free_limits = FreeLimits(journal)
        self._lost: errors.JournalError | None = None
        self._inbox: deque[inp.Input] = deque()
        self._reads: deque[Callable[[], None]] = deque()
        self._undurable: Collection[str] = ()
        """Workflows whose events are being appended."""
        self._most_steps = engine.settled
        self._wake = asyncio.Event()
        self._loading = Turnstile(LOADERS)
        self._quiet = asyncio.Event()
        self._quiet.set()
        """Set between turns while no call runs."""
        self._stopping = False
        self.check_lease: Callable[[], None] = lambda: None
        """Asked before every turn; raises JournalFenced when we may no longer be who we were."""

    # What others call

    def post(self, item: inp.Input) -> None:
        """Give the engine something that arrived."""
        self._inbox.append(item)
        self._wake.set()

    def wake(self) -> None:
        """Take a turn although nothing arrived: the clock may have been set."""
        self._wake.set()

    async def ask(self, request: Callable[[Any], inp.Input]) -> fx.Answer:
        """Give the engine a request (made from its token) and wait until what it decided is durable.

        Raises the error that the engine answered, and ResourceExhausted while the journal is full.
        """
        self.space.refuse_new()
        future: asyncio.Future[fx.Answer] = asyncio.get_running_loop().create_future()
        self.post(request(future))
        answer = await future
        if answer.error is not None:
            raise answer.error
        return answer

    async def read(self, workflow_id: str, look: Callable[[Workflow], T]) -> T:
        """`look` at a workflow as it is on disk: in memory, or replayed if it has left that."""
        workflow = self._durable(workflow_id)
        if workflow is not None:
            return look(workflow)
        if workflow_id in self.engine.workflows and not self.space.stalled:
            future: asyncio.Future[tuple[T] | None] = asyncio.get_running_loop().create_future()
            self._reads.append(lambda: self._look(workflow_id, look, future))
            self._wake.set()
            found = await future
            if found is not None:
                return found[0]
        async with self._loading:
            workflow = await load_or_quarantine(self.journal, workflow_id, self.quarantined)
            try:
                return look(workflow)
            finally:
                self.ended.let_go(workflow)

    def _durable(self, workflow_id: str) -> Workflow | None:
        """The workflow, if all that is known of it in memory is in the journal, and it is still ours."""
        if self.space.stalled or workflow_id in self.ended.aside or workflow_id in self._undurable:
            return None
        try:
            self.check_lease()
        except errors.JournalFenced:  # the next turn says so
            return None
        return self.engine.workflows.get(workflow_id)

    def _look(self, workflow_id: str, look: Callable[[Workflow], T], future: "asyncio.Future[tuple[T] | None]") -> None:
        """Answer a read with what was seen; None sends it to the journal."""
        if future.done():
            return
        workflow = self.engine.workflows.get(workflow_id)
        try:
            is_here = workflow is not None and not self.space.stalled and workflow_id not in self.ended.aside
            future.set_result((look(workflow),) if workflow is not None and is_here else None)
        except errors.GleitzeitError as error:
            future.set_exception(error)

    async def between_turns(self, look: Callable[[], T]) -> T:
        """`look` at what is in memory while all of it is durable. Raises ResourceExhausted while nothing can be."""
        self.space.refuse()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def answer() -> None:
            if not future.done():
                try:
                    self.space.refuse()
                    future.set_result(look())
                except errors.GleitzeitError as error:
                    future.set_exception(error)

        self._reads.append(answer)
        self._wake.set()
        return await future

    async def drain(self) -> None:
        """Start no more tasks, and wait until none runs. Requests are answered all the while."""
        self.engine.draining = True
        await self._quiet.wait()

    def stop(self) -> None:
        """End `run` after the turn under way."""
        self._stopping = True
        self.space.waits = False
        self._wake.set()

    # The loop

    async def run(self) -> None:
        """Turn until `stop`. Raises JournalError when nobody knows whether something is durable: end the process."""
        while not self._stopping:
            if self._lost is not None:
                raise self._lost
            if not self._inbox and not self._reads and not self.ended.to_delete and not self.engine.more:
                await self._idle()
            await self._turn()

    def journal_lost(self, error: errors.JournalError) -> None:
        """It has failed while nothing was written to it."""
        self._lost = error
        self.wake()

    async def _idle(self) -> None:
        """Wait for something to arrive or to be due."""
        due = self._due_at()
        loop = asyncio.get_running_loop()
        timer = None
        if due is not None:
            delay = min((due - self.clock()) / 1000, LONGEST_IDLE_SECONDS)
            timer = loop.call_later(max(0.0, delay), self._wake.set)
        self._wake.clear()
        if not self._inbox and not self._reads and not self.ended.to_delete:
            await self._wake.wait()
        if timer is not None:
            timer.cancel()

    async def _turn(self) -> None:
        self.check_lease()
        await self.ended.delete_waiting()
        self._answer_reads()
        if not self._has_to_decide():
            return
        began = asyncio.get_running_loop().time()
        inputs = self._take_inputs()
        self.engine.ahead_ms = self.clock.forward_ms
        decision = self.engine.decide(self.clock(), inputs)
        self._undurable = decision.appends
        if decision.appends or decision.schedules or decision.limits:
            await self._commit(inputs, decision)
        else:
            await asyncio.sleep(0)
        self._pace(asyncio.get_running_loop().time() - began)
        if self.engine.scheduler.health.changes:
            narrate_circuits(self.engine.scheduler.health.changes)
        self.check_lease()  # once more: the process may have stood still while the journal wrote
        self.performer.perform(decision.effects)
        for answer in decision.answers:
            if not answer.token.done():
                answer.token.set_result(replace(answer, token=None))  # else they would know each other, and live on
        if decision.answers:
            await asyncio.sleep(0)  # those who asked look at their workflow now, before the next turn moves it
        if self.engine.calls:
            self._quiet.clear()
        else:
            self._quiet.set()

    async def _commit(self, inputs: Sequence[inp.Input], decision: Decision) -> None:
        """Make durable what was decided; without what somebody asks for, if the journal is full."""
        encoded = {name: self._encoded(append) for name, append in decision.appends.items()}
        commit = [
            Append(name, append.seq, tuple(encoded[name]), summary_of(append.workflow), blobs_of(encoded[name]))
            for name, append in decision.appends.items()
        ]
        new = [append.workflow for append in decision.appends.values() if append.seq == 1]
        commit += filter(None, map(own_id_append, new))
        commit += map(schedule_append, decision.schedules.values())
        commit += [limit_append(held, self.clock()) for held in decision.limits]
        await self.space.append(commit, self._answer_reads, partial(self._withdraw, inputs, decision))
        self._undurable = ()
        self._after_commit(decision, encoded)
        await self._free_limits.sweep(decision.limits, self.engine.owns)

    def _answer_reads(self) -> None:
        while self._reads:
            self._reads.popleft()()

    async def _withdraw(self, inputs: Sequence[inp.Input], decision: Decision, commit: list[Append]) -> list[Append]:
        """Who asked for something does not wait for space. Returns what is still to be made durable."""
        self._inbox = self.space.without_requests(self._inbox)
        if has_to_go_back(self.engine, inputs):
            await self._go_back(inputs, decision)
            return []
        gone = self.space.withdraw(self.engine, inputs, decision)
        self.space.answer_held(self.engine, inputs, decision)
        return [append for append in commit if append.stream not in gone]

    async def _go_back(self, inputs: Sequence[inp.Input], decision: Decision) -> None:
        names = self.engine.entangled()
        workflows = await as_in_the_journal(self.journal, names, self.quarantined)
        schedules = await load_some(self.journal, decision.schedules, [], self.quarantined)
        tokens = self.engine.go_back(self.clock(), names, workflows, calls_in(inputs, decision), schedules)
        for workflow in workflows:
            self.ended.settle(workflow)
        self._inbox.extendleft(item for item in reversed(inputs) if not is_request(item))
        for token in [*tokens, *tokens_in(inputs, decision)]:
            if token is not None:
                self.space.answer(token)
        for part in (decision.appends, decision.schedules, decision.limits, decision.effects, decision.answers):
            part.clear()

    def _pace(self, seconds: float) -> None:
        """So many steps in the next turn that it is a short one; all that there may be if nobody has many."""
        engine = self.engine
        if not engine.sweeping:
            engine.settled = self._most_steps
        elif seconds > TURN_SECONDS:
            engine.settled = max(engine.settled // 2, min(LEAST_STEPS, self._most_steps))
        elif seconds < TURN_SECONDS / 2:
            engine.settled = min(engine.settled * 5 // 4 + 1, self._most_steps)

    def _encoded(self, append: Decided) -> list[bytes]:
        known = self.encoded_first.get(append.workflow.id) if self.encoded_first and append.seq == 1 else None
        if known is None:
            return [_encode(event) for event in append.events]
        return [known, *map(_encode, append.events[1:])]

    def _has_to_decide(self) -> bool:
        if self._inbox or self.engine.more:
            return True
        due = self._due_at()
        return due is not None and due <= self.clock()

    def _due_at(self) -> int | None:
        self.engine.ahead_ms = self.clock.forward_ms
        return self.engine.due_at()

    def _take_inputs(self) -> list[inp.Input]:
        inputs: list[inp.Input] = []
        size_bytes = 0
        while self._inbox and len(inputs) < MAX_INPUTS and size_bytes < MAX_INPUT_BYTES:
            if inputs and isinstance(self._inbox[0], MOVES):
                break
            item = self._inbox.popleft()
            if isinstance(item, MOVES):
                return [item]
            if isinstance(item, inp.CallCompleted):
                size_bytes += len(item.result)
            inputs.append(item)
        return inputs

    def _after_commit(self, decision: Decision, encoded: Mapping[str, list[bytes]]) -> None:
        for name, append in decision.appends.items():
            self.audience.publish(append.workflow, append.seq, encoded[name])
            narrate(append.workflow, append.events)
            self.ended.settle(append.workflow)
        self.ended.trim()
