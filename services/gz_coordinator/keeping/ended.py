"""Workflows that have ended: some stay in memory for a while, any comes back to begin again, and some are deleted."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from gleitzeit import errors
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.workflow import STEP, Workflow
from gleitzeit.journal.base import Journal
from gz_coordinator.clock import Clock
from gz_coordinator.keeping.space import Space
from gz_coordinator.keeping.weights import weight_bytes
from gz_coordinator.steps import let_go
from gz_coordinator.streams.own_ids import own_id_stream
from gz_coordinator.streams.workflows import load_or_quarantine, load_source

DELETED = 100
"""So many workflows are deleted in one transaction: others wait for its end."""
KEPT = 1_000
KEPT_BYTES = 32 << 20
"""In memory: others are read from the journal."""


class Deletion(Struct):
    left: list[str]
    """The last one is the next to go."""
    done: "asyncio.Future[None]"
    begun: bool = False


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
        self.to_delete: deque[Deletion] = deque()
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
        """How often one of their transactions has begun or ended."""
        self._deleting: set[str] = set()
        """Workflows of which some, or all, will be deleted in later turns."""
        self._going: set[asyncio.Task[None]] = set()
        """Large workflows that have left memory, but for what they consist of."""
        engine.let_go = self.let_go

    # In memory

    def settle(self, workflow: Workflow) -> None:
        """It has new events: it stays from now on if it has ended."""
        self.drop(workflow.id)
        if workflow.final:
            self._forget_source(workflow)
            self._keep(workflow)

    def _forget_source(self, workflow: Workflow) -> None:
        """Now that its end is durable: until then it may have to go back, and take results once more."""
        source, workflow.source = workflow.source, None
        if source is not None:
            self.let_go(source)

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
        """Load a workflow that has ended and left memory, so that it can be retried. Raises WorkflowNotFound, and
        InvalidState for one that is being deleted."""
        self._refuse_deleted(workflow_id)
        while workflow_id not in self._engine.workflows:
            deletions = self._deletions
            workflow = await load_or_quarantine(self._journal, workflow_id, self._quarantined)
            self._clock.not_before(workflow.updated_at)
            self._require_owned(workflow_id)
            self._refuse_deleted(workflow_id)
            if deletions % 2 or deletions != self._deletions:  # something was being deleted: is it still there?
                continue
            if workflow_id not in self._engine.workflows:
                self._engine.adopt(self._clock(), workflow)
                if workflow.final:
                    self._keep(workflow)
        workflow = self._engine.workflows[workflow_id]
        if workflow.final and workflow.source is None:
            workflow.source = await load_source(self._journal, workflow)

    def _require_owned(self, workflow_id: str) -> None:
        if not self._engine.owns(workflow_id):
            raise errors.ShardElsewhere(f"another coordinator has {workflow_id} now")

    def _refuse_deleted(self, workflow_id: str) -> None:
        if workflow_id in self._deleting:
            raise errors.InvalidState(f"workflow {workflow_id} is being deleted")

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

    async def delete(self, workflows: Sequence[str]) -> None:
        """Forget workflows that have ended, the last one first, or a schedule. Raises InvalidState if one has not, or
        gives results to another one that is under way: then all are left. ResourceExhausted or JournalFull if there is
        no space, and ShardElsewhere if they go to another coordinator meanwhile: then the first ones are left."""
        self._space.refuse()
        deletion = Deletion(list(workflows), asyncio.get_running_loop().create_future())
        self.to_delete.append(deletion)
        self._wake()
        await deletion.done

    async def delete_waiting(self) -> None:
        """Between two turns, as nothing is decided meanwhile about what goes: of very many, some."""
        for _ in range(len(self.to_delete)):
            deletion = self.to_delete.popleft()
            try:
                if not deletion.begun:
                    self._check(deletion.left)
                    deletion.begun = True
                    self._deleting.update(deletion.left)
                await self._delete_some(deletion.left)
            except (errors.InvalidState, errors.JournalFull, errors.ShardElsewhere) as error:
                self._deleting.difference_update(deletion.left)
                if not deletion.done.done():
                    deletion.done.set_exception(error)
            else:
                if deletion.left:
                    self.to_delete.append(deletion)
                elif not deletion.done.done():
                    deletion.done.set_result(None)

    async def _delete_some(self, left: list[str]) -> None:
        some = left[-DELETED:]
        workflows = [name for name in some if not name.startswith("$")]
        for workflow_id in workflows:
            self._require_owned(workflow_id)
        self._deletions += 1
        try:
            await self._journal.delete([*some, *map(own_id_stream, workflows)])
        finally:
            self._deletions += 1
        del left[-DELETED:]
        for workflow_id in some:
            self._deleting.discard(workflow_id)
            self._quarantined.pop(workflow_id, None)
            self.drop(workflow_id)
            if workflow_id in self._engine.workflows:
                self._forget(workflow_id)

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
