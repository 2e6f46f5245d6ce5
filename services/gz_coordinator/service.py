"""The loop of the coordinator: take what arrived, decide, append all of it in one commit, then act and answer.

The one bridge from the engine to the world. One append is in flight at a time; what arrives meanwhile is the next turn.
What is in memory is looked at while it is durable: a workflow at any time but while its own events are being appended,
what spans several between turns.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine.core import Append as Decided
from gleitzeit.engine.core import Decision
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.workflow import STEP, Workflow
from gleitzeit.journal.base import Append, Journal, Unfinished
from gleitzeit.model.events import Origin
from gleitzeit.model.permits import Held, stream_of
from gleitzeit.model.shards import SCHEDULES
from gz_coordinator.limit_streams import limit_append, load_limits
from gz_coordinator.narration import narrate, narrate_circuits
from gz_coordinator.own_ids import own_id_append, own_id_stream
from gz_coordinator.schedule_streams import STREAM as SCHEDULE
from gz_coordinator.schedule_streams import load_schedules, schedule_append
from gz_coordinator.steps import let_go
from gz_coordinator.weights import weight_bytes
from gz_coordinator.workflow_streams import CHILD, blobs_of, load, replayed, summary_of

log = logging.getLogger("gz.coordinator")

T = TypeVar("T")
MAX_INPUTS = 1_000
MAX_INPUT_BYTES = 32 << 20
"""Of results in one turn: they are one commit."""
LOADERS = 2
"""Workflows that are read from the journal to be looked at, at the same time: each is in memory meanwhile."""
PAGE = 256
"""Workflows that are one question to the journal when all are read, and replayed in one go."""
KEPT_FINAL = 1_000
KEPT_FINAL_BYTES = 32 << 20
"""Of workflows that have ended, in memory: others are read from the journal."""
MAX_FREE_LIMITS = 200
"""Rows of keys of which nobody holds a permit any more, until they are deleted."""
TURN_SECONDS = 0.02
"""What a turn may take, about, while one decision means very many steps: others wait for its end, …"""
LEAST_STEPS = 125
"""… and so many it takes all the same."""
FULL_RETRY_SECONDS = 1.0
TRIES_BEFORE_WITHDRAWAL = 2
"""Who asks waits no longer than that for a journal that is full for a moment."""
LONGEST_IDLE_SECONDS = 30.0
"""Timers of the system stand still while the machine sleeps, and what is due does not."""
_encode = msgspec.json.Encoder().encode


class Performer(Protocol):
    def perform(self, effects: Sequence[fx.Effect]) -> None: ...


class Clock:
    """UTC milliseconds that never go back, not even from one process to the next."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._ahead_ms = 0
        self.on_moved: Callable[[int], None] = lambda by_ms: None
        """Hears by how much it has moved: time that did not pass."""

    def __call__(self) -> int:
        return self._clock() + self._ahead_ms

    def not_before(self, at: int) -> None:
        """Go on from there if it is later: what is recorded has happened, whatever the machine's clock says now."""
        behind_ms = at - self()
        if behind_ms > 0:
            self._ahead_ms += behind_ms
            self.on_moved(behind_ms)
            log.warning("the clock of this machine is %.1f s behind the journal: going on from there", behind_ms / 1000)


class Audience(Protocol):
    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None: ...


def _refuse(trouble: str) -> None:
    if trouble:
        raise errors.ResourceExhausted(trouble, {"retryAfterSeconds": FULL_RETRY_SECONDS})


class Service:
    def __init__(self, engine: Engine, journal: Journal, clock: Callable[[], int]) -> None:
        """`clock` gives UTC milliseconds that never go back while this process lives."""
        self.engine = engine
        self.journal = journal
        self.clock = Clock(clock)
        self.clock.on_moved = engine.clock_moved
        self.performer: Performer
        self.audience: Audience
        self.encoded_first: dict[str, bytes] = {}
        """The first events of large workflows that are about to be submitted, as JSON."""
        self.stalled = ""
        """Why nothing can be made durable at the moment; empty if all is well."""
        self.no_space: Callable[[], str] = lambda: ""
        """Why nothing new should be begun, as what it decides would have to wait for space; empty if there is some."""
        self.quarantined: dict[str, str] = {}
        """The streams of workflows and schedules that cannot be read, and why: nothing of them runs."""
        self.aside: set[str] = set()
        """Workflows that are being changed in steps: what is asked about them is read from the journal."""
        self._lost: errors.JournalError | None = None
        self._inbox: deque[fx.Input] = deque()
        self._reads: deque[Callable[[], None]] = deque()
        self._to_delete: deque[tuple[Sequence[str], Sequence[str], asyncio.Future[None]]] = deque()
        self._deletions = 0
        """How often that has begun or ended."""
        self._undurable: Collection[str] = ()
        """Workflows whose events are being appended."""
        self._most_steps = engine.settled
        self._wake = asyncio.Event()
        self._loading = asyncio.Semaphore(LOADERS)
        self._finals: dict[str, int] = {}
        """Ended workflows that are still in memory, longest ago first, with the bytes they take."""
        self._finals_bytes = 0
        self._free_limits: dict[str, None] = {}
        """Streams of limits of which nobody holds a permit."""
        self._going: set[asyncio.Task[None]] = set()
        """Large workflows that have left memory, but for what they consist of."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        """Set between turns while no call runs."""
        self._stopping = False
        self.check_lease: Callable[[], None] = lambda: None
        """Asked before every turn; raises JournalFenced when we may no longer be who we were."""

    # What others call

    def post(self, item: fx.Input) -> None:
        """Give the engine something that arrived."""
        self._inbox.append(item)
        self._wake.set()

    def wake(self) -> None:
        """Take a turn although nothing arrived: the clock may have been set."""
        self._wake.set()

    async def ask(self, request: Callable[[Any], fx.Input]) -> fx.Answer:
        """Give the engine a request (made from its token) and wait until what it decided is durable.

        Raises the error that the engine answered, and ResourceExhausted while the journal is full.
        """
        self.refuse_if_stalled()
        future: asyncio.Future[fx.Answer] = asyncio.get_running_loop().create_future()
        self.post(request(future))
        answer = await future
        if answer.error is not None:
            raise answer.error
        return answer

    @property
    def trouble(self) -> str:
        """Why nothing is accepted at the moment; empty if all is well."""
        return self.stalled or self.no_space()

    def refuse_if_stalled(self) -> None:
        """Also before it is tried: who asked for what has to wait for space would wait for it, too."""
        _refuse(self.trouble)

    async def read(self, workflow_id: str, look: Callable[[Workflow], T]) -> T:
        """`look` at a workflow as it is on disk: in memory, or replayed if it has left that."""
        workflow = self._durable(workflow_id)
        if workflow is not None:
            return look(workflow)
        if workflow_id in self.engine.workflows and not self.stalled:
            future: asyncio.Future[tuple[T] | None] = asyncio.get_running_loop().create_future()
            self._reads.append(lambda: self._look(workflow_id, look, future))
            self._wake.set()
            found = await future
            if found is not None:
                return found[0]
        async with self._loading:
            workflow = await self._load(workflow_id)
            try:
                return look(workflow)
            finally:
                self._let_go(workflow)

    def _durable(self, workflow_id: str) -> Workflow | None:
        """The workflow, if all that is known of it in memory is in the journal, and it is still ours."""
        if self.stalled or workflow_id in self.aside or workflow_id in self._undurable:
            return None
        try:
            self.check_lease()
        except errors.JournalFenced:  # the next turn says so
            return None
        return self.engine.workflows.get(workflow_id)

    async def _load(self, workflow_id: str) -> Workflow:
        try:
            return await load(self.journal, workflow_id)
        except errors.JournalCorrupt as error:
            self.quarantined[workflow_id] = error.message
            raise

    def _look(self, workflow_id: str, look: Callable[[Workflow], T], future: "asyncio.Future[tuple[T] | None]") -> None:
        """Answer a read with what was seen; None sends it to the journal."""
        if future.done():
            return
        workflow = self.engine.workflows.get(workflow_id)
        try:
            is_here = workflow is not None and not self.stalled and workflow_id not in self.aside
            future.set_result((look(workflow),) if workflow is not None and is_here else None)
        except errors.GleitzeitError as error:
            future.set_exception(error)

    async def between_turns(self, look: Callable[[], T]) -> T:
        """`look` at what is in memory while all of it is durable. Raises ResourceExhausted while nothing can be."""
        _refuse(self.stalled)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def answer() -> None:
            if not future.done():
                try:
                    _refuse(self.stalled)
                    future.set_result(look())
                except errors.GleitzeitError as error:
                    future.set_exception(error)

        self._reads.append(answer)
        self._wake.set()
        return await future

    async def bring_back(self, workflow_id: str) -> None:
        """Load a workflow that has ended and left memory, so that it can be retried. Raises WorkflowNotFound."""
        while workflow_id not in self.engine.workflows:
            deletions = self._deletions
            workflow = await self._load(workflow_id)
            self.clock.not_before(workflow.updated_at)
            if not self.engine.owns(workflow_id):
                raise errors.ShardElsewhere(f"another coordinator has {workflow_id} now")
            if deletions % 2 or deletions != self._deletions:  # something was being deleted: is it still there?
                continue
            if workflow_id not in self.engine.workflows:
                self.engine.adopt(self.clock(), workflow)
                if workflow.final:
                    self._keep_final(workflow)

    @contextlib.contextmanager
    def set_aside(self, workflow: Workflow) -> Iterator[None]:
        """Until its end nobody else looks at a workflow that has ended, or forgets it. If that fails it leaves memory:
        what is durable is in the journal."""
        self.aside.add(workflow.id)
        self._finals_bytes -= self._finals.pop(workflow.id, 0)
        try:
            yield
        except BaseException:
            if self.engine.workflows.get(workflow.id) is workflow:
                self._forget(workflow.id)
            raise
        finally:
            self.aside.discard(workflow.id)

    async def delete(self, workflows: Sequence[str], streams: Sequence[str]) -> None:
        """Forget workflows that have ended, and their streams. Raises InvalidState if one has not, or gives results to
        another one that is under way; ResourceExhausted while the journal is full."""
        _refuse(self.stalled)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_delete.append((workflows, streams, future))
        self._wake.set()
        await future

    async def drain(self) -> None:
        """Start no more tasks, and wait until none runs. Requests are answered all the while."""
        self.engine.draining = True
        await self._quiet.wait()

    def stop(self) -> None:
        """End `run` after the turn under way."""
        self._stopping = True
        self._wake.set()

    # The loop

    async def recover(self, *, held: bool) -> tuple[int, list[str]]:
        """Adopt every workflow that has not ended. Returns how many, and a warning for each that cannot be read."""
        count, warnings = 0, list[str]()
        async for workflows in self._unfinished(lambda workflow_id: True, warnings):
            now = self.clock()
            for workflow in workflows:
                self.engine.adopt(now, workflow, held=held)
            count += len(workflows)
        await self._adopt_schedules(warnings)
        return count, warnings

    async def adopt(self, wanted: Callable[[str], bool]) -> tuple[int, list[str]]:
        """While it runs: take over what another coordinator had, as `recover` does."""
        warnings: list[str] = []
        workflows = tuple([one async for some in self._unfinished(wanted, warnings) for one in some])
        limits = tuple(await load_limits(self.journal, wanted, warnings))
        await self.ask(lambda token: fx.Adopt(token, workflows, limits))
        if wanted(SCHEDULES):
            await self._adopt_schedules(warnings)
            self.wake()
        return len(workflows), warnings

    async def disown(self, wanted: Callable[[str], bool]) -> None:
        """Forget workflows that another coordinator will have. When it returns nothing of them is under way."""
        await self.ask(lambda token: fx.Disown(token, wanted))
        for workflow_id in [name for name in self._finals if name not in self.engine.workflows]:
            self._finals_bytes -= self._finals.pop(workflow_id)

    async def _replayed(self, page: Iterable[Unfinished], warnings: list[str]) -> list[Workflow]:
        workflows: list[Workflow] = []
        for stream, events in [(one.stream, one.events) for one in page]:
            try:
                workflow = replayed(stream, events) if events else await load(self.journal, stream)
                if workflow.submitted.origin is not None:
                    workflow.source = await self._source(workflow.submitted.origin)
                workflows.append(workflow)
            except errors.GleitzeitError as error:
                self.quarantined[stream] = error.message
                warnings.append(f"workflow {stream} is quarantined, its stream cannot be read: {error}")
                log.error(warnings[-1], extra={"workflow_id": stream})
        return workflows

    async def _adopt_schedules(self, warnings: list[str]) -> None:
        for stream in [stream for stream in self.quarantined if stream.startswith(SCHEDULE)]:
            del self.quarantined[stream]  # another coordinator may have had them meanwhile
        async for schedule, updated_at in load_schedules(self.journal, warnings, self.quarantined):
            self.clock.not_before(max(schedule.decided, updated_at))
            self.engine.adopt_schedule(self.clock(), schedule)

    async def _source(self, origin: Origin) -> Workflow | None:
        """The workflow that it runs again. One that is gone, or cannot be read, is as if there were none."""
        try:
            return await load(self.journal, origin.rerun_of) if origin.rerun_of else None
        except errors.GleitzeitError:
            return None

    async def _unfinished(self, wanted: Callable[[str], bool], warnings: list[str]) -> AsyncIterator[list[Workflow]]:
        """Page by page: there may be 100,000 of them. The clock has gone past what was read."""
        for kind in ("workflow", CHILD):
            before = None
            while page := await self.journal.unfinished(kind, wanted, before, PAGE):
                self.clock.not_before(max(one.updated_at for one in page))
                yield await self._replayed([one for one in page if wanted(one.stream)], warnings)
                before = page[-1].created_at, page[-1].stream

    async def run(self) -> None:
        """Turn until `stop`. Raises JournalError when nobody knows whether something is durable: end the process."""
        while not self._stopping:
            if self._lost is not None:
                raise self._lost
            if not self._inbox and not self._reads and not self._to_delete and not self.engine.more:
                await self._idle()
            await self._turn()

    def journal_lost(self, error: errors.JournalError) -> None:
        """It has failed while nothing was written to it."""
        self._lost = error
        self.wake()

    async def _idle(self) -> None:
        """Wait for something to arrive or to be due."""
        due = self.engine.due_at()
        loop = asyncio.get_running_loop()
        timer = None
        if due is not None:
            delay = min((due - self.clock()) / 1000, LONGEST_IDLE_SECONDS)
            timer = loop.call_later(max(0.0, delay), self._wake.set)
        self._wake.clear()
        if not self._inbox and not self._reads and not self._to_delete:
            await self._wake.wait()
        if timer is not None:
            timer.cancel()

    async def _delete_all(self) -> None:
        """Between two turns, as nothing is decided meanwhile about what goes."""
        while self._to_delete:
            workflows, streams, future = self._to_delete.popleft()
            self._deletions += 1
            try:
                self._check_ended(workflows)
                await self.journal.delete(streams)
            except (errors.InvalidState, errors.JournalFull) as error:
                if not future.done():
                    future.set_exception(error)
                continue
            finally:
                self._deletions += 1
            for workflow_id in workflows:
                self.quarantined.pop(workflow_id, None)
                self._finals_bytes -= self._finals.pop(workflow_id, 0)
                if workflow_id in self.engine.workflows:
                    self._forget(workflow_id)
            if not future.done():
                future.set_result(None)

    def _check_ended(self, workflows: Sequence[str]) -> None:
        known, gone = self.engine.workflows, frozenset(workflows)
        for workflow_id in self.aside.intersection(workflows):
            raise errors.InvalidState(f"workflow {workflow_id} is about to run again")
        for workflow in filter(None, map(known.get, workflows)):
            if not workflow.final:
                raise errors.InvalidState(f"workflow {workflow.id} is {workflow.state}", {"status": workflow.state})
        for user in known.values():
            if user.source is not None and user.source.id in gone and not user.final:
                raise errors.InvalidState(f"workflow {user.source.id} gives results to {user.id}, which is under way")

    async def _turn(self) -> None:
        self.check_lease()
        await self._delete_all()
        while self._reads:
            self._reads.popleft()()
        if not self._has_to_decide():
            return
        began = asyncio.get_running_loop().time()
        inputs = self._take_inputs()
        decision = self.engine.decide(self.clock(), inputs)
        self._undurable = decision.appends
        if decision.appends or decision.schedules or decision.limits:
            encoded = {name: self._encoded(append) for name, append in decision.appends.items()}
            commit = [
                Append(name, append.seq, tuple(encoded[name]), summary_of(append.workflow), blobs_of(encoded[name]))
                for name, append in decision.appends.items()
            ]
            new = [append.workflow for append in decision.appends.values() if append.seq == 1]
            scheduled = map(schedule_append, decision.schedules.values())
            limits = [limit_append(held, self.clock()) for held in decision.limits]
            whole = [*commit, *filter(None, map(own_id_append, new)), *scheduled, *limits]
            await self._append(whole, lambda: self._withdraw(inputs, decision))
            self._undurable = ()
            self._after_commit(decision, encoded)
            await self._sweep_limits(decision.limits)
        else:
            await asyncio.sleep(0)
        self._pace(asyncio.get_running_loop().time() - began)
        if self.engine.scheduler.changes:
            narrate_circuits(self.engine.scheduler.changes)
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
        due = self.engine.due_at()
        return due is not None and due <= self.clock()

    def _take_inputs(self) -> list[fx.Input]:
        inputs: list[fx.Input] = []
        size_bytes = 0
        while self._inbox and len(inputs) < MAX_INPUTS and size_bytes < MAX_INPUT_BYTES:
            item = self._inbox.popleft()
            if isinstance(item, fx.CallCompleted):
                size_bytes += len(item.result)
            inputs.append(item)
        return inputs

    def _after_commit(self, decision: Decision, encoded: Mapping[str, list[bytes]]) -> None:
        for name, append in decision.appends.items():
            self.audience.publish(append.workflow, append.seq, encoded[name])
            narrate(append.workflow, append.events)
            self._finals_bytes -= self._finals.pop(append.workflow.id, 0)
            if append.workflow.final:
                self._keep_final(append.workflow)
        while len(self._finals) > KEPT_FINAL or (self._finals_bytes > KEPT_FINAL_BYTES and len(self._finals) > 1):
            oldest = next(iter(self._finals))
            self._finals_bytes -= self._finals.pop(oldest)
            self._forget(oldest)

    async def _sweep_limits(self, changed: Sequence[Held]) -> None:
        """Forget keys that nobody uses, between two turns: nothing else writes their rows."""
        for held in changed:
            if held.grants:
                self._free_limits.pop(stream_of(held.limit), None)
            else:
                self._free_limits[stream_of(held.limit)] = None
        if len(self._free_limits) > MAX_FREE_LIMITS:
            ours = [stream for stream in self._free_limits if self.engine.owns(stream)]
            self._free_limits.clear()
            with contextlib.suppress(errors.JournalFull):
                await self.journal.delete(ours)

    def _forget(self, workflow_id: str) -> None:
        workflow = self.engine.workflows[workflow_id]
        self.engine.forget(workflow_id)
        self._let_go(workflow)

    def _let_go(self, workflow: Workflow) -> None:
        if len(workflow.tasks) > 2 * STEP:
            going = asyncio.create_task(let_go(workflow))
            self._going.add(going)
            going.add_done_callback(self._going.discard)

    def _keep_final(self, workflow: Workflow) -> None:
        size_bytes = weight_bytes(workflow, KEPT_FINAL_BYTES)
        self._finals[workflow.id] = size_bytes
        self._finals_bytes += size_bytes

    def _withdraw(self, inputs: Sequence[fx.Input], decision: Decision) -> Collection[str]:
        """Who asked for something new need not wait for space. Returns the streams that are not to be written."""
        new = {item.workflow_id for item in inputs if isinstance(item, fx.Submit)}
        begun = [name for name in new if name in decision.appends and decision.appends[name].seq == 1]
        gone = self.engine.withdraw(begun)
        for name in gone:
            decision.appends.pop(name, None)
        decision.effects[:] = [
            effect
            for effect in decision.effects
            if not (isinstance(effect, fx.CallProvider) and effect.call.workflow.disowned)
        ]
        kept = []
        for answer in decision.answers:
            if answer.workflow is None or not answer.workflow.disowned:
                kept.append(answer)
            else:
                self._answer_full(answer.token)
        decision.answers[:] = kept
        return {*gone, *map(own_id_stream, gone)}

    def _refuse_waiting(self) -> None:
        """Who asked for something new before it was known that there is no space need not wait for some either."""
        waiting, self._inbox = self._inbox, deque[fx.Input]()
        for item in waiting:
            if isinstance(item, fx.Submit):
                self._answer_full(item.token)
            else:
                self._inbox.append(item)

    def _answer_full(self, token: "asyncio.Future[fx.Answer]") -> None:
        if not token.done():
            error = errors.ResourceExhausted(self.stalled, {"retryAfterSeconds": FULL_RETRY_SECONDS})
            token.set_result(fx.Answer(None, error=error))

    async def _append(self, commit: list[Append], withdraw: Callable[[], Collection[str]]) -> None:
        """Make the commit durable; while there is no space hold it, unchanged but for what nobody has heard of yet and
        can be withdrawn, and try again."""
        tries = 0
        while commit:
            try:
                await self.journal.append(commit)
            except errors.JournalFull as error:
                if not self.stalled:
                    log.error("the journal is full; nothing new is accepted until there is space: %s", error)
                self.stalled = f"the journal is full: {error}"
                if self._stopping:  # nobody was told of it: the next start finds everything as it was
                    raise
                while self._reads:  # they go on from the journal
                    self._reads.popleft()()
                tries += 1
                if tries == TRIES_BEFORE_WITHDRAWAL:
                    self._refuse_waiting()
                    gone = withdraw()
                    commit = [append for append in commit if append.stream not in gone]
                await asyncio.sleep(FULL_RETRY_SECONDS)
            else:
                if self.stalled:
                    log.warning("the journal has space again")
                self.stalled = ""
                return
        self.stalled = ""  # whether there is space now the next one will find out
