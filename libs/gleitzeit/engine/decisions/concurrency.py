"""Limits by key: how many workflows, and how many tasks, of one key may be under way at once. Here is who asks for a
permit, waits for it, and gives it back; who gives them is in `limits`."""

from collections.abc import Iterable

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.blobs import BlobNeeded
from gleitzeit.engine.decisions.core import call_id, failure
from gleitzeit.engine.decisions.limits import Limits, Verdict
from gleitzeit.engine.decisions.params import scope_of
from gleitzeit.engine.scheduling.permits import FIRST, Limit
from gleitzeit.engine.scheduling.turns import Turns
from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Permit
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Concurrency as Wanted
from gleitzeit.model.permits import Ask, Held, HeldPermit, Holder, holder_of, parts_of

LIMIT_REACHED = "CONCURRENCY_LIMIT"
REPLACED = "CONCURRENCY_REPLACED"
NEWER = "a newer one takes its place (concurrency)"
MOST_SHOWN = 3
"""Holders that are named to those behind them."""
UNUSED_MS = 2_000
"""A task that had to wait for its permit, and then cannot start for another reason, lets others go first."""
_HOLDING = frozenset({"running", "waiting"})


class Concurrency(Limits):
    # Workflows: a permit is held from the first moment to the end

    def _admit(self, workflow: Workflow) -> None:
        """A new workflow, or one that begins again, takes a permit, waits for one, or ends."""
        wanted = workflow.definition.concurrency
        if wanted is None:
            return
        try:
            key = scope_of(workflow).filled(wanted.key)
        except errors.GleitzeitError as error:
            self._cancel_workflow(workflow, "its concurrency key cannot be read", failure(error))
            return
        permit = self._wish(workflow, None, key, wanted)
        if workflow.closing is None:  # else what runs at its end waits for nobody
            self.scheduler.blocked[workflow.id] = key
        match self._claim(permit):
            case "granted":
                self._granted(permit)
            case "reached":
                self._turned_away(permit)

    def _readmit(self) -> None:
        """After a start: who was under way holds its permit, the others wait as before. Where several coordinators
        share the journal, the one that keeps the permits knows who that is."""
        adopted, self._unadmitted = self._unadmitted, []
        adopted.sort(key=lambda w: (-w.definition.priority, w.created_at, w.id))
        begun = [workflow for workflow in adopted if not self._shared and _has_begun(workflow)]
        for workflow in begun:
            wanted = workflow.definition.concurrency
            assert wanted is not None
            self._hold_permit(self._wish(workflow, None, scope_of(workflow).filled(wanted.key), wanted))
        for workflow in adopted:
            ends = workflow.final or (workflow.closing is not None and not _has_begun(workflow))
            if workflow not in self._permit_of and not ends:
                self._admit(workflow)

    # Tasks: a permit is held by an attempt

    def _may_begin(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task whose turn it is may start. If not, it comes back by itself, or has failed."""
        wanted = task.definition.concurrency
        if wanted is None or task.expands:  # of many, each item takes one
            return True
        permit = self._permit_of.get(task)
        if permit is not None:
            return permit.granted
        try:
            key = self._params.scope(workflow, task).filled(wanted.key)
        except BlobNeeded as needed:
            self._need_blob(workflow, task, needed)
            return False
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return False
        permit = self._wish(workflow, task, key, wanted)
        match self._claim(permit):
            case "granted":
                permit.granted = True
            case "reached":
                self._turned_away(permit)
        # Who made room may have taken this one along, or is about to.
        return permit.granted and not permit.dropped and not self._is_stopped(workflow, task)

    def _hold_again(self, workflow: Workflow, task: Task) -> None:
        """After a start: a task that runs or waits holds its permit."""
        wanted = task.definition.concurrency
        holds = task.state in _HOLDING and not task.expands
        if wanted is not None and holds and task not in self._permit_of:
            try:
                key = self._params.scope(workflow, task).filled(wanted.key)
            except BlobNeeded as needed:
                self._await_blob(needed, self._hold_again, workflow, task)
                return
            self._hold_permit(self._wish(workflow, task, key, wanted, began=True))

    # One permit, from the wish to the end

    def _wish(self, workflow: Workflow, task: Task | None, key: str, wanted: Wanted, *, began: bool = False) -> Permit:
        self._ask_count += 1
        if task is None:
            name, holder = f"workflow/{key}", holder_of(workflow.id)
        else:
            name, holder = f"task/{key}", holder_of(workflow.id, task.id, task.attempt + (not began))
        number = "" if began else f"{self._identity.owner}.{self._ask_count}"
        epoch = self._identity.epoch_of(workflow.id)
        priority = workflow.definition.priority if task is None else task.definition.priority
        permit = Permit(Ask(name, holder, number, wanted.limit, wanted.on_conflict, epoch, priority), workflow, task)
        self._permits[holder] = self._permit_of[task or workflow] = permit
        return permit

    def _hold_permit(self, permit: Permit) -> None:
        """It holds one, whatever the limit. Where that is in the journal, it is known to whom it has to be."""
        permit.granted = True
        if not self._shared:
            limit = self._limits.setdefault(permit.ask.limit, Limit(Held(permit.ask.limit)))
            self._moves(limit)
            limit.grant(permit.ask)

    def _claim(self, permit: Permit) -> Verdict:
        if self._keeps(permit.ask.limit):
            return self._decide(permit.ask, permit)
        self._unasked.setdefault(permit.ask.limit, Turns()).put(permit, permit, _urgency(permit))
        self._ask_others(permit.ask.limit)
        return "waits"

    def _ask_others(self, limit: str) -> None:
        """For as many as could have one at the same time: the others wait here. What is more urgent than these is asked
        for beside them."""
        unasked, asked = self._unasked.get(limit, Turns()), self._asked.setdefault(limit, Turns())
        while (permit := unasked.first()) is not None:
            urgency = _urgency(permit)
            if urgency < FIRST and asked.ahead(urgency) >= permit.ask.most:
                return
            asked.put(permit, permit, urgency)
            self._effect(fx.AskPermit(permit))
            unasked.pop(permit)
        self._unasked.pop(limit, None)
        if not asked:
            del self._asked[limit]

    def _never_asked(self, permit: Permit) -> None:
        """Nobody will answer."""
        if (asked := self._asked.get(permit.ask.limit)) is not None:
            asked.pop(permit)
        self._ask_others(permit.ask.limit)

    def _permit_answered(self, item: inp.PermitAnswered) -> None:
        permit, limit = item.permit, item.permit.ask.limit
        self._asked.get(limit, Turns()).pop(permit)
        if item.verdict == "here":
            waiting = [permit, *self._unasked.pop(limit, ())]
            self._claim_again([one for one in waiting if not one.dropped])
        elif permit.dropped:
            if item.verdict == "granted":
                self._effect(fx.ReturnPermit(_held(permit)))
        elif item.verdict == "granted":
            self._granted(permit)
        elif item.verdict == "reached":
            self._turned_away(permit)
        elif item.verdict == "replaced":
            self._replaced(permit, NEWER)
        self._ask_others(limit)

    def _claim_again(self, permits: list[Permit]) -> None:
        """What keeps the permits of their keys has moved."""
        for permit in permits:
            match self._claim(permit):
                case "granted":
                    self._granted(permit)
                case "reached":
                    self._turned_away(permit)
                case "replaced":
                    self._replaced(permit, NEWER)

    def _granted(self, permit: Permit) -> None:
        """It need not wait any longer."""
        permit.granted = True
        workflow, task = permit.workflow, permit.task
        if task is None:
            self.scheduler.blocked.pop(workflow.id, None)
            self.scheduler.unpark(workflow)
        else:
            self.scheduler.add(workflow, [task])
            self._at(self._now + UNUSED_MS, self._unused, workflow, permit)
        self.more = True

    def _unused(self, workflow: Workflow, permit: Permit) -> None:
        if permit.task is not None and permit.task.state == "ready" and not permit.dropped:
            self._let_go(permit)

    def _turned_away(self, permit: Permit) -> None:
        """There are as many as the limit, and it does not wait."""
        self._drop(permit)
        many, (_, _, key) = permit.ask.most, permit.ask.limit.partition("/")
        workflow, task = permit.workflow, permit.task
        if task is not None:
            count = "1 task" if many == 1 else f"{many} tasks"
            message = f"{count} with the key {key!r} may run at once (concurrency)"
            error = ev.Failure(errors.ResourceExhausted.code, message, LIMIT_REACHED)
            self._fail_task(workflow, task, task.attempt, error)
            return
        if workflow.closing is not None:
            return
        count = "1 workflow" if many == 1 else f"{many} workflows"
        message = f"{count} with the key {key!r} may be under way at once (concurrency)"
        error = ev.Failure(errors.ResourceExhausted.code, message, LIMIT_REACHED)
        self._cancel_workflow(workflow, "the limit of its concurrency key is reached", error)

    def _evict(self, permit: Permit, reason: str) -> None:
        if permit.task is None:
            if permit.workflow.closing is None and not permit.workflow.final:
                self._cancel_workflow(permit.workflow, reason)
            return
        workflow, task = permit.workflow, permit.task
        call = self.calls.pop(call_id(workflow.id, task.id, task.attempt), None)
        if call is not None:
            self.scheduler.leave(call)
            self._effect(fx.CancelCall(call, reason))
        self._fail_task(workflow, task, task.attempt, ev.Failure(errors.TaskCancelled.code, reason, REPLACED))

    def _replaced(self, permit: Permit, reason: str) -> None:
        self._drop(permit)
        self._evict(permit, reason)

    def _drop(self, permit: Permit) -> None:
        permit.dropped = True
        del self._permits[permit.ask.holder]
        del self._permit_of[permit.task or permit.workflow]
        if (unasked := self._unasked.get(permit.ask.limit)) is not None:
            unasked.pop(permit)
        if permit.task is None:
            self.scheduler.blocked.pop(permit.workflow.id, None)

    def _let_go(self, permit: Permit) -> None:
        """It is over, or nobody wants it any more."""
        self._drop(permit)
        if self._keeps(permit.ask.limit):
            if permit.granted:
                self._leave(permit.ask.limit, permit.ask.holder, permit.ask.id)
            else:
                self._waits_no_more(permit)
        elif permit.granted or permit in self._asked.get(permit.ask.limit, ()):
            self._effect(fx.ReturnPermit(_held(permit)))

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        super()._follow(workflow, event)
        name = getattr(event, "task", None)
        if name is not None and self._permit_of:
            task = workflow.tasks.get(name)
            permit = self._permit_of.get(task) if task is not None else None
            if task is not None and permit is not None and task.state not in _HOLDING:
                self._let_go(permit)
        if workflow.definition.concurrency is not None:
            if workflow.final:
                if (permit := self._permit_of.get(workflow)) is not None:
                    self._let_go(permit)
            elif type(event) is ev.WorkflowRetried:
                self._admit(workflow)
            elif type(event) is ev.WorkflowCancelling:
                self._wants_no_place(workflow)

    def _wants_no_place(self, workflow: Workflow) -> None:
        """It ends: what runs at its end waits for no permit. One that it has it keeps."""
        self.scheduler.blocked.pop(workflow.id, None)
        permit = self._permit_of.get(workflow)
        if permit is not None and not permit.granted and not _goes_on(permit):
            self._let_go(permit)

    # Between coordinators

    def _check_permits(self, item: inp.CheckPermits) -> None:
        """Of workflows that are ours: which of these permits is nobody's?"""
        gone: list[HeldPermit] = []
        for asked in item.permits:
            workflow_id, _ = parts_of(asked.holder)
            if not self.owns(workflow_id):
                continue
            permit = self._permits.get(asked.holder)
            if permit is None or permit.ask.limit != asked.limit or _is_of_another_wish(permit, asked):
                epoch = self._identity.epoch_of(workflow_id)
                gone.append(HeldPermit(asked.limit, asked.holder, asked.ask, epoch))
            elif asked.leaving and permit.granted:
                self._evict(permit, asked.leaving)
        self._decision.answers.append(fx.Answer(item.token, permits=tuple(gone)))

    def _disown_permits(self) -> None:
        """What workflows hold that are another's now, they hold there; what they wait for they will ask for there. And
        ours ask another where the shard of a key is another's."""
        for permit in [permit for permit in self._permits.values() if permit.workflow.disowned]:
            if permit.task is not None and permit.task.state not in _HOLDING:
                self._let_go(permit)
            else:
                if not permit.granted and self._keeps(permit.ask.limit):
                    self._waits_no_more(permit)
                self._drop(permit)
        self._claim_again([permit for permit in self._disown_limits() if not permit.dropped])
        self._look_later()

    def why_no_permit(self, workflow: Workflow, task: Task) -> str:
        """Why it waits for a permit, in a sentence; "" if it does not."""
        found = self._waits_for(workflow, task)
        if found is None:
            return ""
        permit, what, verb = found
        most, (_, _, key) = permit.ask.most, permit.ask.limit.partition("/")
        many = f"{most} {what}{'s' * (most != 1)}"
        holders = self.tell_holders(self.holders(permit.ask.limit))
        return f"{many} with the key {key!r} may {verb} at once (concurrency){holders}"

    def limit_elsewhere(self, workflow: Workflow, task: Task) -> str:
        """The limit of which it waits for a permit, if another coordinator knows who has them; else ""."""
        found = self._waits_for(workflow, task)
        return "" if found is None or self._keeps(found[0].ask.limit) else found[0].ask.limit

    def _waits_for(self, workflow: Workflow, task: Task) -> tuple[Permit, str, str] | None:
        for subject, what, verb in ((task, "task", "run"), (workflow, "workflow", "be under way")):
            permit = self._permit_of.get(subject)
            if permit is not None and not permit.granted:
                return permit, what, verb
        return None

    def holders(self, limit: str) -> list[Holder]:
        """Those that have its permits, as far as we keep them."""
        known = self._limits.get(limit)
        parts = sorted({parts_of(holder) for holder in known.grants}) if known is not None else ()
        return [Holder(workflow_id, task, self._why_idle(workflow_id)) for workflow_id, task in parts]

    def _why_idle(self, workflow_id: str) -> str:
        workflow = self.workflows.get(workflow_id)
        paused = workflow is not None and workflow.state == "paused"
        return "held" if workflow_id in self.scheduler.held else "paused" if paused else ""

    def tell_holders(self, holders: Iterable[Holder]) -> str:
        """As the end of a sentence; those first that somebody has to let go on."""
        idle, busy = list[str](), list[str]()
        for one in holders:
            name = f"{one.workflow_id}, task {one.task}" if one.task else one.workflow_id
            state = one.state or self._why_idle(one.workflow_id)
            if state:
                idle.append(f"{name} ({state}: `gz resume {one.workflow_id}` lets it go on)")
            else:
                busy.append(name)
        shown = [*idle, *busy][:MOST_SHOWN]
        more = len(idle) + len(busy) - len(shown)
        return f"; now: {', '.join(shown)}{f' and {more:,} more' * bool(more)}" if shown else ""


def _is_of_another_wish(permit: Permit, held: HeldPermit) -> bool:
    """Whether what the holder wishes now may wait for what was granted to it before, and not used: by one that had the
    workflow before us, say. A workflow that is under way holds it all the same."""
    return not permit.granted and permit.ask.id != held.ask and not _goes_on(permit)


def _held(permit: Permit) -> HeldPermit:
    return HeldPermit(permit.ask.limit, permit.ask.holder, permit.ask.id, permit.ask.epoch)


def _urgency(permit: Permit) -> int:
    """By which those that another coordinator is to be asked for have their turn. That of a workflow under way is known
    to who keeps it, and others wait until it is over; who does not queue waits for nobody."""
    return FIRST if permit.ask.on_conflict != "queue" or _goes_on(permit) else permit.ask.priority


def _goes_on(permit: Permit) -> bool:
    """Whether it is for a workflow that was under way with another coordinator."""
    return permit.task is None and _has_begun(permit.workflow)


def _has_begun(workflow: Workflow) -> bool:
    """Whether something of it has started since it was submitted, or retried."""
    since = max(workflow.created_at, workflow.retried_at)
    return any(task.attempt and _moved_at(task) >= since for task in workflow.tasks.values())


def _moved_at(task: Task) -> int:
    """When it has started, or completed without that. It can fail and be cancelled while it waits for its turn."""
    return max(task.started_at, task.completed_at) if task.state == "completed" else task.started_at
