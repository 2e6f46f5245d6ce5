"""Planted bugs. Each takes the place of a piece of the code under test; a suite that does not notice is not one."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import engine as engine_module
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions import calls as calls_module
from gleitzeit.engine.decisions import inner
from gleitzeit.engine.decisions import params as params_module
from gleitzeit.engine.decisions.params import CallParams
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.graph import again
from gleitzeit.engine.scheduling.breaker import Circuit
from gleitzeit.engine.scheduling.pools import Pool, Provider
from gleitzeit.engine.scheduling.scheduler import Scheduler
from gleitzeit.engine.state import workflow as workflow_module
from gleitzeit.engine.state.meter import Meter
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Call, Lookup, Sending
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Budget
from gleitzeit.model.secrets import Place
from gleitzeit.provider.calls import CallTable
from gleitzeit.spec.references.references import substitute
from gz_coordinator.performer import CallPerformer
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import Holdings
from gz_coordinator.sharing.relays import Relays
from gz_coordinator.sharing.signals import SignalExchange
from gz_coordinator.streams.shelf import CacheShelf
from gz_coordinator.submitting import submission
from gz_coordinator.watching.watchers import Watchers

Patch = tuple[Any, str, Any]
MUTANTS: dict[str, Callable[[], list[Patch]]] = {}


def mutant(make: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
    MUTANTS[make.__name__] = make
    return make


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    patches = MUTANTS[name]()
    kept = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    try:
        for owner, attribute, value in patches:
            setattr(owner, attribute, value)
        yield
    finally:
        for owner, attribute, value in kept:
            setattr(owner, attribute, value)


def _before_the_append(act: Callable[[Service, Any], None]) -> list[Patch]:
    """Do with a decision, while it is not durable, what must wait until it is."""
    commit = Service._commit

    async def act_and_commit(self: Service, inputs: Any, decision: Any) -> None:
        act(self, decision)
        await commit(self, inputs, decision)

    return [(Service, "_commit", act_and_commit)]


def _instead_of(item: type, function: Any) -> list[Patch]:
    """Another reaction of the engine to one kind of input."""
    return [(engine_module, "_ON", {**engine_module._ON, item: function})]


@mutant
def sends_before_the_journal() -> list[Patch]:
    return _before_the_append(lambda service, decision: service.performer.perform(decision.effects))


@mutant
def acks_before_durable() -> list[Patch]:
    def acks(service: Service, decision: Any) -> None:
        service.performer.perform([e for e in decision.effects if isinstance(e, fx.AckCall)])

    return _before_the_append(acks)


@mutant
def answers_before_durable() -> list[Patch]:
    def answers(service: Service, decision: Any) -> None:
        for answer in decision.answers:
            if not answer.token.done():
                answer.token.set_result(answer)

    return _before_the_append(answers)


@mutant
def shows_events_before_durable() -> list[Patch]:
    def shows(service: Service, decision: Any) -> None:
        for append in decision.appends.values():
            service.audience.publish(append.workflow, append.seq, [b"{}" for _ in append.events])

    return _before_the_append(shows)


@mutant
def executes_again_at_restart() -> list[Patch]:
    adopt_task = Engine._adopt_task

    def give_up_at_once(self: Engine, workflow: Workflow, task: Task) -> None:
        adopt_task(self, workflow, task)
        for call in self.calls.values():
            if call.task is task:
                call.lost_at = self._now
                self._at(self._now, self._give_up, call)

    return [(Engine, "_adopt_task", give_up_at_once)]


@mutant
def forgets_tombstones() -> list[Patch]:
    def forget(self: CallTable, entry: Any) -> None:
        del self._kept[entry.key]
        self.kept_bytes -= entry.size_bytes

    return [(CallTable, "_forget", forget)]


@mutant
def ignores_the_instance() -> list[Patch]:
    send = CallTable.send

    def send_whoever(self: CallTable, *arguments: Any, instance: str = "", **named: Any) -> Any:
        return send(self, *arguments, **named)

    return [(CallTable, "send", send_whoever)]


@mutant
def skips_the_fence() -> list[Patch]:
    return [(CallTable, "bind", lambda self, connection, fence: None)]


@mutant
def executes_what_it_runs_already() -> list[Patch]:
    return [(CallTable, "_find", lambda self, call_id: None)]


@mutant
def records_results_of_earlier_attempts() -> list[Patch]:
    def take_call(self: Engine, call: Call) -> bool:
        if self.calls.pop(call.id, None) is not None:
            self.scheduler.ended(call.workflow, call.instance)
        return call.task.state == "running"

    look_up = Workflow._task
    return [
        (Engine, "_take_call", take_call),
        (Workflow, "_task", lambda self, event, name, attempt=None: look_up(self, event, name)),
    ]


@mutant
def starts_one_dependency_early() -> list[Patch]:
    after_end = Workflow._after_end

    def early(self: Workflow, task: Task, at: int, *, met: bool, was_active: bool = True) -> None:
        after_end(self, task, at, met=met, was_active=was_active)
        for dependent in task.dependents if met else ():
            if dependent.unmet == 1 and dependent.state == "pending":
                self._release(dependent, at)

    return [(Workflow, "_after_end", early)]


@mutant
def derives_nothing_at_start() -> list[Patch]:
    adopt = Engine.adopt

    def adopt_only(self: Engine, now: int, workflow: Workflow, *, held: bool = False) -> None:
        adopt(self, now, workflow, held=held)
        self._touched.clear()

    return [(Engine, "adopt", adopt_only)]


@mutant
def retries_beyond_the_policy() -> list[Patch]:
    failed = Engine._attempt_failed

    def forgiving(self: Engine, call: Call, error: ev.Failure, not_before_seconds: float = 0.0) -> None:
        call.task.failures -= 1
        try:
            failed(self, call, error, not_before_seconds)
        finally:
            call.task.failures += 1

    return [(Engine, "_attempt_failed", forgiving)]


@mutant
def does_not_back_off() -> list[Patch]:
    return [(calls_module, "delay_seconds", lambda policy, failures, call_id: 0.0)]


@mutant
def charges_busy_as_an_attempt() -> list[Patch]:
    def not_started(self: Engine, item: inp.CallNotStarted) -> None:
        if self._take_call(item.call):
            self._attempt_failed(item.call, ev.Failure(errors.ProviderBusy.code, item.reason, retryable=True))

    return _instead_of(inp.CallNotStarted, not_started)


@mutant
def asks_again_before_a_limit_ends() -> list[Patch]:
    return [(calls_module, "busy_seconds", lambda wish, refusals: 0.02)]


@mutant
def forgets_what_it_has_put_off() -> list[Patch]:
    return [(Task, "next_put_off", None)]


@mutant
def turns_back_at_once() -> list[Patch]:
    def turns_back(self: Engine, workflow: Workflow, task: Task, attempt: int, error: ev.Failure, *_: Any) -> bool:
        to = task.next_put_off
        if to is not None:
            event = ev.TaskTurnedBack(self._now, task.id, attempt, error, to.alternative, self._now, "", to.place)
            self._record(workflow, event)
            self._at(self._now, self._release, workflow, task, attempt)
        return to is not None

    return [(Engine, "_turns_back", turns_back)]


@mutant
def ignores_budgets() -> list[Patch]:
    return [(Meter, "complaint", lambda self, whole, own, task, now: "")]


@mutant
def lends_to_each_all_that_is_left() -> list[Patch]:
    def to_lend(self: Meter, whole: Budget | None, own: Budget | None, task: str, ready: int, later: int) -> int:
        spent = [(whole, self.total), (own, self._of(task))]
        left = [
            budget.calls - one.calls - 1 for budget, one in spent if budget is not None and budget.calls is not None
        ]
        return min(left, default=0)

    return [(Meter, "to_lend", to_lend), (Meter, "is_lent", lambda self, whole: False)]


@mutant
def forgets_what_a_refused_call_gives_back() -> list[Patch]:
    note = Meter.note

    def without_refusals(self: Meter, event: ev.AnyEvent) -> None:
        if not isinstance(event, ev.CallRefused):
            note(self, event)

    return [(Meter, "note", without_refusals)]


@mutant
def falls_back_to_the_same_call() -> list[Patch]:
    def stay(self: Workflow, task: Task, alternative: int) -> None:
        task.alternative = alternative

    return [(Workflow, "_use", stay)]


@mutant
def forgets_alternatives() -> list[Patch]:
    def fail(self: Engine, workflow: Workflow, task: Task, attempt: int, error: ev.Failure) -> None:
        self._record(workflow, ev.TaskFailed(self._now, task.id, attempt, error))
        if not workflow.tolerates(task):
            self._after_failure(workflow, task)

    return [(Engine, "_fail_task", fail)]


@mutant
def takes_any_age_from_the_cache() -> list[Patch]:
    async def look_up(self: CacheShelf, lookup: Lookup) -> None:
        entry = await self._read(lookup.key)
        as_if_new = 1 << 60  # or the engine would notice
        self._post(inp.LookedUp(lookup) if entry is None else inp.LookedUp(lookup, entry.result, as_if_new))

    return [(CacheShelf, "_look_up", look_up)]


@mutant
def keeps_all_results_under_one_key() -> list[Patch]:
    return [(CallParams, "cache_key", lambda self, workflow, task: "one")]


@mutant
def never_quarantines() -> list[Patch]:
    return [(calls_module, "MAX_LOSSES", 1_000)]


@mutant
def ignores_capacity() -> list[Patch]:
    return [(Provider, "free", property(lambda self: 99)), (Provider, "capacity", property(lambda self: 99, _nothing))]


def _nothing(self: Any, value: Any) -> None:
    """A setter that forgets."""


@mutant
def ignores_max_parallel() -> list[Patch]:
    def may_start(self: Scheduler, workflow: Workflow) -> bool:
        return workflow.state != "paused" and workflow.id not in self.held

    return [(Scheduler, "may_start", may_start)]


@mutant
def cancels_without_telling() -> list[Patch]:
    return [(CallPerformer, "_cancel", lambda self, call, reason: None)]


@mutant
def never_attaches() -> list[Patch]:
    perform = CallPerformer.perform

    def without_attaching(self: CallPerformer, effects: Any) -> None:
        perform(self, [e for e in effects if not isinstance(e, fx.AttachCall)])

    return [(CallPerformer, "perform", without_attaching)]


@mutant
def fires_timers_early() -> list[Patch]:
    def arm(self: Engine, workflow: Workflow, task: Task) -> None:
        if task.until is not None:
            self._at(task.until - 400, self._wait_over, workflow, task, task.attempt)

    return [(Engine, "_arm_wait", arm)]


@mutant
def forgets_timers_at_restart() -> list[Patch]:
    adopt_task = Engine._adopt_task

    def without_waits(self: Engine, workflow: Workflow, task: Task) -> None:
        if task.state != "waiting":
            adopt_task(self, workflow, task)

    return [(Engine, "_adopt_task", without_waits)]


@mutant
def substitutes_twice() -> list[Patch]:
    parted = CallParams._parted

    def again(self: CallParams, workflow: Workflow, task: Task) -> tuple[bytes, Sequence[Place]]:
        body, secrets = parted(self, workflow, task)
        value = params_module.msgspec.json.decode(body)
        return params_module.msgspec.json.encode(substitute(value, self._scope(workflow).resolve)), secrets

    return [(CallParams, "_parted", again)]


@mutant
def makes_a_workflow_for_every_submit() -> list[Patch]:
    numbers = itertools.count()
    return [(submission, "workflow_id_for", lambda namespace, key: f"wf-{next(numbers)}")]


@mutant
def accepts_another_body_for_a_key() -> list[Patch]:
    def any_body(self: Engine, item: inp.Submit) -> None:
        known = self.workflows.get(item.workflow_id)
        if known is not None:
            self._answer(item.token, known, created=False)
        else:
            Engine._submit(self, item)

    return _instead_of(inp.Submit, any_body)


@mutant
def leaves_a_gap_before_live_events() -> list[Patch]:
    def go_live(self: Watchers, watcher: Any, changed: asyncio.Event, workflow: Workflow) -> None:
        watcher.live = True
        watcher.sent = workflow.seq

    return [(Watchers, "_go_live", go_live)]


@mutant
def completes_with_another_result() -> list[Patch]:
    def altered(self: Engine, item: inp.CallCompleted) -> None:
        Engine._call_completed(self, inp.CallCompleted(item.call, Raw(b'{"value":1}')))

    return _instead_of(inp.CallCompleted, altered)


@mutant
def keeps_the_place_of_an_ended_call() -> list[Patch]:
    return [(Scheduler, "ended", lambda self, workflow, instance: None)]


@mutant
def says_that_what_was_sent_has_not_run() -> list[Patch]:
    return [(Call, "sent", property(lambda self: False, _nothing))]


@mutant
def leaves_a_sick_provider_alone_for_ever() -> list[Patch]:
    return [(Circuit, "admits", lambda self, now: not self._opened), (Circuit, "state", lambda self, now: "closed")]


@mutant
def keeps_the_place_of_a_probe() -> list[Patch]:
    return [(Circuit, "leave", lambda self, probe: None)]


@mutant
def forgets_to_wake_for_a_probe() -> list[Patch]:
    return [(Pool, "wakes", lambda self, now: iter(()))]


@mutant
def moves_memory_beside_the_journal() -> list[Patch]:
    release = Engine._release

    def silently(self: Engine, workflow: Workflow, task: Task, attempt: int) -> None:
        release(self, workflow, task, attempt)
        task.failures = 0

    return [(Engine, "_release", silently)]


@mutant
def forgets_whose_task_a_child_is() -> list[Patch]:
    return [(Engine, "_end_parents_task", lambda self, child: None)]


@mutant
def gives_a_signal_to_all_that_wait() -> list[Patch]:
    def to_all(self: Engine, workflow: Workflow, signal: ev.SignalReceived) -> None:
        self._record(workflow, signal)
        waiting = [t for t in workflow.tasks.values() if t.state == "waiting" and signal.name in t.signals]
        for task in waiting:
            result = inner.signal_result([signal], several=task.wants_all)
            self._record(workflow, ev.TaskCompleted(self._now, task.id, task.attempt, result))

    return [(Engine, "_deliver", to_all)]


@mutant
def overlooks_signals_that_came_before() -> list[Patch]:
    begin = Engine._begin_wait

    def blind(self: Engine, workflow: Workflow, task: Task, wait: inner.Wait) -> None:
        self._take_signals = lambda *_: None  # type: ignore[method-assign]  # for this moment
        begin(self, workflow, task, wait)
        del self._take_signals

    return [(Engine, "_begin_wait", blind)]


@mutant
def believes_that_a_signal_has_arrived() -> list[Patch]:
    async def at_once(self: SignalExchange, sending: Sending, target: str) -> None:
        """It is on its way, and that is enough."""

    return [(SignalExchange, "_sent", at_once)]


@mutant
def takes_a_signal_again_that_it_has() -> list[Patch]:
    return [(Engine, "_has_signal", lambda self, item: False)]


@mutant
def runs_again_what_has_completed() -> list[Patch]:
    return [
        (again, "_missed", lambda task: task.ended),
        (workflow_module, "_may_run_again", lambda task, names: True),
    ]


@mutant
def starts_beyond_the_limit_of_a_key() -> list[Patch]:
    return [(Engine, "_may_begin", lambda self, workflow, task: True)]


# Several coordinators: played where there are two

OF_TWO = {"writes_though_deposed", "goes_on_with_what_it_gave_away", "acknowledges_what_another_coordinator_waits_for",
          "relays_nothing_after_a_move", "does_not_raise_the_epoch", "counts_permits_by_itself",
          "forgets_permits_when_their_shard_moves", "leaves_permits_with_the_dead",
          "believes_that_a_signal_has_arrived", "takes_a_signal_again_that_it_has"}  # fmt: skip


@mutant
def writes_though_deposed() -> list[Patch]:
    return [
        (MemoryJournal, "_check_fence", lambda self, streams: None),
        (MemoryJournal, "renew", _renews_whatever_comes),
        (Holdings, "_check_lease", lambda self: None),
    ]


async def _renews_whatever_comes(self: MemoryJournal, lease_seconds: float = 20.0) -> None:
    """Nobody is told that it is late."""


@mutant
def does_not_raise_the_epoch() -> list[Patch]:
    take = MemoryJournal._take

    def with_the_old_epoch(self: MemoryJournal, me: Any, shard: int) -> None:
        take(self, me, shard)
        self._store.epochs[shard] -= 1
        me.shards[shard] -= 1

    return [(MemoryJournal, "_take", with_the_old_epoch)]


@mutant
def goes_on_with_what_it_gave_away() -> list[Patch]:
    def only_says_so(self: Engine, item: inp.Disown) -> None:
        self._decision.answers.append(fx.Answer(item.token))

    return _instead_of(inp.Disown, only_says_so)


@mutant
def acknowledges_what_another_coordinator_waits_for() -> list[Patch]:
    take_call = Engine._take_call

    def acknowledge(self: Engine, call: Call) -> bool:
        if call.workflow.disowned:
            self._effect(fx.AckCall(call))
            return False
        return take_call(self, call)

    return [(Engine, "_take_call", acknowledge)]


@mutant
def relays_nothing_after_a_move() -> list[Patch]:
    return [(Relays, "_given", lambda self, shards: None)]


@mutant
def counts_permits_by_itself() -> list[Patch]:
    def keep_to_oneself(self: Engine) -> None:
        self._limits_changed.clear()

    return [(Engine, "_keeps", lambda self, limit: True), (Engine, "_note_limits", keep_to_oneself)]


@mutant
def forgets_permits_when_their_shard_moves() -> list[Patch]:
    return [(Engine, "_adopt_limits", _nothing)]


@mutant
def leaves_permits_with_the_dead() -> list[Patch]:
    return [(Engine, "_look_after_permits", _nothing)]
