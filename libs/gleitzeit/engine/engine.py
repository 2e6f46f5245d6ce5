"""The decisions of a coordinator: pure and synchronous. Time and ids come in as arguments; nothing goes out but
events to journal and effects to perform once they are durable.

The caller's duty: append `Decision.appends` in one commit, and only then perform `Decision.effects` and give
`Decision.answers`, in order. While a commit is under way `decide` must not be called.
"""

import heapq
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inner
from gleitzeit.engine.params import CallParams, Identity, outputs_of
from gleitzeit.engine.retry import BUSY_DELAY_SECONDS, asked_seconds, delay_seconds
from gleitzeit.engine.scheduler import CACHE, Scheduler
from gleitzeit.engine.workflow import Task, Workflow
from gleitzeit.model import events as ev
from gleitzeit.schemas import Catalogue

COORDINATOR = "coordinator"
"""The roster's name for the engine itself, which serves the methods whose schema says `x-runs: coordinator`."""
MAX_QUEUED = 1_000_000
MAX_STARTS = 1_000
"""Tasks started in one turn; the next turn follows at once."""
MAX_START_BYTES = 16 << 20
"""Of params that calls started in one turn may carry: one result that thousands refer to must not fill the memory."""
SPARE_TIMERS = 10_000
"""So many timers may wait in vain before they are looked through."""
MAX_LOSSES = 3
"""A task whose calls lost their provider so often is not tried again."""
CONNECT_GRACE_MS = 10_000
"""Beyond the lease, for a provider to come back before its calls count as lost."""
SUCCESSOR_GRACE_MS = 2_000
"""How long a call waits for its own instance once another one of the same provider has appeared."""


class Append(Struct):
    """`events` for the stream of `workflow`; the first of them has the number `seq`."""

    workflow: Workflow
    seq: int
    events: list[ev.AnyEvent]


class Decision:
    __slots__ = ("answers", "appends", "effects")

    def __init__(self) -> None:
        self.appends: dict[str, Append] = {}
        self.effects: list[fx.Effect] = []
        self.answers: list[fx.Answer] = []


def call_id(workflow_id: str, task_id: str, attempt: int) -> str:
    """`<workflow_id>/<task_id>/<attempt>`, each percent-encoded."""
    return f"{urllib.parse.quote(workflow_id, safe='')}/{urllib.parse.quote(task_id, safe='')}/{attempt}"


def failure(error: errors.GleitzeitError, data: Raw = ev.NULL) -> ev.Failure:
    return ev.Failure(error.code, error.message, error.name, data, error.retryable)


class Engine:
    def __init__(self, catalogue: Catalogue, identity: Identity) -> None:
        self.catalogue = catalogue
        """Replace it when providers describe more methods."""
        self.workflows: dict[str, Workflow] = {}
        self.calls: dict[str, fx.Call] = {}
        self.scheduler = Scheduler()
        self.scheduler.provider_ready(
            fx.ProviderReady(COORDINATOR, COORDINATOR, frozenset(inner.METHODS), capacity=MAX_QUEUED)
        )
        self.more = False
        """Decide again at once: this turn ended at its limit, not for want of work."""
        self.draining = False
        """Start nothing more."""
        self._seen: set[str] = set()
        """Instances that discovery knows of and nobody has found dead: a namesake of theirs is no successor."""
        self._params = CallParams(identity, lambda: self.catalogue)
        self._lease_ms = int(identity.lease_seconds * 1000)
        self._timers: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._timer_count = 0
        self._prune_at = SPARE_TIMERS
        self._started_bytes = 0
        self._touched: dict[str, Workflow] = {}
        self._decision = Decision()
        self._now = 0

    # The caller's side

    def decide(self, now: int, inputs: Iterable[fx.Input]) -> Decision:
        """Take what arrived and what is due, and say what follows. `now` is in UTC milliseconds and never goes back."""
        self._now = max(now, self._now)
        self._decision = Decision()
        for item in inputs:  # before what is due: after a stall, a result that came counts and not the timeout
            _ON[type(item)](self, item)
        while self._timers and self._timers[0][0] <= self._now:
            _, _, callback, arguments = heapq.heappop(self._timers)
            callback(*arguments)
        self._settle()
        self._start_tasks()
        self._withdraw_sends()
        return self._decision

    def _withdraw_sends(self) -> None:
        """What a later decision of the same turn cancelled must not be sent: its end will be durable by then."""
        self._decision.effects = [
            effect
            for effect in self._decision.effects
            if type(effect) is not fx.CallProvider or effect.call.id in self.calls
        ]

    def due_at(self) -> int | None:
        """When `decide` must be called at the latest, though nothing arrives; UTC milliseconds."""
        return self._timers[0][0] if self._timers else None

    def adopt(self, now: int, workflow: Workflow, *, held: bool = False) -> None:
        """Go on with a replayed workflow. Its running calls wait for their provider; what follows comes from the next
        `decide`, for which no input is needed."""
        self._now = max(now, self._now)
        self.workflows[workflow.id] = workflow
        if workflow.final:
            workflow.released.clear()
            return
        if held:
            self.scheduler.held.add(workflow.id)
        workflow.released[:] = [task for task in workflow.tasks.values() if task.state == "ready"]
        for task in workflow.tasks.values():
            self._adopt_task(workflow, task)
        self._arm_workflow_timeout(workflow)
        self._touched[workflow.id] = workflow
        self.more = True

    def _adopt_task(self, workflow: Workflow, task: Task) -> None:
        match task.state:
            case "running":
                call = fx.Call(workflow, task, task.attempt, call_id(workflow.id, task.id, task.attempt))
                self.calls[call.id] = call
                self.scheduler.started(workflow, call.instance)
                self._arm_deadline(call, task.started_at)
                self._orphan(call, self._lease_ms + CONNECT_GRACE_MS)
            case "retrying":
                self._at(task.until or 0, self._release, workflow, task, task.attempt)
            case "waiting":
                self._arm_wait(workflow, task)
            case "failed" if not workflow.tolerates(task):
                self._at(self._now, self._after_failure, workflow, task)

    def forget(self, workflow_id: str) -> None:
        """Drop a final workflow from memory."""
        del self.workflows[workflow_id]

    # Recording

    def _record(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        append = self._decision.appends.get(workflow.id)
        if append is None:
            append = self._decision.appends[workflow.id] = Append(workflow, workflow.seq + 1, [])
        workflow.apply(event)
        append.events.append(event)
        self._touched[workflow.id] = workflow

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

    def params_of(self, call: fx.Call) -> bytes:
        """The params of a running call once more, for who has not kept them."""
        return self._params.build(call)[0]

    # Requests

    def _submit(self, item: fx.Submit) -> None:
        known = self.workflows.get(item.workflow_id)
        if known is not None:
            if known.submitted.body_sha256 != item.body_sha256:
                message = f"idempotency key {item.idempotency_key!r} was used before for another workflow"
                self._refuse(item.token, errors.InvalidState(message, {"workflow_id": known.id}))
            else:
                self._answer(item.token, known, created=False)
            return
        if self.scheduler.queued + len(item.definition.tasks) > MAX_QUEUED:
            message = f"{self.scheduler.queued} tasks are queued; the limit is {MAX_QUEUED}"
            self._refuse(item.token, errors.Overloaded(message, {"retryAfterSeconds": 5}))
            return
        event = ev.WorkflowSubmitted(
            self._now, item.workflow_id, item.definition, item.inputs, item.idempotency_key, item.body_sha256
        )
        workflow = self.workflows[item.workflow_id] = Workflow(event)
        self._decision.appends[workflow.id] = Append(workflow, 1, [event])
        self._touched[workflow.id] = workflow
        if item.held:
            self.scheduler.held.add(workflow.id)
        self._arm_workflow_timeout(workflow)
        self._answer(item.token, workflow)

    def _unfinished(self, token: Any, workflow_id: str, wish: str) -> Workflow | None:
        """The workflow, or None after the asker was told why not."""
        workflow = self.workflows.get(workflow_id)
        if workflow is None:
            self._refuse(token, errors.WorkflowNotFound(f"no workflow {workflow_id}"))
        elif workflow.final:
            message = f"workflow {workflow_id} is {workflow.state}: it cannot be {wish}"
            self._refuse(token, errors.InvalidState(message, {"status": workflow.state}))
        else:
            return workflow
        return None

    def _cancel(self, item: fx.Cancel) -> None:
        known = self.workflows.get(item.workflow_id)
        if known is not None and known.state == "cancelled":
            self._answer(item.token, known)
        elif (workflow := self._unfinished(item.token, item.workflow_id, "cancelled")) is not None:
            self._end_all_tasks(workflow, item.reason or "the workflow was cancelled")
            self._record(workflow, ev.WorkflowCancelled(self._now, item.reason))
            self._answer(item.token, workflow)

    def _pause(self, item: fx.Pause) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "paused")
        if workflow is not None:
            if workflow.state != "paused":
                self._record(workflow, ev.WorkflowPaused(self._now))
            self._answer(item.token, workflow)

    def _resume(self, item: fx.Resume) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "resumed")
        if workflow is not None:
            self.scheduler.held.discard(workflow.id)
            if workflow.state == "paused":
                self._record(workflow, ev.WorkflowResumed(self._now))
            self.scheduler.unpark(workflow)
            self._answer(item.token, workflow)

    def _hold(self, item: fx.Hold) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "held")
        if workflow is not None:
            self.scheduler.held.add(workflow.id)
            self._answer(item.token, workflow)

    def _retry(self, item: fx.Retry) -> None:
        workflow = self.workflows.get(item.workflow_id)
        if workflow is None:
            self._refuse(item.token, errors.WorkflowNotFound(f"no workflow {item.workflow_id}"))
            return
        if workflow.state not in ("failed", "cancelled"):
            message = f"workflow {workflow.id} is {workflow.state}: only what failed or was cancelled can be retried"
            self._refuse(item.token, errors.InvalidState(message, {"status": workflow.state}))
            return
        chosen = _with_dependents(workflow, item.tasks) if item.tasks else set(workflow.tasks)
        names = _can_run_again(workflow, chosen)
        if not names:
            self._refuse(item.token, errors.InvalidState(_why_not_retried(workflow, item.tasks)))
            return
        self._record(workflow, ev.WorkflowRetried(self._now, names))
        self._arm_workflow_timeout(workflow)
        self._answer(item.token, workflow, tasks=names)

    def _signal(self, item: fx.Signal) -> None:
        workflow = self._unfinished(item.token, item.workflow_id, "signalled")
        if workflow is None:
            return
        self._record(workflow, ev.SignalReceived(self._now, item.name, item.payload, item.sender))
        waiting = (t for t in workflow.tasks.values() if t.state == "waiting" and item.name in t.signals)
        task = min(waiting, key=lambda t: (t.started_at, t.index), default=None)
        if task is not None:
            self._take_signal(workflow, task)
        self._answer(item.token, workflow)

    # Tasks that run inside the coordinator

    def _begin_inner(self, workflow: Workflow, task: Task) -> None:
        attempt = task.attempt + 1
        try:
            wait = inner.METHODS[task.definition.method](self._params.resolved(workflow, task))
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return
        delay = wait.seconds if wait.seconds is not None else task.definition.timeout_seconds
        until = None if delay is None else self._now + _ms(delay)
        self._record(workflow, ev.TaskWaiting(self._now, task.id, attempt, until, wait.signals))
        if not self._take_signal(workflow, task):
            self._arm_wait(workflow, task)

    def _arm_wait(self, workflow: Workflow, task: Task) -> None:
        if task.until is not None:
            self._at(task.until, self._wait_over, workflow, task, task.attempt)

    def _take_signal(self, workflow: Workflow, task: Task) -> bool:
        signal = next((s for s in workflow.signals if s.name in task.signals), None)
        if signal is None:
            return False
        self._record(workflow, ev.TaskCompleted(self._now, task.id, task.attempt, inner.signal_result(signal)))
        return True

    def _wait_over(self, workflow: Workflow, task: Task, attempt: int) -> None:
        if task.state != "waiting" or task.attempt != attempt or workflow.final:
            return
        if task.signals:
            error = errors.TaskTimeout(f"no signal {' or '.join(task.signals)} came in time")
            self._fail_task(workflow, task, attempt, failure(error))
        else:
            slept = inner.timer_result(task.started_at, self._now)
            self._record(workflow, ev.TaskCompleted(self._now, task.id, attempt, slept))

    # Starting

    def _start_tasks(self) -> None:
        if self.draining:
            self.more = False
            return
        self._started_bytes = 0
        for _ in range(MAX_STARTS):
            found = self.scheduler.next()
            if found is None:
                self.more = False
                return
            workflow, task, provider = found
            if provider.instance == COORDINATOR:
                self._begin_inner(workflow, task)
            elif provider.instance == CACHE:
                self._look_up(workflow, task)
            else:
                self._start(workflow, task, provider.name, provider.instance)
            if task.state != "running":
                self._settle()
            if self._started_bytes > MAX_START_BYTES:
                break
        self.more = True

    def _look_up(self, workflow: Workflow, task: Task) -> None:
        """Ask whether the result is known; until the answer comes the task is in no queue."""
        definition = task.definition
        assert definition.cache is not None
        try:
            key = self._params.cache_key(workflow, task)
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return
        self._effect(fx.LookUp(fx.Lookup(workflow, task, definition, key, definition.cache.ttl_seconds)))

    def _looked_up(self, item: fx.LookedUp) -> None:
        workflow, task = item.lookup.workflow, item.lookup.task
        if workflow.final or task.state != "ready" or task.definition is not item.lookup.definition:
            return
        if item.result is None:
            self.scheduler.looked_up.add(task)
        elif workflow.state != "paused" and workflow.id not in self.scheduler.held and not self.draining:
            event = ev.TaskCached(
                self._now, task.id, task.attempt + 1, item.lookup.key, item.result, min(item.stored_at, self._now)
            )
            self._record(workflow, event)
            return
        self.scheduler.add(workflow, [task])

    def _keep(self, call: fx.Call, result: Raw) -> None:
        """The result of a call whose task asks for that, for others."""
        cache = call.task.definition.cache
        if cache is not None:
            key = self._params.cache_key(call.workflow, call.task)
            self._effect(fx.KeepResult(key, call.method, result, self._now, cache.ttl_seconds))

    def _start(self, workflow: Workflow, task: Task, provider: str, instance: str) -> None:
        attempt = task.attempt + 1
        if workflow.meter is not None:
            own = task.definition.budget
            complaint = workflow.meter.complaint(workflow.definition.budget, own, task.id, self._now)
            if complaint:
                last = f"; the last attempt failed: {task.error.message}" if task.error is not None else ""
                self._fail_task(workflow, task, task.attempt, failure(errors.BudgetExceeded(complaint + last)))
                return
        call = fx.Call(workflow, task, attempt, call_id(workflow.id, task.id, attempt))
        call.provider, call.instance = provider, instance
        try:
            call.params, digest = self._params.build(call)
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return
        lease = self._lease_ms / 1000
        event = ev.TaskStarted(self._now, task.id, attempt, provider, instance, digest, lease, task.alternative)
        self._record(workflow, event)
        self.scheduler.looked_up.discard(task)
        self.scheduler.started(workflow, instance)
        self.calls[call.id] = call
        self._arm_deadline(call, self._now)
        self._effect(fx.CallProvider(call))
        self._started_bytes += len(call.params)

    def _arm_deadline(self, call: fx.Call, started_at: int) -> None:
        timeout = call.task.definition.timeout_seconds
        if timeout is not None:
            call.deadline = started_at + _ms(timeout)
            self._at(call.deadline, self._call_timeout, call)

    def _release(self, workflow: Workflow, task: Task, attempt: int) -> None:
        if task.state == "retrying" and task.attempt == attempt and not workflow.final:
            self._record(workflow, ev.TaskReleased(self._now, task.id))

    def _queue_timeout(self, workflow: Workflow, task: Task, ready_at: int) -> None:
        if task.state == "ready" and task.ready_at == ready_at and not workflow.final:
            seconds = task.definition.queue_timeout_seconds
            _, why = self.scheduler.why_waiting(workflow, task)
            error = errors.TaskTimeout(f"not started within {seconds:g} s (queue_timeout): {why}")
            self._fail_task(workflow, task, task.attempt, failure(error))

    # What came of calls

    def _take_call(self, call: fx.Call) -> bool:
        """End the call's place at its provider. False, and an ack, if its outcome no longer matters."""
        if self.calls.pop(call.id, None) is None or not call.current:
            self._effect(fx.AckCall(call))
            return False
        self.scheduler.ended(call.workflow, call.instance)
        return True

    def _call_completed(self, item: fx.CallCompleted) -> None:
        call = item.call
        if self._take_call(call):
            self._record(call.workflow, ev.TaskCompleted(self._now, call.task.id, call.attempt, item.result))
            self._effect(fx.AckCall(call))
            self._keep(call, item.result)

    def _call_failed(self, item: fx.CallFailed) -> None:
        call = item.call
        if not self._take_call(call):
            return
        self._effect(fx.AckCall(call))
        if item.code == errors.TaskCancelled.code:
            self._lost(call, "the provider ended the call")
            return
        data = _decoded(item.data)
        name = data.get("name") if isinstance(data, dict) else None
        error = ev.Failure(
            item.code, item.message, str(name or ""), item.data or ev.NULL, errors.is_retryable(item.code, data)
        )
        self._attempt_failed(call, error, _retry_after(data))

    def _attempt_failed(self, call: fx.Call, error: ev.Failure, not_before_seconds: float = 0.0) -> None:
        policy, task = call.task.definition.retry, call.task
        failures = task.failures + 1
        if error.retryable and failures < policy.max_attempts:
            delay = max(delay_seconds(policy, failures, call.id), not_before_seconds)
            until = self._now + _ms(delay)
            self._record(call.workflow, ev.TaskRetrying(self._now, task.id, call.attempt, error, until))
            self._at(until, self._release, call.workflow, task, call.attempt)
        else:
            self._fail_task(call.workflow, task, call.attempt, error)

    def _call_not_started(self, item: fx.CallNotStarted) -> None:
        call = item.call
        if self._take_call(call):
            until = self._now + _ms(asked_seconds(item.retry_after_seconds, BUSY_DELAY_SECONDS))
            self._record(call.workflow, ev.CallRefused(self._now, call.task.id, call.attempt, item.reason, until))
            self._at(until, self._release, call.workflow, call.task, call.attempt)

    def _call_unknown(self, item: fx.CallUnknown) -> None:
        call = item.call
        if call.id not in self.calls or not call.current:
            return
        if item.instance == call.instance:  # the request never arrived: sending the same callId again is safe
            if not call.params:
                call.params = self.params_of(call)
            self._effect(fx.CallProvider(call))
        elif self._take_call(call):
            self._lost(call, f"provider {call.provider} was started anew")

    def _call_timeout(self, call: fx.Call) -> None:
        if call.id in self.calls and self._take_call(call):
            self._effect(fx.CancelCall(call, "timeout"))
            seconds = call.task.definition.timeout_seconds or 0
            error = errors.TaskTimeout(f"attempt {call.attempt} took longer than its timeout of {seconds:g} s")
            self._attempt_failed(call, ev.Failure(error.code, error.message, error.name, retryable=True))

    def _lost(self, call: fx.Call, reason: str) -> None:
        """The provider that had the call is gone, and may have run it; the call is already off the books."""
        task, workflow = call.task, call.workflow
        if task.losses + 1 >= MAX_LOSSES:
            message = f"quarantined: {MAX_LOSSES} calls of this task lost their provider ({reason})"
            self._fail_task(workflow, task, call.attempt, ev.Failure(-30005, message, "QUARANTINED"))
        elif self._may_repeat(task):
            self._record(workflow, ev.CallLost(self._now, task.id, call.attempt, reason))
        else:
            message = f"{reason} while it ran this call, which may have had its effect; it is not repeated (on_lost)"
            self._fail_task(workflow, task, call.attempt, ev.Failure(-30005, message, "CALL_LOST"))

    def _may_repeat(self, task: Task) -> bool:
        if task.definition.on_lost:
            return task.definition.on_lost == "retry"
        schema = self.catalogue.get(task.definition.method)
        return schema is None or schema.idempotent or task.failures + 1 < task.definition.retry.max_attempts

    # Providers

    def _provider_seen(self, item: fx.ProviderSeen) -> None:
        self._seen.add(item.instance)

    def _provider_ready(self, item: fx.ProviderReady) -> None:
        returned = item.instance not in self.scheduler.roster
        self.scheduler.provider_ready(item)
        if not returned:
            return
        for call in list(self.calls.values()):
            if call.lost_at is None or call.provider != item.name:
                continue
            if call.instance == item.instance:
                call.lost_at = None
                self._effect(fx.AttachCall(call))
            else:
                self._at(self._now + SUCCESSOR_GRACE_MS, self._succeeded, call)

    def _provider_down(self, item: fx.ProviderDown) -> None:
        self.scheduler.provider_gone(item.instance)
        if item.gone:
            self._seen.discard(item.instance)
        for call in [c for c in self.calls.values() if c.instance == item.instance]:
            self._orphan(call, 0 if item.gone else self._lease_ms + CONNECT_GRACE_MS)

    def _provider_draining(self, item: fx.ProviderDraining) -> None:
        provider = self.scheduler.roster.get(item.instance)
        if provider is not None:
            provider.draining = True

    def _orphan(self, call: fx.Call, patience_ms: int) -> None:
        """Nobody can ask the call's provider now: give it up after a while, unless the provider comes back."""
        call.lost_at = self._now + patience_ms
        if patience_ms:
            self._at(call.lost_at, self._give_up, call)
        else:
            self._give_up(call)

    def _succeeded(self, call: fx.Call) -> None:
        """Another instance has had its provider's name for a while: a successor, unless its own one exists too."""
        if call.id in self.calls and call.lost_at is not None and call.instance not in self._seen:
            self._orphan(call, 0)

    def _give_up(self, call: fx.Call) -> None:
        if call.id in self.calls and call.lost_at is not None and call.lost_at <= self._now and self._take_call(call):
            self._lost(call, f"provider {call.provider} is gone")

    # Ends

    def _fail_task(self, workflow: Workflow, task: Task, attempt: int, error: ev.Failure) -> None:
        """For good: what the task called, and if it has no alternative left the task itself."""
        self.scheduler.looked_up.discard(task)
        following = task.alternative + 1
        if (
            following <= len(task.definition.fallback)
            and task.state in ("ready", "running")
            and error.name not in _NO_FALLBACK
        ):
            label = task.definition.fallback[following - 1].label
            self._record(workflow, ev.TaskFellBack(self._now, task.id, attempt, error, following, label))
            return
        self._record(workflow, ev.TaskFailed(self._now, task.id, attempt, error))
        if not workflow.tolerates(task):
            self._after_failure(workflow, task)

    def _after_failure(self, workflow: Workflow, task: Task) -> None:
        """What a failure means for the other tasks, by the workflow's policy."""
        if workflow.final:
            return
        if workflow.definition.error_policy == "fail_fast":
            self._end_all_tasks(workflow, f"task {task.id} failed")
            return
        stack = [(task, task.definition.name or task.id)]
        while stack:
            failed, name = stack.pop()
            for dependent in failed.dependents:
                if dependent.state == "pending":
                    reason = f"task {name} did not complete"
                    self._record(workflow, ev.TaskSkipped(self._now, dependent.id, reason))
                    stack.append((dependent, name))

    def _end_all_tasks(self, workflow: Workflow, reason: str) -> None:
        """Cancel whatever has not ended, and tell the providers."""
        self.scheduler.forget(workflow)
        for task in workflow.tasks.values():
            if task.state == "running":
                call = self.calls.pop(call_id(workflow.id, task.id, task.attempt), None)
                if call is not None:
                    self.scheduler.ended(workflow, call.instance)
                    self._effect(fx.CancelCall(call, reason))
            if task.state not in _ENDED:
                self._record(workflow, ev.TaskCancelled(self._now, task.id, reason))

    def _arm_workflow_timeout(self, workflow: Workflow) -> None:
        if workflow.definition.timeout_seconds is not None:
            self._at(_timeout_at(workflow), self._workflow_timeout, workflow)

    def _workflow_timeout(self, workflow: Workflow) -> None:
        if workflow.final or _timeout_at(workflow) > self._now:
            return
        self._end_all_tasks(workflow, "the workflow's timeout is over")
        seconds = workflow.definition.timeout_seconds or 0
        message = f"the workflow took longer than its timeout of {seconds:g} s"
        self._record(workflow, ev.WorkflowFailed(self._now, ev.Failure(-28004, message, "WORKFLOW_TIMEOUT")))

    def _settle(self) -> None:
        """Queue what became ready and end what has nothing left, until nothing more follows."""
        while self._touched:
            _, workflow = self._touched.popitem()
            if workflow.released:
                self._queue(workflow)
            if not workflow.final and not workflow.unfinished:
                self._end(workflow)

    def _queue(self, workflow: Workflow) -> None:
        released = [task for task in workflow.released if task.state == "ready"]
        workflow.released.clear()
        self.scheduler.add(workflow, released)
        for task in released:
            seconds = task.definition.queue_timeout_seconds
            if seconds is not None:
                self._at(task.ready_at + _ms(seconds), self._queue_timeout, workflow, task, task.ready_at)

    def _end(self, workflow: Workflow) -> None:
        failed = [t for t in workflow.tasks.values() if t.state == "failed" and t.definition.on_error != "skip"]
        if failed:
            first = min(failed, key=lambda t: (t.completed_at, t.index))
            cause = first.error or ev.Failure(-28003, "a task failed")
            event: ev.AnyEvent = ev.WorkflowFailed(
                self._now, ev.Failure(cause.code, cause.message, cause.name, retryable=cause.retryable, task=first.id)
            )
        else:
            try:
                event = ev.WorkflowCompleted(self._now, outputs_of(workflow))
            except errors.GleitzeitError as error:
                event = ev.WorkflowFailed(self._now, failure(error))
        self._record(workflow, event)
        self.scheduler.forget(workflow)
        self._params.forget(workflow.id)


_ENDED = frozenset({"completed", "failed", "skipped", "cancelled"})
_NO_FALLBACK = frozenset({errors.BudgetExceeded.name, "CALL_LOST"})
"""What is spent is spent for the alternatives too; and what may have had its effect is not repeated elsewhere."""

_ON: dict[type, Callable[[Engine, Any], None]] = {
    fx.Submit: Engine._submit,
    fx.Cancel: Engine._cancel,
    fx.Pause: Engine._pause,
    fx.Resume: Engine._resume,
    fx.Hold: Engine._hold,
    fx.Retry: Engine._retry,
    fx.Signal: Engine._signal,
    fx.CallCompleted: Engine._call_completed,
    fx.CallFailed: Engine._call_failed,
    fx.CallNotStarted: Engine._call_not_started,
    fx.CallUnknown: Engine._call_unknown,
    fx.LookedUp: Engine._looked_up,
    fx.ProviderSeen: Engine._provider_seen,
    fx.ProviderReady: Engine._provider_ready,
    fx.ProviderDown: Engine._provider_down,
    fx.ProviderDraining: Engine._provider_draining,
}


def _awaited(subject: fx.Call | Workflow) -> bool:
    return subject.current if isinstance(subject, fx.Call) else not subject.final


def _timeout_at(workflow: Workflow) -> int:
    """When a workflow's time is up: it begins anew with a retry by hand."""
    return max(workflow.created_at, workflow.retried_at) + _ms(workflow.definition.timeout_seconds or 0)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _decoded(data: Raw | None) -> Any:
    return msgspec.json.decode(data) if data is not None else None


def _retry_after(data: Any) -> float:
    return asked_seconds(data.get("retryAfterSeconds"), 0.0) if isinstance(data, dict) else 0.0


def _with_dependents(workflow: Workflow, names: Iterable[str]) -> set[str]:
    """The named tasks and everything that waits for them, however far."""
    chosen: set[str] = set()
    stack = [workflow.tasks[name] for name in names if name in workflow.tasks]
    while stack:
        task = stack.pop()
        if task.id not in chosen:
            chosen.add(task.id)
            stack.extend(task.dependents)
    return chosen


def _can_run_again(workflow: Workflow, chosen: set[str]) -> tuple[str, ...]:
    """Those of the chosen tasks that did not complete, but for those that would wait for ever: for a task that did not
    complete either and is not tried again."""
    names = {name for name in chosen if workflow.tasks[name].state in ("failed", "skipped", "cancelled")}
    stuck = [name for name in names if _obstacles(workflow, workflow.tasks[name], names)]
    while stuck:
        name = stuck.pop()
        names.discard(name)
        stuck += [d.id for d in workflow.tasks[name].dependents if d.id in names]
    return tuple(task.id for task in workflow.tasks.values() if task.id in names)


def _obstacles(workflow: Workflow, task: Task, retried: set[str]) -> list[Task]:
    """The dependencies for want of which a task cannot run although `retried` are tried again."""
    dependencies = (workflow.tasks[name] for name in task.definition.dependencies)
    return [d for d in dependencies if d.id not in retried and not workflow.satisfied(d)]


def _why_not_retried(workflow: Workflow, wanted: Iterable[str]) -> str:
    for name in wanted:
        for obstacle in _obstacles(workflow, workflow.tasks[name], set()):
            return f"task {name} needs {obstacle.id}, which is {obstacle.state}: retry {obstacle.id}"
    return f"nothing to retry in workflow {workflow.id}"
