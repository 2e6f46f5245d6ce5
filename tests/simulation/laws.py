"""The laws of the house, checked where things become observable: at an append, a send, an answer, an execution.

What is durable is read a second time here, by rules of its own (`Durable`), so that an error in the engine's table of
states is not also an error of its judge. The numbers are those of the list in the design; `table` says where each is
checked.
"""

import hashlib
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from operator import attrgetter
from typing import Any

import msgspec
from tests.simulation import flow_laws, people_laws, permit_laws, schedule_laws, time_laws
from tests.simulation.deciding import Deciding

from gleitzeit import errors
from gleitzeit.engine.decisions.calls import MAX_LOSSES
from gleitzeit.engine.decisions.core import call_id as name_of_call
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.permits import LIMITS
from gleitzeit.model.shards import SCHEDULES, shard_of
from gleitzeit.provider.call import Meta

_decode_event = msgspec.json.Decoder(ev.AnyEvent).decode
_json = msgspec.json.Encoder().encode
_ENDED = ("completed", "failed", "skipped", "cancelled")
_FINAL = ("completed", "failed", "cancelled")
BY_THE_CLIENT = "by the client"
"""Why clients cancel."""
_NO_FALLBACK = ("BUDGET_EXCEEDED", "CALL_LOST", "LOOP_EXHAUSTED", "CONCURRENCY_REPLACED")


class Violation(AssertionError):
    """A law is broken."""


def broken(law: int, what: str) -> Violation:
    return Violation(f"law {law}: {what}")


class Spent(msgspec.Struct):
    calls: int = 0
    tokens: int = 0
    ms: int = 0
    """Of calls that have ended."""

    def over(self, budget: Any, running_ms: int) -> bool:
        return budget is not None and (
            (budget.calls is not None and self.calls >= budget.calls)
            or (budget.tokens is not None and self.tokens >= budget.tokens)
            or (budget.seconds is not None and (self.ms + running_ms) / 1000 >= budget.seconds)
        )


class DurableTask:
    def __init__(
        self,
        definition: Any,
        name: str = "",
        *,
        parent: "DurableTask | None" = None,
        number: int = 0,
        origin: "DurableTask | None" = None,
    ) -> None:
        self.definition = definition
        self.name = name or definition.id
        self.parent, self.number, self.origin = parent, number, origin
        self.items: list[DurableTask] | None = None
        self.bypassed = self.undone = self.began = self.anew = self.was_wanted = False
        self.round = 0
        self.last: Any = None
        self.error: Any = None
        self.state = "pending"
        self.attempt = 0
        self.failures = 0
        self.losses = 0
        self.asks = False
        """A person is to say whether a lost call is made again."""
        self.instance = ""
        self.until: int | None = None
        self.timer = False
        self.result: Any = None
        self.params_sha256 = ""
        self.alternative = 0
        self.put_off: dict[int, int] = {}
        """Which of them would have let it wait, until when."""
        self.turned_back = False
        self.spent = Spent()
        self.started_at: int | None = None
        """Of the call that runs."""
        self.timed_out: set[int] = set()
        """Attempts that the coordinator gave up: their executions may end a little later."""

    def reset(self) -> None:
        self.state, self.failures, self.losses, self.alternative = "pending", 0, 0, 0
        self.put_off, self.turned_back = {}, False
        self.round, self.last, self.bypassed, self.undone = 0, None, False, False
        self.began = self.was_wanted = False

    @property
    def call(self) -> Any:
        """What is called now: the task itself, or one of its alternatives."""
        return self.definition.fallback[self.alternative - 1] if self.alternative else self.definition

    @property
    def tolerated(self) -> bool:
        return bool(self.definition.on_error == "skip")


class Durable:
    """A workflow as the journal says it is."""

    def __init__(self, first: ev.WorkflowSubmitted, parent: "Durable | None" = None) -> None:
        self.id = first.workflow_id
        self.parent = parent
        self.definition = first.definition
        self.key = first.idempotency_key
        self.body = first.body_sha256
        self.origin = first.origin
        self.status = "pending"
        self.statuses = {"pending"}
        self.seq = 1
        self.at = first.at
        self.tasks = {t.id: DurableTask(t) for t in first.definition.tasks}
        self.spent = Spent()
        self.closing: ev.WorkflowCancelling | None = None
        self.failed_fast = False
        """A task has failed, and where one fails the others are not to start any more."""
        self.undoable: list[str] = []
        self.has_late = any(task.late for task in first.definition.tasks)
        self.late_began = False
        self.retried = False
        self.cancels = self.cancels_now = 0
        """How often somebody has asked for its end since it was submitted or retried, and in this commit."""

    @property
    def outcome(self) -> str:
        """What it had come to when its late tasks began."""
        if not self.late_began:
            self._outcome = self.outcome_now
        return self._outcome

    @property
    def outcome_now(self) -> str:
        if self.closing is not None and self.closing.error is None:
            return "cancelled"
        tasks = flow_laws.document_tasks(self)
        failed = any(t.state == "failed" and not t.tolerated for t in tasks)
        return "failed" if failed or self.closing is not None else "completed"

    @property
    def final(self) -> bool:
        return self.status in _FINAL

    @property
    def hurried(self) -> bool:
        """Whether what runs at the end may be cut short: by a second cancel, or as its time is over, or with the
        workflow that waits for it."""
        if self.closing is None:
            return False
        first = self.closing.error is None and self.closing.reason == BY_THE_CLIENT
        with_its_parent = self.parent is not None and self.parent.hurried
        return self.cancels > first or flow_laws.is_out_of_time(self) or with_its_parent

    def apply(self, event: ev.AnyEvent) -> None:
        self.seq += 1
        name = type(event).__name__
        if event.at < self.at:
            raise broken(10, f"{name} of {self.id} says {event.at}, after an event of {self.at}")
        self.at = event.at
        if self.final and not isinstance(event, ev.WorkflowRetried):
            raise broken(2, f"{name} in {self.id}, which is {self.status}")
        try:
            getattr(self, f"_{name}")(event)
        except flow_laws.Breach as breach:
            raise broken(breach.law, f"{self.id}: {breach}") from None
        self.statuses.add(self.status)
        self._freeze_outcome()

    def _freeze_outcome(self) -> None:
        """What runs last looks at what the others came to when they ended and were undone, be it held back by a pause
        until later. A cancel that comes while they are undone counts: nothing of what runs last has begun by then."""
        if self.late_began or not self.has_late:
            return
        ordinary = all(task.state in _ENDED for task in flow_laws.document_tasks(self) if not task.definition.late)
        if ordinary and not (self.outcome_now != "completed" and self._is_to_be_undone()):
            self._outcome, self.late_began = self.outcome_now, True

    def _is_to_be_undone(self) -> bool:
        return bool(self.undoable) or any(t.origin is not None and t.state not in _ENDED for t in self.tasks.values())

    def _task(self, event: Any, *states: str) -> DurableTask:
        task = self.tasks[event.task]
        if task.state not in states:
            raise broken(2, f"{type(event).__name__} of {self.id}/{event.task}, which is {task.state}")
        begins = isinstance(event, ev.TaskStarted | ev.TaskWaiting | ev.TaskCached | ev.TasksAdded)
        if not begins and getattr(event, "attempt", task.attempt) != task.attempt:
            raise broken(7, f"{type(event).__name__} of attempt {event.attempt}, but {task.attempt} is current")
        return task

    def _begin(self, event: ev.TaskStarted | ev.TaskWaiting | ev.TaskCached | ev.TasksAdded) -> DurableTask:
        task = self._task(event, "pending", "ready")
        for name in task.definition.dependencies if task.parent is None and task.origin is None else ():
            self._check_dependency(task, self.tasks[name])
        flow_laws.check_start(self, task)
        if task.definition.late and task.origin is None:
            self._outcome, self.late_began = self.outcome, True
        task.began = True
        if self.status == "paused":
            raise broken(10, f"{self.id}/{event.task} starts while the workflow is paused")
        if (self.closing is not None or self.failed_fast) and not flow_laws.is_spared(task):
            raise broken(10, f"{self.id}/{event.task} starts though its workflow is being stopped")
        if event.attempt != task.attempt + 1:
            raise broken(7, f"attempt {event.attempt} of {self.id}/{event.task} follows attempt {task.attempt}")
        if task.failures >= task.definition.retry.max_attempts:
            raise broken(8, f"{self.id}/{event.task} starts after {task.failures} failures, which its policy forbids")
        if task.losses >= MAX_LOSSES:
            raise broken(8, f"{self.id}/{event.task} starts though {task.losses} calls lost their provider")
        self.status = "running"
        task.attempt = event.attempt
        return task

    def _check_dependency(self, task: DurableTask, dependency: DurableTask) -> None:
        tolerated = dependency.tolerated or self.definition.error_policy == "continue"
        met = dependency.state == "completed" or dependency.bypassed or (dependency.state == "failed" and tolerated)
        if not met and not (task.definition.trigger != "success" and dependency.state in _ENDED):
            raise broken(1, f"{self.id}/{task.name} starts while {dependency.name} is {dependency.state}")

    def _TasksAdded(self, event: ev.TasksAdded) -> None:
        task = self._begin(event)
        task.state = "waiting"
        if event.count != len(flow_laws.values_of(task.definition)):
            raise broken(19, f"{self.id}/{event.task} has {event.count} items")
        if task.items is None:
            names = [f"{task.name}[{number}]" for number in range(event.count)]
            task.items = [DurableTask(task.definition, name, parent=task, number=n) for n, name in enumerate(names)]
            self.tasks |= dict(zip(names, task.items, strict=True))
        for item in task.items:
            if item.state in _ENDED and (task.anew or item.state != "completed" or item.undone):
                item.reset()
        task.anew = False
        self.undoable = [name for name in self.undoable if self.tasks[name].state == "completed"]

    def _TaskRepeated(self, event: ev.TaskRepeated) -> None:
        task = self._task(event, "running", "waiting")
        self._paid(task, event.at, msgspec.json.decode(event.result))
        flow_laws.repeated(task, event)
        task.state, task.turned_back = "retrying", False

    def _UndoAdded(self, event: ev.UndoAdded) -> None:
        flow_laws.check_undo(self, event.task)
        self.undoable.pop()
        origin = self.tasks[event.task]
        origin.undone = True
        name = f"{event.task}[undo]"
        undo = self.tasks.setdefault(name, DurableTask(origin.definition.undo, name, origin=origin))
        undo.state, undo.failures, undo.losses = "ready", 0, 0

    def _WorkflowCancelling(self, event: ev.WorkflowCancelling) -> None:
        if self.closing is not None:
            raise broken(2, f"{self.id} is cancelled, and is closing already")
        flow_laws.note_wanted(self)
        self.closing, self.status = event, "running"

    def _completed(self, task: DurableTask, *, taken_over: bool = False) -> None:
        """What is taken over was looked at where it went its rounds."""
        if task.definition.undo is not None and task.items is None:
            self.undoable.append(task.name)
        if task.items is None and task.definition.until is not None and not taken_over:
            flow_laws.check_rounds(task)

    def _TaskStarted(self, event: ev.TaskStarted) -> None:
        task = self._begin(event)
        if event.alternative != task.alternative:
            raise broken(8, f"{self.id}/{event.task} calls alternative {event.alternative}, not {task.alternative}")
        self._pay(task, event)
        task.state, task.instance, task.params_sha256 = "running", event.instance, event.params_sha256
        limit = self.definition.max_parallel
        if limit is not None and sum(t.state == "running" for t in self.tasks.values()) > limit:
            raise broken(9, f"{self.id} runs more than max_parallel {limit}")

    def _pay(self, task: DurableTask, event: ev.TaskStarted) -> None:
        """A call is made: there must be something left for it."""
        if self._has_overspent(task, event.at):
            raise broken(8, f"{self.id}/{event.task} starts though its budget is spent")
        task.started_at = event.at
        for spent in (self.spent, task.spent):
            spent.calls += 1

    def _has_overspent(self, task: DurableTask, at: int) -> bool:
        running_ms = sum(at - t.started_at for t in self.tasks.values() if t.started_at is not None)
        own_ms = at - task.started_at if task.started_at is not None else 0
        return self.spent.over(self.definition.budget, running_ms) or task.spent.over(task.definition.budget, own_ms)

    def _paid(self, task: DurableTask, at: int, result: dict[str, Any]) -> None:
        """A call may have made several requests, but none that nothing was left for."""
        tokens, further = result.get("usage", {}).get("total_tokens", 0), result.get("requests", 1) - 1
        self._call_ended(task, at, calls=further, tokens=tokens)
        for whose, budget, spent in (
            (self.id, self.definition.budget, self.spent),
            (f"{self.id}/{task.name}", task.definition.budget, task.spent),
        ):
            if budget is not None and budget.calls is not None and spent.calls > budget.calls:
                raise broken(8, f"{whose} has made {spent.calls} calls of a budget of {budget.calls}")

    def _call_ended(self, task: DurableTask, at: int, *, calls: int = 0, tokens: int = 0) -> None:
        for spent in (self.spent, task.spent):
            spent.ms += at - task.started_at if task.started_at is not None else 0
            spent.calls += calls
            spent.tokens += tokens
        task.started_at = None

    def _TaskCached(self, event: ev.TaskCached) -> None:
        task = self._begin(event)
        if not event.origin and event.stored_at + task.definition.cache.ttl_seconds * 1000 <= event.at:
            raise broken(7, f"{self.id}/{event.task} has a result of {event.stored_at} at {event.at}, which is too old")
        task.state, task.result = "completed", msgspec.json.decode(event.result)
        self._completed(task, taken_over=bool(event.origin))

    def _TaskFellBack(self, event: ev.TaskFellBack) -> None:
        task = self._task(event, "ready", "pending", "running", "retrying")
        if event.alternative != task.alternative + 1:
            raise broken(8, f"{self.id}/{event.task} goes from alternative {task.alternative} to {event.alternative}")
        self._turns(task, event)
        task.state, task.failures, task.alternative = "ready", 0, event.alternative

    def _TaskTurnedBack(self, event: ev.TaskTurnedBack) -> None:
        """All that it names was called; it goes on with what would have let it wait, and no sooner."""
        task = self._task(event, "ready", "running", "retrying")
        if task.alternative < len(task.definition.fallback) and not task.turned_back:
            raise broken(8, f"{self.id}/{event.task} turns back before all its alternatives were tried")
        self._turns(task, event)
        until = task.put_off.pop(event.alternative, None)
        if until is None or event.until < until:
            raise broken(8, f"{self.id}/{event.task} turns back to {event.alternative}, put off until {until}")
        task.state, task.failures, task.alternative = "retrying", 0, event.alternative
        task.until, task.turned_back = event.until, True

    def _turns(self, task: DurableTask, event: ev.TaskFellBack | ev.TaskTurnedBack) -> None:
        """From what it has called to something else."""
        task.put_off.pop(task.alternative, None)
        if task.state != "retrying":
            self._call_ended(task, event.at)
            self._gave_up(task, event)
        elif event.error.code == errors.ProviderBusy.code:  # it was refused, and does not wait: nothing is charged
            task.put_off[task.alternative] = task.until or 0

    def _TaskWaiting(self, event: ev.TaskWaiting) -> None:
        task = self._begin(event)
        timer = task.definition.method.startswith("timer/")
        task.state, task.until, task.timer = "waiting", event.until, timer

    def _TaskCompleted(self, event: ev.TaskCompleted) -> None:
        task = self._task(event, "running", "waiting")
        if task.state == "waiting" and task.timer and (task.until is None or event.at < task.until):
            raise broken(10, f"the timer {self.id}/{event.task} fired at {event.at}, before {task.until}")
        if task.items is not None:
            flow_laws.check_parents_end(task)
            task.state = "completed"
            return
        task.state, task.result = "completed", msgspec.json.decode(event.result)
        self._paid(task, event.at, task.result)
        self._completed(task)

    def _TaskRetrying(self, event: ev.TaskRetrying) -> None:
        task = self._task(event, "running", "waiting")
        self._call_ended(task, event.at)
        task.state, task.until = "retrying", event.until
        task.failures += 1
        policy = task.definition.retry
        delay = (event.until - event.at) / 1000
        least = min(policy.base_delay_seconds, policy.max_delay_seconds) / 2 - 0.001
        if not least <= delay <= policy.max_delay_seconds + 0.001:
            raise broken(8, f"{self.id}/{event.task} backs off {delay} s")
        self._gave_up(task, event)

    def _gave_up(
        self, task: DurableTask, event: ev.TaskRetrying | ev.TaskFailed | ev.TaskFellBack | ev.TaskTurnedBack
    ) -> None:
        if event.error.code == errors.ProviderBusy.code:
            raise broken(8, f"that a provider was busy is charged to {self.id}/{event.task}")
        if event.error.code in (errors.TaskTimeout.code, errors.BudgetExceeded.code) or (
            event.error.name == "CONCURRENCY_REPLACED"
        ):
            task.timed_out.add(event.attempt)

    def _TaskReleased(self, event: ev.TaskReleased) -> None:
        task = self._task(event, "waiting" if self.tasks[event.task].asks else "retrying")
        if not task.asks and task.until is not None and event.at < task.until:
            raise broken(8, f"{self.id}/{event.task} is released at {event.at}, before {task.until}")
        task.state, task.asks = "ready", False

    def _TaskFailed(self, event: ev.TaskFailed) -> None:
        task = self._task(event, "pending", "ready", "running", "retrying", "waiting")
        if self.definition.error_policy == "fail_fast" and task.parent is None and not flow_laws.is_spared(task):
            self.failed_fast |= not task.tolerated
        if task.definition.for_each is not None and task.parent is None:
            flow_laws.check_parents_failure(task, event.error)
            task.state = "failed"
            return
        left = 0 if task.turned_back else len(task.definition.fallback) - task.alternative
        put_off = task.put_off.keys() - {task.alternative}
        if (left or put_off) and task.state != "waiting" and event.error.name not in _NO_FALLBACK:
            raise broken(8, f"{self.id}/{event.task} fails, and {left or put_off} alternatives were not tried")
        if event.error.name == "BUDGET_EXCEEDED" and not self._has_overspent(task, event.at):
            raise broken(8, f"{self.id}/{event.task} fails for its budget, which is not spent")
        self._call_ended(task, event.at)
        task.error = {"code": event.error.code, "name": event.error.name, "message": event.error.message}
        task.state, task.asks = "failed", False
        task.failures += 1
        self._gave_up(task, event)

    def _TaskSkipped(self, event: ev.TaskSkipped) -> None:
        task = self._task(event, "pending", "ready")
        if event.cause:
            flow_laws.check_skip(self, task, event.cause)
        task.state, task.bypassed = "skipped", bool(event.cause)

    def _TaskCancelled(self, event: ev.TaskCancelled) -> None:
        task = self._task(event, "pending", "ready", "running", "retrying", "waiting")
        self._call_ended(task, event.at)
        task.timed_out.add(task.attempt)
        task.state, task.asks = "cancelled", False
        if flow_laws.is_spared(task) and not flow_laws.is_given_up(task) and not self.hurried:
            raise broken(21, f"{self.id}/{event.task} runs always, and is cancelled")

    def _CallRefused(self, event: ev.CallRefused) -> None:
        task = self._task(event, "running")
        self._call_ended(task, event.at, calls=-1)
        task.state, task.until = "retrying", event.until

    def _CallLost(self, event: ev.CallLost) -> None:
        task = self._task(event, "running")
        self._call_ended(task, event.at)
        task.asks = event.approval is not None
        task.state = "waiting" if task.asks else "ready"
        task.losses += event.may_have_run

    def _SignalReceived(self, event: ev.SignalReceived) -> None:
        pass

    def _WorkflowPaused(self, event: ev.WorkflowPaused) -> None:
        self.status = "paused"

    def _WorkflowResumed(self, event: ev.WorkflowResumed) -> None:
        self.status = "running"

    def _end(self, status: str) -> None:
        open_ones = [name for name, task in self.tasks.items() if task.state not in _ENDED]
        if open_ones:
            raise broken(2, f"{self.id} is {status} while {open_ones} have not ended")
        flow_laws.check_end(self, status)
        self.status = status

    def _WorkflowCompleted(self, event: ev.WorkflowCompleted) -> None:
        self._end("completed")

    def _WorkflowFailed(self, event: ev.WorkflowFailed) -> None:
        self._end("failed")

    def _WorkflowCancelled(self, event: ev.WorkflowCancelled) -> None:
        self._end("cancelled")

    def _WorkflowRetried(self, event: ev.WorkflowRetried) -> None:
        if self.status not in ("failed", "cancelled"):
            raise broken(2, f"{self.id} is retried while it is {self.status}")
        self.status, self.retried = "running", True
        self.spent = Spent()
        for task in self.tasks.values():
            task.spent, task.started_at = Spent(), None
        self.closing, self.late_began, self.cancels = None, False, self.cancels_now
        self.failed_fast = False
        names = set(event.tasks)
        for name in event.tasks:
            self._reset(self.tasks[name], names)
        self.undoable = [name for name in self.undoable if self.tasks[name].state == "completed"]

    def _reset(self, task: DurableTask, names: set[str]) -> None:
        anew = not names.isdisjoint(task.definition.dependencies)
        undone = task.undone or any(item.undone for item in task.items or ())
        if task.state == "completed" and not (anew or undone or task.definition.trigger != "success"):
            raise broken(2, f"{self.id}/{task.name} is reset while it is completed")
        task.anew |= anew
        task.reset()


_OF_A_TASK = attrgetter(
    "id", "state", "attempt", "failures", "losses", "unmet", "result", "error", "provider", "instance", "ready_at",
    "started_at", "completed_at", "until", "signals", "alternative", "cached", "causes", "bypassed", "undone", "round",
    "approval", "child", "place", "put_off", "queued_at", "refusal", "refusals", "sends", "turned_back", "wants_all",
)  # fmt: skip
_OF_A_WORKFLOW = attrgetter(
    "id", "state", "seq", "created_at", "updated_at", "started_at", "retried_at", "completed_at", "error", "closing",
    "ordinary", "failing", "late_open", "outcome", "signal_keys",
)  # fmt: skip


def snapshot(workflow: Workflow) -> tuple[Any, ...]:
    """Everything that a stream decides about a workflow, as plain values."""
    tasks = workflow.tasks.values()
    families = [
        (
            t.id, t.parent and t.parent.id, t.origin and t.origin.id,
            t.fan and (len(t.fan.items), t.fan.left, t.fan.active, t.fan.failed and t.fan.failed.id, t.fan.anew),
        )
        for t in tasks
        if t.parent is not None or t.origin is not None or t.fan is not None
    ]  # fmt: skip
    counts = sorted((state, n) for state, n in workflow.counts.items() if n)
    return (
        _OF_A_WORKFLOW(workflow), list(map(_OF_A_TASK, tasks)), families, counts, bytes(workflow.outputs),
        list(map(_json, workflow.signals)), _json(workflow.meter), [t.id for t in workflow.undoable],
        workflow.undoing and workflow.undoing.id,
    )  # fmt: skip


class Execution(msgspec.Struct):
    instance: str
    call_id: str
    attempt: int


class Laws:
    """Told of everything; raises Violation."""

    def __init__(self) -> None:
        self.durable: dict[str, Durable] = {}
        self.replayed: dict[str, Workflow] = {}
        self.acknowledged: dict[str, str] = {}
        """Idempotency key -> workflow id."""
        self.capacities: dict[str, int] = {}
        self.paid: set[tuple[str, str]] = set()
        """(instance, call id) of everything that was ever executed, …"""
        self.arrived: set[tuple[str, str]] = set()
        """… of all requests that have come, …"""
        self.refused: set[tuple[str, str]] = set()
        """… and of those that were answered with busy."""
        self.running: dict[tuple[str, str], list[Execution]] = {}
        """By (workflow, task)."""
        self.shared = False
        """Whether several coordinators work on the journal."""
        self.holders: dict[int, tuple[str, int]] = {}
        """Shard -> who claimed it last, and the epoch."""
        self.epochs: dict[tuple[str, int | str], int] = {}
        """The highest that a provider's instance has heard of."""
        self.outcomes: dict[str, bytes] = {}
        """Call id -> what its execution came to."""
        self.limits: dict[str, float] = {}
        """Call id -> for how long its provider, at a limit, wants not to be asked."""
        self.sent: set[str] = set()
        """Call ids whose request has left."""
        self.cancelled: list[str] = []
        """Calls that the last commit cancelled while they ran."""
        self.completed: dict[bytes, set[int]] = {}
        """Results of tasks whose results are kept for others -> when they completed."""
        self.counts = dict.fromkeys(
            ("appends", "events", "executions", "answers", "lost", "attached", "cached", "fell_back", "shut_out",
             "turned_back", "limited",
             "overspent", "asked_again", "unsent", "children", "signals", "crossed", "deposed", "scheduled", "lent",
             "filled", "handed", "went_back", "asked", "again",
             "taken_over", "deleted"), 0
        )  # fmt: skip
        self.time = time_laws.TimeLaws(self.durable, self.counts)
        self.permits = permit_laws.PermitLaws(self.durable, self.counts)
        self.people = people_laws.PeopleLaws(self.durable, self.counts)
        self.schedules = schedule_laws.ScheduleLaws(self.durable, self.counts)

    # The journal

    def appended(self, commit: Any, engine: Deciding, now: int) -> None:
        """The commit is durable; `now` is what its writer's clock says."""
        self.counts["appends"] += 1
        self.cancelled = []
        schedules = [append for append in commit if append.stream.startswith(SCHEDULES)]
        workflows = [append for append in commit if not append.stream.startswith((SCHEDULES, LIMITS))]
        with self._others_told():
            for append in workflows:
                self._cancels_asked(append.stream, engine)
                for encoded in append.events:
                    event = _decode_event(encoded)
                    self._event(append.stream, event, now)
                    self.time.event(append.stream, event)
                    self.people.event(append.stream, event)
                self._memory_is_the_replay(append.stream, engine)
            for append in schedules:
                for encoded in append.events:
                    self.schedules.fact(append.stream, encoded, now)
            self.time.committed()
            self.permits.committed(engine)
            self.schedules.committed()
            if schedules:
                self.schedules.check_memory(engine)
        for append in workflows:
            self._summary_fits(append.stream, append.summary)
        self._capacities_hold()

    def _cancels_asked(self, stream: str, engine: Deciding) -> None:
        durable = self.durable.get(stream)
        if durable is not None:
            durable.cancels_now = engine.take_cancels(stream)
            durable.cancels += durable.cancels_now

    @contextmanager
    def _others_told(self) -> Iterator[None]:
        try:
            yield
        except (time_laws.Breach, people_laws.Breach, permit_laws.Breach, schedule_laws.Breach) as breach:
            raise broken(breach.law, str(breach)) from None

    def _event(self, stream: str, event: ev.AnyEvent, now: int) -> None:
        self.counts["events"] += 1
        if isinstance(event, ev.CallLost):
            self.counts["lost" if event.may_have_run else "unsent"] += 1
            if not event.may_have_run and f"{stream}/{event.task}/{event.attempt}" in self.sent:
                raise broken(6, f"{stream}/{event.task}/{event.attempt} was sent, and counts as if it had not run")
        self.counts["cached"] += isinstance(event, ev.TaskCached)
        self.counts["asked_again"] += isinstance(event, ev.TaskStarted) and event.calls > 1
        self.counts["shut_out"] += isinstance(event, ev.TaskFellBack) and event.error.name == "CIRCUIT_OPEN"
        if isinstance(event, ev.CallRefused):
            self._waits_as_asked(stream, event)
        self.counts["turned_back"] += isinstance(event, ev.TaskTurnedBack)
        self.counts["fell_back"] += isinstance(event, ev.TaskFellBack)
        self.counts["overspent"] += isinstance(event, ev.TaskFailed) and event.error.name == "BUDGET_EXCEEDED"
        if event.at > now:
            raise broken(10, f"{type(event).__name__} of {stream} says {event.at}, but it is {now}")
        if isinstance(event, ev.WorkflowSubmitted):
            if stream in self.durable:
                raise broken(4, f"{stream} is submitted twice")
            same = [d.id for d in self.durable.values() if event.idempotency_key and d.key == event.idempotency_key]
            if same:
                raise broken(4, f"the key {event.idempotency_key} made {same[0]} and {stream}")
            self.durable[stream] = Durable(event, self.durable.get(stream.rsplit("~", 2)[0]))
            self.replayed[stream] = Workflow(event)
            self.schedules.submitted(event)
            return
        if isinstance(event, ev.TaskCancelled):
            task = self.durable[stream].tasks[event.task]
            if task.state == "running":
                self.cancelled.append(name_of_call(stream, event.task, task.attempt))
        if isinstance(event, ev.CallLost):
            self.people.lost(self.durable[stream], event)
        elif isinstance(event, ev.TaskFailed):
            self.people.given_up(self.durable[stream], event)
        self.durable[stream].apply(event)
        self.replayed[stream].apply(event)
        if isinstance(event, ev.TaskStarted):
            self._has_no_result_yet(self.durable[stream], event)
        elif isinstance(event, ev.TaskCompleted | ev.TaskRepeated):
            self._result_is_real(stream, event)
        elif isinstance(event, ev.TaskCached) and event.origin:
            self._may_be_taken_over(self.durable[stream], event)
        elif isinstance(event, ev.TaskCached):
            self._cached_result_is_real(stream, event)

    def _result_is_real(self, stream: str, event: ev.TaskCompleted | ev.TaskRepeated) -> None:
        task = self.durable[stream].tasks[event.task]
        if task.items is not None:
            return
        if task.definition.cache is not None:
            self.completed.setdefault(_cache_entry(self.durable[stream], task, event.result), set()).add(event.at)
        if task.definition.method.startswith("sim/"):
            call_id = name_of_call(stream, event.task, event.attempt)
            if self.outcomes.get(call_id) != bytes(event.result):
                raise broken(7, f"the result recorded for {call_id} is not what its execution came to")

    def _waits_as_asked(self, stream: str, event: ev.CallRefused) -> None:
        seconds = self.limits.get(name_of_call(stream, event.task, event.attempt), 0.0)
        self.counts["limited"] += bool(seconds)
        if event.until < event.at + seconds * 1000:
            raise broken(8, f"{stream}/{event.task} is to be called before its provider wants that, at {event.until}")

    def _cached_result_is_real(self, stream: str, event: ev.TaskCached) -> None:
        """It is what an equal call came to, at the time that the event says."""
        durable = self.durable[stream]
        task = durable.tasks[event.task]
        times = self.completed.get(_cache_entry(durable, task, event.result), ())
        of_a_clock_ahead = event.stored_at == event.at and any(at > event.at for at in times)
        if event.stored_at not in times and not of_a_clock_ahead:
            raise broken(7, f"the kept result of {stream}/{event.task} is not what an equal call came to")

    def _has_no_result_yet(self, durable: Durable, event: ev.TaskStarted) -> None:
        """What is run again is not called, and paid, for what it has been called for with success."""
        origin = durable.origin
        if origin is None or not origin.rerun_of or event.attempt > 1:
            return
        old, task = self.durable[origin.rerun_of], durable.tasks[event.task]
        other = old.tasks.get(event.task)
        if other is None or other.state != "completed" or other.undone or task.origin is not None or old.retried:
            return
        anew = origin.from_task in (task.name, task.definition.id)
        if task.definition.until is None:
            same = (other.params_sha256, other.call.method) == (event.params_sha256, task.definition.method)
        else:
            same = other.call.method == task.call.method and _begins_alike(durable, task, old, other)
        if same and not anew:
            raise broken(6, f"{durable.id}/{event.task} is called, though {old.id} has the result")

    def _may_be_taken_over(self, durable: Durable, event: ev.TaskCached) -> None:
        """What is run again takes a result that the same task had for the same params, and that still counts."""
        self.counts["taken_over"] += 1
        origin, old = durable.origin, self.durable[event.origin]
        task, other = durable.tasks[event.task], old.tasks[event.task]
        if origin is None or origin.rerun_of != event.origin:
            raise broken(7, f"{durable.id} takes a result of {event.origin}, which it does not run again")
        if origin.from_task in (task.name, task.definition.id):
            raise broken(7, f"{durable.id}/{event.task} is to run anew, and takes the result that it had")
        if task.origin is not None or other.undone:
            raise broken(22, f"{durable.id}/{event.task} takes a result, and what it did was undone, or was to undo")
        if old.retried:  # what it had before need not be what it has now
            return
        if other.state != "completed" or other.result != task.result:
            raise broken(7, f"{durable.id}/{event.task} takes a result that {old.id} does not have")
        if not (other.params_sha256 and task.definition.method.startswith("sim/")):
            return
        if task.definition.until is not None:
            if not _begins_alike(durable, task, old, other):
                raise broken(7, f"{durable.id}/{event.task} takes the result of other rounds")
        else:
            written = msgspec.json.decode(task.call.params)
            params = flow_laws.expected_params(durable, task, written)
            digest = hashlib.sha256(_json({name: params[name] for name in written})).hexdigest()
            if other.params_sha256 != digest or other.call.method != task.call.method:
                raise broken(7, f"{durable.id}/{event.task} takes the result of another call")

    def _memory_is_the_replay(self, stream: str, engine: Engine) -> None:
        workflow = engine.workflows.get(stream)
        if workflow is None and not engine.owns(stream):
            return  # given away in the same turn: this commit is the last of ours
        if workflow is None or snapshot(workflow) != snapshot(self.replayed[stream]):
            raise broken(3, f"{stream} in memory is not the replay of its stream")

    def _summary_fits(self, stream: str, summary: Any) -> None:
        durable = self.durable[stream]
        if (summary.status, summary.active) != (durable.status, not durable.final):
            raise broken(3, f"the summary of {stream} says {summary.status}, its stream {durable.status}")

    def claimed(self, owner: str, epochs: dict[int, int]) -> None:
        """A coordinator has become the owner of shards, or still is."""
        for shard, epoch in epochs.items():
            holder = self.holders.get(shard, ("", 0))
            if (owner, epoch) != holder and epoch <= holder[1]:
                raise broken(11, f"{owner} got shard {shard} with epoch {epoch}, which is not above that of {holder}")
            self.holders[shard] = owner, epoch

    def deleted(self, owner: str, streams: Sequence[str], shards: int) -> None:
        self.counts["deleted"] += len(streams)
        self.written(owner, streams, shards)

    def written(self, owner: str, streams: Iterable[str], shards: int) -> None:
        """A commit or a delete has succeeded."""
        for stream in streams:
            shard = shard_of(stream, shards)
            if shard is not None and self.holders[shard][0] != owner:
                raise broken(11, f"{owner} wrote {stream}, whose shard belongs to {self.holders[shard][0]}")

    def _capacities_hold(self) -> None:
        if self.shared:  # each starts as if the place were its own, and the provider says that it is busy
            return
        running: dict[str, int] = {}
        for workflow in self.durable.values():
            if not workflow.final:
                for task in workflow.tasks.values():
                    if task.state == "running":
                        running[task.instance] = running.get(task.instance, 0) + 1
        for instance, number in running.items():
            if number > self.capacities[instance]:
                raise broken(9, f"{number} calls at {instance}, which takes {self.capacities[instance]}")

    def recovered(self, streams: dict[str, list[bytes]], *engines: Engine) -> None:
        """Coordinators have read the journal: they must know exactly what is durable."""
        for stream, events in streams.items():
            replayed = replay(map(_decode_event, events))
            durable = snapshot(replayed)
            if durable != snapshot(self.replayed[stream]):
                raise broken(3, f"{stream} replayed from its stream is not what it was")
            for engine in engines:
                workflow = engine.workflows.get(stream)
                if workflow is None and not replayed.final and engine.owns(stream):
                    raise broken(12, f"{stream} is not final, and was not recovered")
                if workflow is not None and snapshot(workflow) != durable:
                    raise broken(3, f"{stream} was recovered as something else")
        with self._others_told():
            for engine in engines:
                self.schedules.check_memory(engine)

    # What leaves the coordinator

    def call_sent(self, method: str, params: bytes) -> Meta:
        """A request for a task's method. Returns what it says of itself."""
        meta = _decode_request(params)._meta
        durable = self.durable.get(meta.workflow_id)
        task = durable.tasks.get(meta.task_id) if durable is not None else None
        if durable is None or task is None or meta.attempt > task.attempt:
            raise broken(5, f"{meta.call_id} is sent, but it is not durable that it started")
        if durable.final or task.state != "running" or task.attempt != meta.attempt:
            raise broken(10, f"{meta.call_id} is sent, but the task is {task.state} in attempt {task.attempt}")
        if task.instance != meta.instance:
            raise broken(5, f"{meta.call_id} is for {meta.instance}, but its TaskStarted says {task.instance}")
        self.sent.add(meta.call_id)
        return meta

    def acknowledged_calls(self, call_ids: list[str]) -> None:
        """`call.ack` leaves: what came of these calls must be durable, or must not matter any more."""
        for call_id in call_ids:
            workflow_id, task_id, attempt = map(urllib.parse.unquote, call_id.split("/"))
            durable = self.durable.get(workflow_id)
            task = durable.tasks[task_id] if durable is not None else None
            if task is None or (task.state == "running" and task.attempt == int(attempt)):
                raise broken(5, f"{call_id} is acknowledged, but nothing of it is durable")

    def answered(self, method: str, encoded: bytes) -> None:
        """The coordinator answers a client."""
        self.counts["answers"] += 1
        answer = _decode_answer(encoded)
        workflow_id, status = answer.workflow_id, answer.status
        if workflow_id is None:
            return
        durable = self.durable.get(workflow_id)
        if durable is None:
            raise broken(5, f"{method} answers about {workflow_id}, which is not durable")
        if answer.seq > durable.seq:
            raise broken(5, f"{method} shows {workflow_id} at {answer.seq}, but {durable.seq} is durable")
        overtaken = self.shared and durable.retried  # an answer that another coordinator passes on may come that late
        if status not in durable.statuses or (status in _FINAL and status != durable.status and not overtaken):
            raise broken(5, f"{method} says that {workflow_id} is {status}; durable is {durable.status}")

    def event_published(self, params: bytes) -> None:
        published = _decode_published(params)
        durable = self.durable.get(published.workflow_id)
        if durable is None or published.seq > durable.seq:
            raise broken(5, f"event {published.seq} of {published.workflow_id} is shown before it is durable")

    # Clients

    def submit_acknowledged(self, key: str, workflow_id: str) -> None:
        if self.acknowledged.setdefault(key, workflow_id) != workflow_id:
            raise broken(4, f"the key {key} stands for {self.acknowledged[key]} and for {workflow_id}")

    # Providers

    def fence_heard(self, instance: str, shard: int | str, epoch: int) -> None:
        self.epochs[instance, shard] = max(epoch, self.epochs.get((instance, shard), 0))

    def fence_passed(self, instance: str, shard: int | str, epoch: int) -> None:
        """A provider serves what came with this fence."""
        if epoch < self.epochs[instance, shard]:
            raise broken(11, f"{instance} serves a deposed coordinator: epoch {epoch} of shard {shard}")

    def lent(self, meta: Meta, params: dict[str, Any]) -> None:
        """A foreign provider begins with a call; what it knows of others is nothing."""
        self.counts["lent"] += 1
        durable = self.durable[meta.workflow_id]
        task = durable.tasks[meta.task_id]
        if task.attempt == meta.attempt and task.state == "running":
            self._params_are_right(durable, task, meta, params)

    def execution_started(self, instance: str, capacity: int, meta: Meta, params: dict[str, Any]) -> None:
        self.counts["executions"] += 1
        if meta.instance != instance:
            raise broken(6, f"{meta.call_id}, meant for {meta.instance}, is executed by {instance}")
        if meta.fence is not None and meta.fence.epoch < self.epochs[instance, meta.fence.shard]:
            raise broken(11, f"{meta.call_id} of a deposed coordinator is executed by {instance}")
        if (instance, meta.call_id) in self.paid:
            raise broken(6, f"{meta.call_id} is executed a second time by {instance}")
        if (instance, meta.call_id) in self.refused:
            raise broken(6, f"{meta.call_id} is executed by {instance}, which has turned it away")
        self.paid.add((instance, meta.call_id))
        durable = self.durable[meta.workflow_id]
        task = durable.tasks[meta.task_id]
        if task.attempt == meta.attempt and task.state == "running":  # it may have fallen back while this was under way
            self._params_are_right(durable, task, meta, params)
        others = self.running.setdefault((meta.workflow_id, meta.task_id), [])
        for other in others:
            if not task.timed_out & {other.attempt, meta.attempt}:
                raise broken(6, f"{meta.call_id} starts at {instance} while {other.call_id} runs at {other.instance}")
        others.append(Execution(instance, meta.call_id, meta.attempt))
        if sum(e.instance == instance for running in self.running.values() for e in running) > capacity:
            raise broken(9, f"{instance} executes more than the {capacity} calls that it takes")

    def _params_are_right(self, durable: Durable, task: DurableTask, meta: Meta, params: dict[str, Any]) -> None:
        written = msgspec.json.decode(task.call.params)
        if params != flow_laws.expected_params(durable, task, written):
            raise broken(14, f"the params of {meta.call_id} are not what its dependencies came to")
        digest = hashlib.sha256(_json(params)).hexdigest()
        if task.params_sha256 != digest:
            raise broken(14, f"the params of {meta.call_id} are not those of its TaskStarted")

    def execution_ended(self, instance: str, meta: Meta, outcome: object) -> None:
        running = self.running[meta.workflow_id, meta.task_id]
        running[:] = [e for e in running if (e.instance, e.call_id) != (instance, meta.call_id)]
        if isinstance(outcome, bytes):
            self.outcomes[meta.call_id] = outcome
        elif getattr(outcome, "code", None) == errors.ProviderBusy.code:  # it had done nothing yet
            self.paid.discard((instance, meta.call_id))
            self.refused.add((instance, meta.call_id))
            self.limits[meta.call_id] = msgspec.json.decode(outcome.data)["retryAfterSeconds"]

    def turned_away(self, instance: str, call_id: str) -> None:
        """Its provider has no room for it, or says once more what it has said of it."""
        self.refused.add((instance, call_id))

    def instance_died(self, instance: str) -> None:
        for running in self.running.values():
            running[:] = [e for e in running if e.instance != instance]

    # The end

    def all_over(self, streams: dict[str, list[bytes]], engines: list[Engine]) -> None:
        """The faults are over, and everybody had time."""
        for key, workflow_id in self.acknowledged.items():
            if workflow_id not in streams:
                raise broken(4, f"{workflow_id}, acknowledged for the key {key}, is lost")
        for workflow_id, durable in self.durable.items():
            if not durable.final:
                states = {name: task.state for name, task in durable.tasks.items() if task.state not in _ENDED}
                raise broken(17, f"{workflow_id} is still {durable.status}: {states}")
        self.recovered(streams, *engines)
        for engine in engines:
            self._nothing_is_left(engine)

    def _nothing_is_left(self, engine: Engine) -> None:
        scheduler = engine.scheduler
        left = {
            "calls": list(engine.calls), "queued": scheduler.queued, "load": scheduler._load,
            "running": scheduler._running, "held": scheduler.held, "parked": scheduler._parked,
            "places": {p.instance: p.running for p in scheduler.roster.values() if p.running},
            "probes": [c for p in scheduler.roster.values() for c in p.circuits.values() if c.probes],
        }  # fmt: skip
        if any(left.values()):
            raise broken(16, f"all workflows have ended, but the engine still has {left}")
        executing = [e.call_id for running in self.running.values() for e in running]
        if executing:
            raise broken(10, f"all workflows have ended, but {executing} still run")


def _cache_entry(durable: Durable, task: DurableTask, result: Any) -> bytes:
    """By what calls are equal, and what they came to."""
    known_by: object = task.definition.cache.key
    if not known_by:
        known_by = flow_laws.expected_params(durable, task, msgspec.json.decode(task.call.params))
    return _json([task.call.method, known_by, result])


def _begins_alike(durable: Durable, task: DurableTask, old: Durable, other: DurableTask) -> bool:
    """Whether what goes round is called with the same in its first round: what follows comes of that."""
    first = copy(other)
    first.round, first.last = 0, None
    one, two = (
        flow_laws.expected_params(whose, it, msgspec.json.decode(it.call.params))
        for whose, it in ((durable, task), (old, first))
    )
    return bool(one == two)


class _Request(msgspec.Struct):
    _meta: Meta


class _Answer(msgspec.Struct):
    """What of an answer the laws look at; nothing else of it is decoded."""

    workflow_id: str | None = None
    seq: int = 0
    status: str = "pending"


class _Published(msgspec.Struct):
    workflow_id: str
    seq: int


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_published = msgspec.json.Decoder(_Published).decode
