"""The decisions of a coordinator: pure and synchronous. Time and ids come in as arguments; nothing goes out but
events to journal and effects to perform once they are durable.

The caller's duty: append `Decision.appends` in one commit, and only then perform `Decision.effects` and give
`Decision.answers`, in order. While a commit is under way `decide` must not be called.
"""

from collections.abc import Callable, Iterable
from typing import Any

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.calls import CONNECT_GRACE_MS, LATE_MS, SUCCESSOR_GRACE_MS
from gleitzeit.engine.decisions.core import Decision, call_id
from gleitzeit.engine.decisions.going_back import GoingBack
from gleitzeit.engine.graph import cleanup
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.errors import ShardElsewhere
from gleitzeit.model.shards import SCHEDULES

_UNDER_WAY = frozenset({"running", "retrying", "waiting"})


class Engine(GoingBack):
    def decide(self, now: int, inputs: Iterable[inp.Input]) -> Decision:
        """Take what arrived and what is due, and say what follows. `now` is in UTC milliseconds and never goes back."""
        self._now = self.scheduler.now = max(now, self._now)
        self._decision, self._carried = self._carried, Decision()
        self._moved.clear()
        self._were_held.clear()
        self._room = (self.settled + 1) // 2
        self._go_on()
        self._room += self.settled // 2
        if self._unadmitted:
            self._readmit()
        for item in inputs:  # before what is due: after a stall, a result that came counts and not the timeout
            _ON[type(item)](self, item)
        for timers, due in ((self._timers, self._now), (self._wall_timers, self._wall)):
            for callback, arguments in timers.take(due):
                callback(*arguments)
        self._settle()
        self._start_tasks()
        self.more = self.more or self._room <= 0 or bool(self._sweeps)
        self._withdraw_sends()
        self.workflows.note(append.workflow for append in self._decision.appends.values())
        if self._limits_changed:
            self._note_limits()
        if self._shares:
            self._note_places()
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
        at_wall = self._wall_timers.first()
        times = (self._wake_at, self._timers.first(), None if at_wall is None else at_wall - self.ahead_ms)
        return min((at for at in times if at is not None), default=None)

    def adopt(self, now: int, workflow: Workflow, *, held: bool = False) -> None:
        """Go on with a replayed workflow. Its running calls wait for their provider; what follows comes from the next
        `decide`, for which no input is needed."""
        self._now = max(now, self._now)
        self.workflows[workflow.id] = workflow
        if workflow.final:
            workflow.released.clear()
            return
        origin = workflow.submitted.origin
        if origin is not None and origin.schedule:
            self._scheduled.setdefault(origin.schedule, {})[workflow.id] = None
        if held:
            self.scheduler.held.add(workflow.id)
        if workflow.definition.concurrency is not None:
            self._unadmitted.append(workflow)
        workflow.released.clear()
        self.scheduler.begin(self._now)
        for task in workflow.tasks.values():
            if task.state == "ready":
                workflow.released.append(task)
            elif task.state in _UNDER_WAY:
                self._adopt_task(workflow, task)
            if task.fan is not None:
                workflow.stir(task)
        if workflow.failing:
            self._at(self._now, self._after_failure, workflow, *cleanup.dead_ends(workflow))
        if workflow.closing is not None:
            self._stopping[workflow.id] = True
            self._at(self._now, self._close_again, workflow)
        self._arm_workflow_timeout(workflow)
        self._touched[workflow.id] = workflow
        self.more = True

    def _adopt_task(self, workflow: Workflow, task: Task) -> None:
        match task.state:
            case "running":
                self._adopt_call(workflow, task)
            case "retrying":
                self._at(task.until or 0, self._release, workflow, task, task.attempt)
                if task.refusals:
                    self._arm_queue_timeout(workflow, task)
            case "waiting":
                self._arm_wait(workflow, task)
                if task.sends:
                    self._at(self._now, self._send_on, workflow, task)
        self._hold_again(workflow, task)

    def _adopt_call(self, workflow: Workflow, task: Task) -> None:
        name = call_id(workflow.id, task.id, task.attempt)
        call = self._resumed.get(name)
        if call is None:
            call = Call(workflow, task, task.attempt, name)
            call.sent = True  # for all that we know
        else:
            call.workflow, call.task, call.circuit = workflow, task, None
        self.calls[call.id] = call
        self.scheduler.started(workflow, call.instance)
        if call.deadline is not None:
            self._at(call.deadline, self._call_timeout, call)
        else:
            self._arm_deadline(call, task.started_at, LATE_MS)
        self._arm_budget(call)
        if name not in self._resumed or call.lost_at is not None:
            self._orphan(call, self._lease_ms + CONNECT_GRACE_MS)

    def _adopt(self, item: inp.Adopt) -> None:
        """While it runs. Providers that are there already do not announce themselves again."""
        self._adopt_limits(item.limits)
        for workflow in item.workflows:
            self.adopt(self._now, workflow)
        self._readmit()
        adopted = {workflow.id for workflow in item.workflows}
        names = {provider.name for provider in self.scheduler.roster.values()}
        for call in [call for call in self.calls.values() if call.workflow.id in adopted]:
            provider = self.scheduler.roster.get(call.instance)
            if provider is not None and provider.share is not None:  # we ended it when we gave the workflow away
                self._orphan(call, 0, " for this call: its workflow was at another coordinator meanwhile")
            elif provider is not None:
                call.lost_at = None
                self._effect(fx.AttachCall(call))
            elif call.provider in names:
                self._at(self._now + SUCCESSOR_GRACE_MS, self._has_successor, call)
        self._decision.answers.append(fx.Answer(item.token))

    def _disown(self, item: inp.Disown) -> None:
        if item.names is not None:
            names = [name for name in item.names if name in self.workflows]
        else:
            names = [name for name in self.workflows if name not in item.known]
        gone = [self.workflows[name] for name in names if item.wanted(name)]
        for workflow in gone:
            workflow.disowned = True
        self._disown_permits()
        self._forget_found()
        for workflow in gone:
            for token in self._forget_sweeps(workflow):
                self._refuse(token, ShardElsewhere(f"another coordinator has {workflow.id} now"))
        if item.wanted(SCHEDULES):
            self.schedules.clear()
            self._scheduled.clear()
        for call in self._forget_unfinished(gone):
            self._end_foreign(call)
        self._decision.answers.append(fx.Answer(item.token))

    def params_digest(self, workflow: Workflow, task: Task) -> str:
        """Of what the task was called with; the same only if nothing differs. Raises ParameterError."""
        return self._params.digest(workflow, task)

    def forget(self, workflow_id: str) -> None:
        """Drop a final workflow from memory."""
        del self.workflows[workflow_id]


_ON: dict[type, Callable[[Engine, Any], None]] = {
    inp.Submit: Engine._submit,
    inp.Cancel: Engine._cancel,
    inp.Pause: Engine._pause,
    inp.Resume: Engine._resume,
    inp.Hold: Engine._hold,
    inp.Retry: Engine._retry,
    inp.Signal: Engine._signal,
    inp.Complete: Engine._complete,
    inp.PutSchedule: Engine._put_schedule,
    inp.ChangeSchedule: Engine._change_schedule,
    inp.Trigger: Engine._trigger,
    inp.Backfill: Engine._backfill,
    inp.Adopt: Engine._adopt,
    inp.Disown: Engine._disown,
    inp.TakePermit: Engine._take_permit,
    inp.ReturnPermits: Engine._return_permits,
    inp.CheckPermits: Engine._check_permits,
    inp.PermitsGone: Engine._permits_gone,
    inp.PermitAnswered: Engine._permit_answered,
    inp.PlacesGiven: Engine._places_given,
    inp.PlacesWanted: Engine._places_wanted,
    inp.TargetsFound: Engine._targets_found,
    inp.SignalSent: Engine._signal_sent,
    inp.CallCompleted: Engine._call_completed,
    inp.CallFailed: Engine._call_failed,
    inp.CallNotStarted: Engine._call_not_started,
    inp.CallUnknown: Engine._call_unknown,
    inp.LookedUp: Engine._looked_up,
    inp.LookedInto: Engine._looked_into,
    inp.ProviderSeen: Engine._provider_seen,
    inp.ProviderReady: Engine._provider_ready,
    inp.ProviderDown: Engine._provider_down,
    inp.ProviderDraining: Engine._provider_draining,
    inp.ProvidersDrained: Engine._providers_drained,
}
