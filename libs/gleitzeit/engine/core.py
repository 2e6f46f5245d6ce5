"""What every decision is made of: events recorded, effects asked for, timers set; and how tasks and workflows end."""

import heapq
import itertools
import urllib.parse
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Raw, Struct
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import cleanup, fanout, inner
from gleitzeit.engine import effects as fx
from gleitzeit.engine.blobs import BlobNeeded, Looks
from gleitzeit.engine.conditions import why_unwanted
from gleitzeit.engine.params import CallParams, Identity, outputs_of
from gleitzeit.engine.permits import Limit, Permit
from gleitzeit.engine.schedule import Schedule
from gleitzeit.engine.scheduler import FLOW, Scheduler, Share
from gleitzeit.engine.workflow import Task, Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.blobs import Look
from gleitzeit.model.definition import TaskDefinition
from gleitzeit.model.permits import Held
from gleitzeit.model.schedules import AnyScheduleFact
from gleitzeit.schemas import Catalogue
from gleitzeit.spec.durations import in_words

COORDINATOR = "coordinator"
"""The roster's name for the engine itself, which serves the methods whose schema says `x-runs: coordinator`."""
MAX_QUEUED = 1_000_000
MAX_LOADS = 3
"""Of one large value for the start of a task: beyond that one drives out the other."""
SETTLED = 2_000
"""So many tasks are queued in one turn, or events follow from others, or workflows are looked at: others wait for its
end."""
_PART = 500
AT_ONCE = 1_000
"""A workflow of which no more tasks are under way ends in one commit."""
SPARE_TIMERS = 10_000
"""So many timers may wait in vain before they are looked through."""
_CANCELLED = "the workflow was cancelled"
_NO_FALLBACK = frozenset({errors.BudgetExceeded.name, errors.LoopExhausted.name, "CALL_LOST", "CONCURRENCY_REPLACED"})
"""What is spent is spent for the alternatives too; what may have had its effect is not repeated elsewhere; and who made
room for another does not come back by another way."""


class Append(Struct):
    """`events` for the stream of `workflow`; the first of them has the number `seq`."""

    workflow: Workflow
    seq: int
    events: list[ev.AnyEvent]


class ScheduleAppend(Struct):
    """`facts` for the stream of `schedule`; the first of them has the number `seq`."""

    schedule: Schedule
    seq: int
    facts: list[AnyScheduleFact]


class Decision:
    """`appends` by workflow, `schedules` by the name of the schedule, and `limits` whose permits others hold now: all
    of them are one commit."""

    __slots__ = ("answers", "appends", "effects", "limits", "schedules")

    def __init__(self) -> None:
        self.appends: dict[str, Append] = {}
        self.schedules: dict[str, ScheduleAppend] = {}
        self.limits: list[Held] = []
        self.effects: list[fx.Effect] = []
        self.answers: list[fx.Answer] = []


def call_id(workflow_id: str, task_id: str, attempt: int) -> str:
    """`<workflow_id>/<task_id>/<attempt>`, each percent-encoded."""
    return f"{urllib.parse.quote(workflow_id, safe='')}/{urllib.parse.quote(task_id, safe='')}/{attempt}"


def failure(error: errors.GleitzeitError, data: Raw = ev.NULL) -> ev.Failure:
    return ev.Failure(error.code, error.message, error.name, data, error.retryable)


def to_ms(seconds: float) -> int:
    return round(seconds * 1000)


class Core:
    def __init__(self, catalogue: Catalogue, identity: Identity) -> None:
        self.catalogue = catalogue
        """Replace it when providers describe more methods."""
        self.workflows: dict[str, Workflow] = {}
        self.calls: dict[str, fx.Call] = {}
        self.schedules: dict[str, Schedule] = {}
        """Those that are not deleted, by name."""
        self._identity = identity
        self._shared = identity.shards > 1
        """Other coordinators may work on the same journal."""
        self._limits: dict[str, Limit] = {}
        """Whose permits are ours to give, by name: those of which there is one that holds or waits."""
        self._limits_changed: dict[str, Limit] = {}
        self._looks = False
        """A time is set to look after what others hold."""
        self._permits: dict[str, Permit] = {}
        """What workflows and tasks of ours hold or wait for, by holder."""
        self._permit_of: dict[Task | Workflow, Permit] = {}
        self._asked: dict[str, dict[Permit, None]] = {}
        """By limit whose permits another coordinator keeps: what it has been asked for, …"""
        self._unasked: dict[str, deque[Permit]] = {}
        """… and what it will be asked for when it has answered."""
        self._ask_count = 0
        self._shares: dict[str, Share] = {}
        """Of the places at foreign providers that other coordinators may call too, by url."""
        self._found: dict[Task, tuple[int, fx.TargetsFound]] = {}
        """When it was found whom the signal of a task is for that is about to begin, and what."""
        self._unadmitted: list[Workflow] = []
        """Adopted ones that have a concurrency key."""
        self._scheduled: dict[str, dict[str, None]] = {}
        """The workflows of each schedule that have not ended."""
        self.scheduler = Scheduler()
        self.scheduler.provider_ready(
            fx.ProviderReady(COORDINATOR, COORDINATOR, frozenset({*inner.METHODS, FLOW}), capacity=MAX_QUEUED)
        )
        self.more = False
        """Decide again at once: this turn ended at its limit, not for want of work."""
        self._wake_at: int | None = None
        """When something may start that a circuit or a budget holds back."""
        self.draining = False
        """Start nothing more."""
        self.owns: Callable[[str], bool] = lambda workflow_id: True
        """Whether a workflow of this id is ours to make: where several coordinators share a journal, some are not."""
        self._seen: set[str] = set()
        """Instances that discovery knows of and nobody has found dead: a namesake of theirs is no successor."""
        self._blobs = Looks()
        self._when_looked: dict[Look, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}
        """What goes on when a look into a blob is answered."""
        self._loads: dict[Task, Counter[Look]] = {}
        """Of tasks that wait for blobs: how often each was asked for."""
        self._params = CallParams(identity, lambda: self.catalogue, self._blobs.value)
        self._lease_ms = to_ms(identity.lease_seconds)
        self._timers: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._timer_count = 0
        self._prune_at = SPARE_TIMERS
        self._started_bytes = 0
        self._touched: dict[str, Workflow] = {}
        self.settled, self.at_once = SETTLED, AT_ONCE
        self._room = 0
        """What is left of `settled` in this turn."""
        self._sweeps: dict[str, list[Iterator[None]]] = {}
        """By workflow: what follows from its events in more steps than a turn had room for."""
        self._stopping: dict[str, bool] = {}
        """Workflows that start nothing any more; True: but what runs always."""
        self._askers: dict[str, list[Any]] = {}
        """By workflow: whom to answer when its sweeps are over."""
        self._decision = Decision()
        self._now = 0

    @property
    def shards(self) -> int:
        """Of the journal."""
        return self._identity.shards

    @property
    def queued(self) -> int:
        """How many tasks are ready, also those that a later turn queues."""
        waiting = {**self._touched, **{name: self.workflows[name] for name in self._sweeps}}
        return self.scheduler.queued + sum(len(workflow.released) for workflow in waiting.values())

    # Recording

    def _record(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        seq = workflow.seq + 1
        workflow.apply(event)
        self._applied(workflow, event, seq)

    def _applied(self, workflow: Workflow, event: ev.AnyEvent, seq: int) -> None:
        """What has been applied is part of the commit, as the event of that number."""
        append = self._decision.appends.get(workflow.id)
        if append is None:
            append = self._decision.appends[workflow.id] = Append(workflow, seq, [])
        append.events.append(event)
        self._touched[workflow.id] = workflow
        self._follow(workflow, event)

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        """What an event of one workflow means for others, to be decided in the same commit."""

    def _create(self, event: ev.WorkflowSubmitted, *, held: bool = False) -> Workflow:
        """Begin a workflow, whose id must be new."""
        return self._enter(Workflow(event), held=held)

    def _enter(self, workflow: Workflow, *, held: bool = False) -> Workflow:
        self.workflows[workflow.id] = workflow
        self._decision.appends[workflow.id] = Append(workflow, 1, [workflow.submitted])
        self._touched[workflow.id] = workflow
        if held:
            self.scheduler.held.add(workflow.id)
        self._arm_workflow_timeout(workflow)
        self._admit(workflow)
        return workflow

    def _admit(self, workflow: Workflow) -> None:
        """A new workflow, which may have to wait before anything of it starts."""

    def _effect(self, effect: fx.Effect) -> None:
        self._decision.effects.append(effect)

    def _answer(self, token: Any, workflow: Workflow, *, created: bool = True, tasks: tuple[str, ...] = ()) -> None:
        self._decision.answers.append(fx.Answer(token, workflow, created, tasks))

    def _refuse(self, token: Any, error: errors.GleitzeitError) -> None:
        self._decision.answers.append(fx.Answer(token, error=error))

    def _at(self, when: int, callback: Callable[..., None], *arguments: Any) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, callback, arguments))
        if len(self._timers) > self._prune_at:
            self._prune_timers()

    def _prune_timers(self) -> None:
        """A timer keeps its workflow in memory, perhaps for hours: let those go whose call or workflow has ended."""
        self._timers = [timer for timer in self._timers if _awaited(timer[3][0])]
        heapq.heapify(self._timers)
        self._prune_at = 2 * len(self._timers) + SPARE_TIMERS

    # Blobs

    def _await_blob(self, needed: BlobNeeded, callback: Callable[..., None], *arguments: Any) -> None:
        """Have it looked into, and call back then."""
        waiting = self._when_looked.setdefault(needed.look, [])
        if not waiting:
            self._effect(fx.LookInto(needed.look))
        waiting.append((callback, arguments))

    def _need_blob(self, workflow: Workflow, task: Task, needed: BlobNeeded) -> None:
        """What the task is to be started with looks into a large value; until that is answered it is in no queue."""
        loads = self._loads.setdefault(task, Counter())
        loads[needed.look] += 1
        if loads[needed.look] > MAX_LOADS:
            error = errors.ResourceExhausted("its references look into more and larger values than there is room for")
            self._fail_task(workflow, task, task.attempt, failure(error))
        else:
            self._await_blob(needed, self._queue_again, workflow, task, task.definition, task.ready_at)

    def _queue_again(self, workflow: Workflow, task: Task, definition: TaskDefinition, ready_at: int) -> None:
        if workflow.final or task.state != "ready" or (task.definition, task.ready_at) != (definition, ready_at):
            self._loads.pop(task, None)
        else:
            self.scheduler.add(workflow, [task])

    def _looked_into(self, item: fx.LookedInto) -> None:
        if item.problem is not None:
            self._blobs.add_problem(item.look, item.problem)
        else:
            self._blobs.add(item.look, item.value, item.size_bytes)
        for callback, arguments in self._when_looked.pop(item.look, ()):
            callback(*arguments)

    # Ends

    def _fail_task(self, workflow: Workflow, task: Task, attempt: int, error: ev.Failure) -> None:
        """For good: what the task called, and if it has no alternative left the task itself."""
        self._loads.pop(task, None)
        self.scheduler.looked_up.discard(task)
        following = task.alternative + 1
        if (
            following <= len(task.definition.fallback)
            and task.state in ("ready", "running")
            and not task.expands
            and error.name not in _NO_FALLBACK
        ):
            label = task.definition.fallback[following - 1].label
            self._record(workflow, ev.TaskFellBack(self._now, task.id, attempt, error, following, label))
            return
        if task.causes:
            before = "; ".join(task.causes)
            error = replace(error, message=f"{error.message} (what was tried before failed, too: {before})")
        self._record(workflow, ev.TaskFailed(self._now, task.id, attempt, error))
        if task.parent is None and task.origin is None and not workflow.tolerates(task):
            self._after_failure(workflow, task)

    def _after_failure(self, workflow: Workflow, *tasks: Task) -> None:
        """What failures mean for the other tasks, by the workflow's policy."""
        if workflow.final:
            return
        first = next((task for task in tasks if task.state == "failed" and not cleanup.is_spared(task)), None)
        if workflow.definition.error_policy == "fail_fast" and first is not None:
            self._stop_all_tasks(workflow, f"task {first.id} failed")
        self._sweep(workflow, self._skip_dependents(workflow, tasks))

    def _skip_dependents(self, workflow: Workflow, tasks: Iterable[Task]) -> Iterator[None]:
        """Those that wait for their completion, which will not be, however far."""
        stack = [(task, task.definition.name or task.id) for task in tasks]
        while stack:
            failed, name = stack.pop()
            for dependent in failed.dependents:
                if dependent.state == "pending" and dependent.definition.trigger == "success":
                    reason = f"task {name} did not complete"
                    self._record(workflow, ev.TaskSkipped(self._now, dependent.id, reason))
                    stack.append((dependent, name))
                    yield

    def _stop_all_tasks(self, workflow: Workflow, reason: str, *, spare: bool = True) -> None:
        """Start nothing more, and cancel whatever has not ended. With `spare`, let be what runs always."""
        self._stopping[workflow.id] = spare and self._stopping.get(workflow.id, True)
        self._sweep(workflow, self._end_all_tasks(workflow, reason, spare=spare))

    def _end_all_tasks(self, workflow: Workflow, reason: str, *, spare: bool) -> Iterator[None]:
        """Those that run come first: their providers are told."""
        running = [call.task for call in self.calls.values() if call.workflow is workflow]
        for task in itertools.chain(running, list(workflow.tasks.values())):
            if task.ended or (spare and cleanup.is_spared(task)):
                continue
            if task.state == "running":
                call = self.calls.pop(call_id(workflow.id, task.id, task.attempt), None)
                if call is not None:
                    self.scheduler.leave(call)
                    self._effect(fx.CancelCall(call, reason))
            self._record(workflow, ev.TaskCancelled(self._now, task.id, reason))
            yield
        if workflow.unfinished:
            yield from self._skip_dependents(workflow, cleanup.dead_ends(workflow))

    def _cancel_workflow(self, workflow: Workflow, reason: str, error: ev.Failure | None = None) -> None:
        """Cancel it, or with `error` let it fail. What runs always, and what undoes, runs before."""
        why = reason or _CANCELLED
        if workflow.closing is None and (workflow.unfinished > self.at_once or cleanup.closes_first(workflow)):
            self._record(workflow, ev.WorkflowCancelling(self._now, reason, error))
            self.scheduler.held.discard(workflow.id)
            self.scheduler.unpark(workflow)
            self._stop_all_tasks(workflow, why)
            self._arm_workflow_timeout(workflow)
            return
        self._stopping[workflow.id] = False
        steps = self._cut_short(workflow, why, reason, error)
        if workflow.unfinished > self.at_once:
            self._sweep(workflow, steps)
        else:
            self._room -= sum(1 for _ in steps)

    def _cut_short(self, workflow: Workflow, why: str, reason: str, error: ev.Failure | None) -> Iterator[None]:
        while workflow.unfinished:  # in the end also what was added meanwhile
            yield from self._end_all_tasks(workflow, why, spare=False)
        event = cleanup.ending(workflow, self._now) if workflow.closing is not None else None
        if event is None:
            event = ev.WorkflowCancelled(self._now, reason) if error is None else ev.WorkflowFailed(self._now, error)
        self._ended(workflow, event)

    def _close_again(self, workflow: Workflow) -> None:
        """After a start: it is to end, and perhaps not all that follows had happened."""
        if workflow.closing is not None and not workflow.final:
            self._stop_all_tasks(workflow, workflow.closing.reason or _CANCELLED)

    # What has many steps

    def _sweep(self, workflow: Workflow, steps: Iterator[None]) -> None:
        """Take these steps, as many as there is room for; the next turns go on. Each may record one event. They must
        follow from what is durable by then, for who starts anew."""
        if not self._walk(steps):
            self._sweeps.setdefault(workflow.id, []).append(steps)

    def _walk(self, steps: Iterator[None]) -> bool:
        """Whether none is left."""
        while self._room > 0:
            if next(steps, self) is self:
                return True
            self._room -= 1
        return False

    def _go_on(self) -> None:
        """With what has begun before this turn; one after the other, and the others have room, too."""
        for workflow in [self.workflows[name] for name in self._sweeps]:
            sweeps = self._sweeps.pop(workflow.id)
            while sweeps and not workflow.final and self._walk(sweeps[-1]):
                sweeps.pop()
            if sweeps and not workflow.final:
                self._sweeps[workflow.id] = sweeps + self._sweeps.get(workflow.id, [])
            elif workflow.id not in self._sweeps:
                self._answer_askers(workflow)
            self._touch(workflow)

    def _answer_then(self, token: Any, workflow: Workflow) -> None:
        """When all has happened that follows from what was asked for."""
        self._askers.setdefault(workflow.id, []).append(token)
        if workflow.id not in self._sweeps:
            self._answer_askers(workflow)

    def _answer_askers(self, workflow: Workflow) -> None:
        for token in self._askers.pop(workflow.id, ()):
            self._answer(token, workflow)

    def _forget_sweeps(self, workflow: Workflow) -> list[Any]:
        """Returns who waits for their end."""
        self._sweeps.pop(workflow.id, None)
        self._stopping.pop(workflow.id, None)
        return self._askers.pop(workflow.id, [])

    def _is_stopped(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task that could start is cancelled instead: with many others, or here."""
        spares = self._stopping.get(workflow.id)
        if spares is not None and not (spares and cleanup.is_spared(task)):
            return True
        if task.parent is None or not fanout.is_given_up(task.parent):
            return False
        self._record(workflow, ev.TaskCancelled(self._now, task.id, fanout.why_given_up(task.parent)))
        return True

    def _release(self, workflow: Workflow, task: Task, attempt: int) -> None:
        if task.state == "retrying" and task.attempt == attempt and not workflow.final:
            self._record(workflow, ev.TaskReleased(self._now, task.id))

    def _arm_workflow_timeout(self, workflow: Workflow) -> None:
        if workflow.definition.timeout_seconds is not None:
            self._at(_timeout_at(workflow), self._workflow_timeout, workflow)

    def _workflow_timeout(self, workflow: Workflow) -> None:
        if workflow.final or _timeout_at(workflow) > self._now:
            return
        seconds = workflow.definition.timeout_seconds or 0
        message = f"the workflow took longer than its timeout of {in_words(seconds)}"
        error = ev.Failure(-28004, message, "WORKFLOW_TIMEOUT")
        self._cancel_workflow(workflow, "the workflow's timeout is over", error)

    def _settle(self) -> None:
        """Queue what became ready and end what has nothing left, until nothing more follows, or so much of it as one
        turn has room for."""
        while self._touched and self._room > 0:
            _, workflow = self._touched.popitem()
            self._room -= 1
            while workflow.stirred and not workflow.final:
                self._sweep(workflow, self._settle_items(workflow, workflow.stirred.popitem()[0]))
            if workflow.released and workflow.id not in self._sweeps:
                self._sweep(workflow, self._queue(workflow))
            cut_short = self._stopping.get(workflow.id) is False
            if not workflow.final and not cut_short and (origin := workflow.to_undo) is not None:
                self._record(workflow, ev.UndoAdded(self._now, origin.id))
            if not workflow.final and not workflow.unfinished:
                self._end(workflow)

    def _settle_items(self, workflow: Workflow, parent: Task) -> Iterator[None]:
        for event in fanout.follows(workflow, parent, lambda: self._now):
            if isinstance(event, ev.TaskFailed):
                self._fail_task(workflow, parent, event.attempt, event.error)
            else:
                self._record(workflow, event)
            yield

    def _queue(self, workflow: Workflow) -> Iterator[None]:
        """Those that became ready: so many at a time, and others between them."""
        while workflow.released:
            size = max(1, min(self._room, _PART))
            released, workflow.released = workflow.released[:size], workflow.released[size:]
            self._queue_part(workflow, released)
            for _ in released:
                yield

    def _queue_part(self, workflow: Workflow, released: list[Task]) -> None:
        released = [
            task
            for task in released
            if task.state == "ready" and not self._is_stopped(workflow, task) and self._is_wanted(workflow, task)
        ]
        for task in released:
            task.models = self._params.models_of(workflow, task)
        released = [task for task in released if not (task.definition.fallback and self._moves_on(workflow, task))]
        self.scheduler.add(workflow, released)
        for task in released:
            seconds = task.definition.queue_timeout_seconds
            if seconds is not None:
                self._at(task.ready_at + to_ms(seconds), self._queue_timeout, workflow, task, task.ready_at)

    def _is_wanted(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task that could start is to; if not, that is recorded."""
        try:
            unwanted = why_unwanted(workflow, task, lambda: self._params.scope(workflow, task))
        except BlobNeeded as needed:
            self._await_blob(needed, self._ask_again, workflow, task, task.ready_at)
            return False
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return False
        if unwanted is not None:
            self._record(workflow, ev.TaskSkipped(self._now, task.id, unwanted.reason, unwanted.cause))
        return unwanted is None

    def _ask_again(self, workflow: Workflow, task: Task, ready_at: int) -> None:
        """Whether it is wanted: what its condition reads is there now."""
        if task.state == "ready" and task.ready_at == ready_at and not workflow.final:
            workflow.released.append(task)
            self._touch(workflow)

    def _moves_on(self, workflow: Workflow, task: Task) -> bool:
        """Whether a task has turned to its next alternative, as nobody may be called for this one now."""
        moves = (
            not task.expands
            and task.alternative < len(task.definition.fallback)
            and self.scheduler.shut_out(workflow, task)
        )
        if moves:
            _, why = self.scheduler.why_waiting(workflow, task)
            self._fail_task(workflow, task, task.attempt, failure(errors.CircuitOpen(why)))
        return moves

    def _end(self, workflow: Workflow) -> None:
        event: ev.AnyEvent | None = cleanup.ending(workflow, self._now)
        if event is None:
            try:
                event = ev.WorkflowCompleted(self._now, outputs_of(workflow, self._blobs.value))
            except BlobNeeded as needed:
                self._await_blob(needed, self._touch, workflow)
                return
            except errors.GleitzeitError as error:
                event = ev.WorkflowFailed(self._now, failure(error))
        self._ended(workflow, event)

    def _ended(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        self._record(workflow, event)
        self.scheduler.forget(workflow)
        self._params.forget(workflow.id)
        for token in self._forget_sweeps(workflow):
            self._answer(token, workflow)
        for task in workflow.document_tasks():
            if task.fan is not None:
                task.fan.values = None

    def _touch(self, workflow: Workflow) -> None:
        self._touched[workflow.id] = workflow

    def _queue_timeout(self, workflow: Workflow, task: Task, ready_at: int) -> None:
        if task.state == "ready" and task.ready_at == ready_at and not workflow.final and not task.expands:
            seconds = task.definition.queue_timeout_seconds or 0
            reason, why = self.scheduler.why_waiting(workflow, task)
            kind = errors.ProviderNotAvailable if reason == "no_provider" else errors.TaskTimeout
            error = kind(f"not started within {in_words(seconds)} (queue_timeout): {why}")
            self._fail_task(workflow, task, task.attempt, failure(error))


def _awaited(subject: fx.Call | Workflow | Schedule | None) -> bool:
    if subject is None:
        return True
    if isinstance(subject, fx.Call):
        return subject.current
    return not subject.final and not (isinstance(subject, Workflow) and subject.disowned)


def _timeout_at(workflow: Workflow) -> int:
    """When a workflow's time is up: it begins anew with a retry by hand, and once more for what runs at its end."""
    began = workflow.closing.at if workflow.closing is not None else max(workflow.created_at, workflow.retried_at)
    return began + to_ms(workflow.definition.timeout_seconds or 0)
