"""Workflows that have ended: some stay in memory for a while, any comes back to begin again, and some are deleted."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from gleitzeit import errors
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.workflow import STEP, Workflow
from gleitzeit.journal.base import Journal
from gz_coordinator.clock import Clock
from gz_coordinator.space import Space
from gz_coordinator.steps import let_go
from gz_coordinator.weights import weight_bytes
from gz_coordinator.workflow_streams import load_or_quarantine

KEPT = 1_000
KEPT_BYTES = 32 << 20
"""In memory: others are read from the journal."""


class Ended:
    """The loop calls `settle` after each commit, and `delete_waiting` before a turn while some wait to be deleted."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        clock: Clock,
        space: Space,
        quarantined: dict[str, str],
        wake: Callable[[], None],
    ) -> None:
        """`quarantined` gets what cannot be read, and loses what is deleted; `wake` asks for a turn."""
        self.aside: set[str] = set()
        """Workflows that are being changed in steps: what is asked about them is read from the journal."""
        self.to_delete: deque[tuple[Sequence[str], Sequence[str], asyncio.Future[None]]] = deque()
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._space = space
        self._quarantined = quarantined
        self._wake = wake
        self._kept: dict[str, int] = {}
        """Those that are still in memory, longest ago first, with the bytes they take."""
        self._kept_bytes = 0
        self._deletions = 0
        """How often that has begun or ended."""
        self._going: set[asyncio.Task[None]] = set()
        """Large workflows that have left memory, but for what they consist of."""

    # In memory

    def settle(self, workflow: Workflow) -> None:
        """It has new events: it stays from now on if it has ended."""
        self.drop(workflow.id)
        if workflow.final:
            self._keep(workflow)

    def trim(self) -> None:
        """Those that there is no room for leave memory."""
        while len(self._kept) > KEPT or (self._kept_bytes > KEPT_BYTES and len(self._kept) > 1):
            oldest = next(iter(self._kept))
            self.drop(oldest)
            self._forget(oldest)

    def drop(self, workflow_id: str) -> None:
        """It is not one of those that stay for a while only."""
        self._kept_bytes -= self._kept.pop(workflow_id, 0)

    def drop_disowned(self) -> None:
        """Those that the engine has forgotten."""
        for workflow_id in [name for name in self._kept if name not in self._engine.workflows]:
            self.drop(workflow_id)

    def _keep(self, workflow: Workflow) -> None:
        size_bytes = weight_bytes(workflow, KEPT_BYTES)
        self._kept[workflow.id] = size_bytes
        self._kept_bytes += size_bytes

    def _forget(self, workflow_id: str) -> None:
        workflow = self._engine.workflows[workflow_id]
        self._engine.forget(workflow_id)
        self.let_go(workflow)

    def let_go(self, workflow: Workflow) -> None:
        """Nobody needs it any more."""
        if len(workflow.tasks) > 2 * STEP:
            going = asyncio.create_task(let_go(workflow))
            self._going.add(going)
            going.add_done_callback(self._going.discard)

    # Again

    async def bring_back(self, workflow_id: str) -> None:
        """Load a workflow that has ended and left memory, so that it can be retried. Raises WorkflowNotFound."""
        while workflow_id not in self._engine.workflows:
            deletions = self._deletions
            workflow = await load_or_quarantine(self._journal, workflow_id, self._quarantined)
            self._clock.not_before(workflow.updated_at)
            if not self._engine.owns(workflow_id):
                raise errors.ShardElsewhere(f"another coordinator has {workflow_id} now")
            if deletions % 2 or deletions != self._deletions:  # something was being deleted: is it still there?
                continue
            if workflow_id not in self._engine.workflows:
                self._engine.adopt(self._clock(), workflow)
                if workflow.final:
                    self._keep(workflow)

    @contextlib.contextmanager
    def set_aside(self, workflow: Workflow) -> Iterator[None]:
        """Until its end nobody else looks at a workflow that has ended, or forgets it. If that fails it leaves memory:
        what is durable is in the journal."""
        self.aside.add(workflow.id)
        self.drop(workflow.id)
        try:
            yield
        except BaseException:
            if self._engine.workflows.get(workflow.id) is workflow:
                self._forget(workflow.id)
            raise
        finally:
            self.aside.discard(workflow.id)

    # Deleted

    async def delete(self, workflows: Sequence[str], streams: Sequence[str]) -> None:
        """Forget workflows that have ended, and their streams. Raises InvalidState if one has not, or gives results to
        another one that is under way; ResourceExhausted while the journal is full."""
        self._space.refuse()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.to_delete.append((workflows, streams, future))
        self._wake()
        await future

    async def delete_waiting(self) -> None:
        """Between two turns, as nothing is decided meanwhile about what goes."""
        while self.to_delete:
            workflows, streams, future = self.to_delete.popleft()
            self._deletions += 1
            try:
                self._check(workflows)
                await self._journal.delete(streams)
            except (errors.InvalidState, errors.JournalFull) as error:
                if not future.done():
                    future.set_exception(error)
                continue
            finally:
                self._deletions += 1
            for workflow_id in workflows:
                self._quarantined.pop(workflow_id, None)
                self.drop(workflow_id)
                if workflow_id in self._engine.workflows:
                    self._forget(workflow_id)
            if not future.done():
                future.set_result(None)

    def _check(self, workflows: Sequence[str]) -> None:
        known, gone = self._engine.workflows, frozenset(workflows)
        for workflow_id in self.aside.intersection(workflows):
            raise errors.InvalidState(f"workflow {workflow_id} is about to run again")
        for workflow in filter(None, map(known.get, workflows)):
            if not workflow.final:
                raise errors.InvalidState(f"workflow {workflow.id} is {workflow.state}", {"status": workflow.state})
        for user in known.values():
            if user.source is not None and user.source.id in gone and not user.final:
                raise errors.InvalidState(f"workflow {user.source.id} gives results to {user.id}, which is under way")
