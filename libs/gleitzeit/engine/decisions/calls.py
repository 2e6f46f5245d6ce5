"""Calls: started, answered, refused, lost; and the providers that they are at."""

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.blobs import BlobNeeded
from gleitzeit.engine.decisions.core import COORDINATOR, LOST_CODE, call_id, call_lost, failure, to_ms
from gleitzeit.engine.decisions.places import Places
from gleitzeit.engine.decisions.settling import NO_FALLBACK
from gleitzeit.engine.graph.retry import asked_seconds, busy_seconds, delay_seconds
from gleitzeit.engine.scheduling.breaker import speaks_of_provider
from gleitzeit.engine.scheduling.grouping import CACHE
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Call, Lookup
from gleitzeit.errors import PayloadTooLarge
from gleitzeit.model import events as ev
from gleitzeit.spec.durations import in_words

MAX_STARTS = 1_000
"""Tasks started in one turn; the next turn follows at once."""
MAX_START_BYTES = 16 << 20
"""Of params that calls started in one turn may carry: one result that thousands refer to must not fill the memory."""
MAX_LOSSES = 3
"""A task whose calls lost their provider so often is not tried again."""
CONNECT_GRACE_MS = 10_000
"""Beyond the lease, for a provider to come back before its calls count as lost."""
LATE_MS = 2_000
"""A call that has less time left when it is taken up, at a start, may have ended in time without anybody to hear it."""
PATIENCE_SECONDS = 3.0
"""A task that names others to call (`fallback`, several models) does not wait longer for one that has no place."""
SUCCESSOR_GRACE_MS = 2_000
"""How long a call waits for its own instance once another one of the same provider has appeared."""


class Calls(Places):
    # Starting

    def _start_tasks(self) -> None:
        self._wake_at = None
        if self.draining:
            self.more = False
            return
        self._started_bytes = 0
        for _ in range(MAX_STARTS):
            found = self.scheduler.next()
            if found is None:
                self.more = False
                self._wake_at = self.scheduler.wake_at()
                return
            workflow, task, provider = found
            if self._is_stopped(workflow, task):
                self._room -= 1
                if self._room <= 0:
                    break
                continue
            if self._reuse(workflow, task) or not self._may_begin(workflow, task):
                self._settle()
            elif task.expands or task.definition.switch is not None:
                self._begin_flow(workflow, task)
            elif provider.instance == COORDINATOR:
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
        key = self._had(workflow, task, lambda: self._params.cache_key(workflow, task))
        if key is None:
            return
        self._effect(fx.LookUp(Lookup(workflow, task, definition, key, definition.cache.ttl_seconds)))

    def _looked_up(self, item: inp.LookedUp) -> None:
        workflow, task = item.lookup.workflow, item.lookup.task
        if workflow.final or task.state != "ready" or task.definition is not item.lookup.definition:
            return
        if workflow.disowned or self._is_stopped(workflow, task):
            return
        if item.result is None or item.stored_at + to_ms(item.lookup.ttl_seconds) <= self._now:
            self.scheduler.looked_up.add(task)  # an answer that waited for a slow commit may have become too old
        elif workflow.state != "paused" and workflow.id not in self.scheduler.held and not self.draining:
            event = ev.TaskCached(
                self._now, task.id, task.attempt + 1, item.lookup.key, item.result, min(item.stored_at, self._now)
            )
            self._record(workflow, event)
            return
        self.scheduler.add(workflow, [task])

    def _keep(self, call: Call, result: Raw) -> None:
        """The result of a call whose task asks for that, for others."""
        cache = call.task.definition.cache
        if cache is not None:
            with suppress(BlobNeeded):  # what was there at the start has had to go: then it is not kept
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
        call = Call(workflow, task, attempt, call_id(workflow.id, task.id, attempt))
        call.provider, call.instance, call.lent = provider, instance, self._to_lend(workflow, task)
        built = self._had(workflow, task, lambda: self._params.build(call))
        if built is None:
            return
        call.params, digest = built
        self._loads.pop(task, None)
        self.scheduler.health.enter(call)
        lease = self._lease_ms / 1000
        calls = 1 + call.lent
        event = ev.TaskStarted(self._now, task.id, attempt, provider, instance, digest, lease, task.alternative, calls)
        self._record(workflow, event)
        self.scheduler.looked_up.discard(task)
        self.scheduler.started(workflow, instance)
        self.calls[call.id] = call
        self._arm_deadline(call, self._now)
        self._arm_budget(call)
        self._effect(fx.CallProvider(call))
        self._started_bytes += len(call.params)

    def _to_lend(self, workflow: Workflow, task: Task) -> int:
        """How many requests a call may make besides its first, of what its budgets leave: if it asks a model, for all
        that is known."""
        schema = self.catalogue.get(task.definition.method)
        if workflow.meter is None or (schema is not None and "model" not in schema.param_names):
            return 0
        count = workflow.counts.get
        later = count("pending", 0) + count("retrying", 0) + count("waiting", 0)
        own, whole = task.definition.budget, workflow.definition.budget
        return workflow.meter.to_lend(whole, own, task.id, count("ready", 0), later)

    def params_of(self, call: Call) -> bytes:
        """The params of a running call once more, for who has not kept them. Raises BlobNeeded: then say that the call
        never arrived (CallUnknown), and it is sent when there is what it needs."""
        return self._params.build(call)[0]

    def _arm_deadline(self, call: Call, started_at: int, least_ms: int = 0) -> None:
        """Where less than `least_ms` is left the call has as long as it takes to hear from its provider."""
        timeout = self._timeout_of(call)
        if timeout is not None:
            call.deadline = started_at + to_ms(timeout)
            if call.deadline < self._now + least_ms:
                call.deadline = self._now + CONNECT_GRACE_MS
            self._at(call.deadline, self._call_timeout, call)

    def _timeout_of(self, call: Call) -> float | None:
        """The task's own, or the usual one of its method."""
        own = call.task.definition.timeout_seconds
        schema = self.catalogue.get(call.method) if own is None else None
        return own if schema is None else schema.timeout_seconds

    def _arm_budget(self, call: Call) -> None:
        """What may be spent of seconds ends also calls that run."""
        workflow, task = call.workflow, call.task
        if workflow.meter is not None:
            at = workflow.meter.spent_at(task.definition.budget, self._now, task.id)
            if at is not None:
                self._at(at, self._own_time_spent, call)
            self._arm_whole_budget(workflow)

    def _own_time_spent(self, call: Call) -> None:
        if call.id in self.calls and call.current and call.workflow.meter is not None:
            task = call.task
            self._cut_off(call, call.workflow.meter.complaint_of_time(task.definition.budget, self._now, task.id))

    def _arm_whole_budget(self, workflow: Workflow) -> None:
        at = workflow.meter.spent_at(workflow.definition.budget, self._now) if workflow.meter is not None else None
        known = self._budgets.get(workflow.id)
        if at is not None and (known is None or at < known):
            self._budgets[workflow.id] = at
            self._at(at, self._whole_time_spent, workflow, at)

    def _whole_time_spent(self, workflow: Workflow, at: int) -> None:
        """Perhaps: calls may have ended since that was worked out."""
        if self._budgets.get(workflow.id) != at or workflow.meter is None:
            return
        del self._budgets[workflow.id]
        complaint = workflow.meter.complaint_of_time(workflow.definition.budget, self._now)
        if not complaint:
            self._arm_whole_budget(workflow)
            return
        for call in [call for call in self.calls.values() if call.workflow is workflow]:
            self._cut_off(call, complaint)

    def _cut_off(self, call: Call, complaint: str) -> None:
        if complaint and call.current and self._take_call(call):
            self._effect(fx.CancelCall(call, "budget"))
            error = errors.BudgetExceeded(f"{complaint}: attempt {call.attempt} was ended")
            self._fail_task(call.workflow, call.task, call.attempt, failure(error))

    # What came of calls

    def _take_call(self, call: Call) -> bool:
        """End the call's place at its provider. False, and an ack, if its outcome no longer matters. What another
        coordinator has now is not ours to acknowledge."""
        if call.workflow.disowned:
            return False
        if self.calls.pop(call.id, None) is None or not call.current:
            self._effect(fx.AckCall(call))
            return False
        self.scheduler.leave(call)
        return True

    def _call_completed(self, item: inp.CallCompleted) -> None:
        call = item.call
        if call.id in self.calls and call.current:
            needed = self._blob_for_end(call.workflow, call.task, item.result)
            if needed is not None:  # the provider keeps the result until then
                self._await_blob(needed, self._call_completed, item)
                return
        if self._take_call(call):
            self.scheduler.health.succeeded(call)
            self._finish(call.workflow, call.task, item.result)
            self._effect(fx.AckCall(call))
            self._keep(call, item.result)

    def _call_failed(self, item: inp.CallFailed) -> None:
        call = item.call
        if not self._take_call(call):
            return
        self._effect(fx.AckCall(call))
        if item.code == errors.TaskCancelled.code:
            self._lost(call, _lost_words(item.data))
            return
        data = _decoded(item.data)
        said = data.get("name") if isinstance(data, dict) else None
        name = str(said or errors.name_of(item.code))
        retryable = errors.is_retryable(item.code, data)
        error = ev.Failure(item.code, item.message, name, item.data or ev.NULL, retryable)
        self._attempt_failed(call, error, _retry_after(data))
        self._note_health(call, error)

    def _note_health(self, call: Call, error: ev.Failure) -> None:
        """What a failure says of the provider. Of code that an author wrote, nothing does."""
        schema = self.catalogue.get(call.method)
        if not speaks_of_provider(error) or (schema is not None and schema.code_params):
            self.scheduler.health.succeeded(call)
        elif self.scheduler.failed(call):
            self._all_move_on(call.method)

    def _all_move_on(self, method: str) -> None:
        """Those that can go elsewhere: a provider of the method is left alone from now on."""
        for workflow, task in self.scheduler.waiting(method):
            if task.state == "ready" and not workflow.final and workflow.state != "paused":
                self._moves_on(workflow, task)

    def _attempt_failed(self, call: Call, error: ev.Failure, not_before_seconds: float = 0.0) -> None:
        if self._goes_elsewhere(call, error):
            return
        policy, task = call.task.definition.retry, call.task
        failures = task.failures + 1
        if error.retryable and failures < policy.max_attempts:
            delay = max(delay_seconds(policy, failures, call.id), not_before_seconds)
            until = self._now + to_ms(delay)
            self._record(call.workflow, ev.TaskRetrying(self._now, task.id, call.attempt, error, until))
            self._at(until, self._release, call.workflow, task, call.attempt)
        else:
            self._fail_task(call.workflow, task, call.attempt, error)

    def _goes_elsewhere(self, call: Call, error: ev.Failure) -> bool:
        """Whether the attempt goes on where another of its models is: a list of them is tried to its end."""
        task = call.task
        models = task.models or self._params.models_of(call.workflow, task)  # adopted ones have not been queued
        if len(models) < 2 or error.name in NO_FALLBACK or task.turned_back:
            return False
        place = self.scheduler.place_after(task, models, call.instance)
        if place:
            event = ev.TaskFellBack(self._now, task.id, call.attempt, error, task.alternative, models[place], place)
            self._record(call.workflow, event)
        return place > 0

    def _call_not_started(self, item: inp.CallNotStarted) -> None:
        call, workflow, task = item.call, item.call.workflow, item.call.task
        if not self._take_call(call):
            return
        wait = busy_seconds(item.retry_after_seconds, task.refusals)
        until = self._now + to_ms(wait)
        self._record(
            workflow, ev.CallRefused(self._now, task.id, call.attempt, item.reason, until, item.tokens, item.calls)
        )
        if wait > PATIENCE_SECONDS and self._does_not_wait(call, item):
            return
        self._at(until, self._release, workflow, task, call.attempt)
        self._arm_queue_timeout(workflow, task)

    def _does_not_wait(self, call: Call, item: inp.CallNotStarted) -> bool:
        """Whether the task has turned to what it names besides, since its provider would let it wait for long."""
        busy = errors.ProviderBusy
        error = ev.Failure(busy.code, item.reason, item.name or busy.name, retryable=True)
        if self._goes_elsewhere(call, error):
            return True
        if call.task.turned_back or call.task.alternative == len(call.task.definition.fallback):
            sooner = (call.task.until or 0) - to_ms(PATIENCE_SECONDS)
            return self._turns_back(call.workflow, call.task, call.attempt, error, sooner)
        self._fail_task(call.workflow, call.task, call.attempt, error)
        return True

    def _call_unknown(self, item: inp.CallUnknown) -> None:
        call = item.call
        if call.id not in self.calls or not call.current:
            return
        if item.instance == call.instance:  # the request never arrived: sending the same callId again is safe
            if not call.params:
                try:
                    call.params = self.params_of(call)
                except BlobNeeded as needed:
                    self._await_blob(needed, self._call_unknown, item)
                    return
            self._effect(fx.CallProvider(call))
            self._arm_deadline(call, self._now)  # it begins now
        elif self._take_call(call):
            self._lost(call, f"provider {call.provider} was started anew")

    def _call_timeout(self, call: Call) -> None:
        if call.deadline is not None and call.deadline > self._now:
            return  # it began later than it seemed, and there is another timer for that
        if call.id in self.calls and self._take_call(call):
            self._effect(fx.CancelCall(call, "timeout"))
            own = call.task.definition.timeout_seconds is not None
            limit = f"its timeout of {in_words(self._timeout_of(call) or 0)}" + (
                "" if own else f" (that of {call.method})"
            )
            late = errors.TaskTimeout(f"attempt {call.attempt} took longer than {limit}")
            error = ev.Failure(late.code, late.message, late.name, retryable=True)
            self._attempt_failed(call, error)
            self._note_health(call, error)

    def _lost(self, call: Call, reason: str) -> None:
        """The provider that had the call is gone, and may have run it if it was sent; it is already off the books."""
        task, workflow = call.task, call.workflow
        if not call.sent:
            self._record(workflow, ev.CallLost(self._now, task.id, call.attempt, reason, may_have_run=False))
        elif task.losses + 1 >= MAX_LOSSES:
            message = f"quarantined: {MAX_LOSSES} calls of this task lost their provider ({reason})"
            self._fail_task(workflow, task, call.attempt, ev.Failure(LOST_CODE, message, "QUARANTINED"))
        elif self._may_repeat(task):
            self._record(workflow, ev.CallLost(self._now, task.id, call.attempt, reason))
        elif task.definition.on_lost == "ask":
            question = ev.Approval(
                f"{reason} while it ran this call; it may have had its effect: once more?", of_call=True
            )
            self._record(workflow, ev.CallLost(self._now, task.id, call.attempt, reason, approval=question))
        else:
            message = f"{reason} while it ran this call, which may have had its effect; it is not repeated (on_lost)"
            self._fail_task(workflow, task, call.attempt, call_lost(message))
        if call.sent and self.scheduler.lost(call):
            self._all_move_on(call.method)

    def _may_repeat(self, task: Task) -> bool:
        if task.definition.on_lost:
            return task.definition.on_lost == "retry"
        schema = self.catalogue.get(task.definition.method)
        return schema is None or schema.idempotent or task.failures + 1 < task.definition.retry.max_attempts

    # Providers

    def _provider_seen(self, item: inp.ProviderSeen) -> None:
        self._seen.add(item.instance)

    def _provider_ready(self, item: inp.ProviderReady) -> None:
        returned = item.instance not in self.scheduler.roster
        self.scheduler.provider_ready(item)
        self._take_part(item)
        if not returned:
            return
        for call in list(self.calls.values()):
            if call.lost_at is None or call.provider != item.name:
                continue
            if call.instance == item.instance:
                call.lost_at = None
                self._effect(fx.AttachCall(call))
            else:
                self._at(self._now + SUCCESSOR_GRACE_MS, self._has_successor, call)

    def _provider_down(self, item: inp.ProviderDown) -> None:
        self.scheduler.provider_gone(item.instance)
        if item.gone:
            self._seen.discard(item.instance)
        calls = [call for call in self.calls.values() if call.instance == item.instance]
        if item.gone and item.too_large and len(calls) == 1 and self._take_call(calls[0]):
            message = f"a message of this call is larger than what {calls[0].provider} or we take: {item.reason}"
            self._fail_task(calls[0].workflow, calls[0].task, calls[0].attempt, failure(PayloadTooLarge(message)))
            return
        why = f" ({item.reason})" if item.reason else ""
        for call in calls:
            self._orphan(call, 0 if item.gone else self._lease_ms + CONNECT_GRACE_MS, why)

    def _provider_draining(self, item: inp.ProviderDraining) -> None:
        provider = self.scheduler.roster.get(item.instance)
        if provider is not None:
            provider.draining = True

    def _providers_drained(self, item: inp.ProvidersDrained) -> None:
        self.scheduler.drain(item)

    def _orphan(self, call: Call, patience_ms: int, why: str = "") -> None:
        """Nobody can ask the call's provider now: give it up after a while, unless the provider comes back."""
        call.lost_at = self._now + patience_ms
        if patience_ms:
            self._at(call.lost_at, self._give_up, call, why)
        else:
            self._give_up(call, why)

    def _has_successor(self, call: Call) -> None:
        """Another instance has had its provider's name for a while: a successor, unless its own one exists too."""
        if call.id in self.calls and call.lost_at is not None and call.instance not in self._seen:
            self._orphan(call, 0)

    def _give_up(self, call: Call, why: str = "") -> None:
        if call.id not in self.calls or call.lost_at is None:
            return
        if call.lost_at > self._now:
            self._at(call.lost_at, self._give_up, call, why)
        elif self._take_call(call):
            self._lost(call, f"provider {call.provider} is gone{why}")

    def clock_moved(self, by_ms: int) -> None:
        """Without that time had passed: who waits for a provider to come back has not waited any longer."""
        for call in self.calls.values():
            if call.lost_at is not None:
                call.lost_at += by_ms


def _lost_words(data: Raw | None) -> str:
    """What a provider says of a call that it ended: what it needed for it may be gone, while it is not."""
    said = _decoded(data)
    lost = said.get("lost") if isinstance(said, dict) else None
    return lost if isinstance(lost, str) and lost else "the provider ended the call"


def _decoded(data: Raw | None) -> Any:
    return msgspec.json.decode(data) if data is not None else None


def _retry_after(data: Any) -> float:
    return asked_seconds(data.get("retryAfterSeconds"), 0.0) if isinstance(data, dict) else 0.0
