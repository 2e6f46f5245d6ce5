"""What was decided and cannot be made durable, as the journal is full, is taken back: before anybody has heard of it.

What is new is forgotten. Where that is not all, every workflow and schedule that the decision was about goes back to
what the journal says of it, as if it were adopted anew, but for its calls: these run on.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from gleitzeit.engine import effects as fx
from gleitzeit.engine.decisions.requests import Requests
from gleitzeit.engine.scheduling.permits import Limit
from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.model.permits import Held, parts_of
from gleitzeit.model.shards import root_of


class GoingBack(Requests):
    def adopt(self, now: int, workflow: Workflow, *, held: bool = False) -> None:
        """Go on with a replayed workflow."""

    def withdraw(self, workflow_ids: Collection[str]) -> Collection[str]:
        """Forget workflows that the last turn began and that cannot be made durable, before anybody has heard of them.
        Returns which, with their children: those with limits of their own are not forgotten, as others may have made
        room for them."""
        families: dict[str, list[Workflow]] = {root: [] for root in workflow_ids}
        for workflow in self.workflows.values():
            if (family := families.get(root_of(workflow.id))) is not None:
                family.append(workflow)
        gone = [workflow for family in families.values() if not any(map(has_limits, family)) for workflow in family]
        for workflow in gone:
            workflow.disowned = True
            self._forget_sweeps(workflow)
        self._forget_found()
        self._forget_unfinished(gone)
        return [workflow.id for workflow in gone]

    def _forget_unfinished(self, gone: Sequence[Workflow]) -> list[Call]:
        """Returns their calls."""
        for workflow in gone:
            self.scheduler.forget(workflow)
            self._params.forget(workflow.id)
            self._budgets.pop(workflow.id, None)
            self._touched.pop(workflow.id, None)
            del self.workflows[workflow.id]
            self.let_go(workflow)
        calls = [call for call in self.calls.values() if call.workflow.disowned]
        for call in calls:
            del self.calls[call.id]
            self.scheduler.leave(call)
        self._timers.prune()
        self._wall_timers.prune()
        return calls

    def entangled(self) -> Collection[str]:
        """The workflows that the last decision was about: those that have events in it, those that were held or let go,
        and those for which permits have moved."""
        names = {*self._decision.appends, *filter(self.workflows.__contains__, self._were_held)}
        for name, grants in self._moved.items():
            limit = self._limits.get(name)
            holders = set(grants)
            if limit is not None:
                holders.update(limit.grants)
                holders.update(waiting.ask.holder for waiting in limit.waiting)
            names.update(workflow_id for workflow_id, _ in map(parts_of, holders) if workflow_id in self.workflows)
        return names

    def go_back(
        self,
        now: int,
        names: Collection[str],
        workflows: Sequence[Workflow],
        ended: Iterable[Call],
        schedules: Iterable[Schedule] = (),
    ) -> list[Any]:
        """The last decision comes to nothing: those `names` that are among `workflows` are again what these are, the
        others never were; so are the `schedules` that it was about. `ended` are calls whose ends have been told, or
        decided. Returns the tokens of those who wait for something to come to its end. What has been told since must be
        told again but for requests, then decide."""
        dropped, self._decision = self._decision, self._carried
        held = {name for name in names if self._were_held.get(name, name in self.scheduler.held)}
        self._resumed = {call.id: call for call in (*ended, *self.calls.values())}
        gone = {name: self.workflows[name] for name in names if name in self.workflows}
        for workflow in gone.values():
            workflow.disowned = True
        tokens = [token for workflow in gone.values() for token in self._forget_sweeps(workflow)]
        self._forget_found()
        self._permits_as_before()
        self._forget_unfinished(list(gone.values()))
        self._schedules_as_before(dropped.schedules, gone.values())
        for workflow in workflows:
            if workflow.id in gone:
                workflow.source = gone[workflow.id].source
            self.adopt(now, workflow, held=workflow.id in held)
        for schedule in schedules:
            self.adopt_schedule(now, schedule)
        attached = {effect.call.id for effect in dropped.effects if isinstance(effect, fx.AttachCall)}
        for workflow in workflows:
            for call in [call for call in self.calls.values() if call.workflow is workflow]:
                self._go_on_with(call, again=call.id in attached or call.id not in self._resumed)
        for effect in dropped.effects:
            if isinstance(effect, fx.AskPermit) and effect.permit.dropped:
                self._never_asked(effect.permit)
            elif isinstance(effect, fx.AskPlaces):
                self._never_reported(effect.report)
        self._decision.effects += [effect for effect in dropped.effects if not _is_over(effect, gone)]
        self._resumed = {}
        for name in list(self._moved):
            if (limit := self._limits.get(name)) is not None:
                self._pass_on(limit)
        self._moved.clear()
        return tokens

    def _schedules_as_before(self, names: Iterable[str], gone: Iterable[Workflow]) -> None:
        """As far as nothing is said of them in the journal."""
        for name in names:
            self.schedules.pop(name, None)
        for workflow in gone:
            origin = workflow.submitted.origin
            if origin is not None:
                self._scheduled.get(origin.schedule, {}).pop(workflow.id, None)

    def _permits_as_before(self) -> None:
        for permit in [permit for permit in self._permits.values() if permit.workflow.disowned]:
            limit = self._limits.get(permit.ask.limit)
            waiting = limit.waiting.get(permit.ask.holder) if limit is not None else None
            if limit is not None and waiting is not None and waiting.whom is permit:
                limit.waiting.pop(permit.ask.holder)
            self._drop(permit)
        for name, grants in self._moved.items():
            limit = self._limits.setdefault(name, Limit(Held(name)))
            limit.grants = dict(grants)
            limit.leaving.clear()
            limit.replaced.clear()
        self._limits_changed.clear()

    def _go_on_with(self, call: Call, *, again: bool) -> None:
        """A call that was under way before; `again`: nobody listens for its end at the moment."""
        if again and call.instance in self.scheduler.roster:
            call.lost_at = None
            self._effect(fx.AttachCall(call))


def has_limits(workflow: Workflow) -> bool:
    definition = workflow.definition
    return definition.concurrency is not None or any(task.concurrency is not None for task in definition.tasks)


def _is_over(effect: fx.Effect, gone: Collection[str]) -> bool:
    """Whether an effect is of what has gone back: it will be decided about once more."""
    match effect:
        case fx.CallProvider(call) | fx.AttachCall(call) | fx.CancelCall(call) | fx.AckCall(call):
            return call.workflow.id in gone
        case fx.LookUp(subject) | fx.FindTargets(subject) | fx.SendSignal(subject):
            return subject.workflow.disowned
        case fx.AskPermit(permit):
            return permit.dropped
        case fx.ReturnPermit(permit):
            return parts_of(permit.holder)[0] in gone
    return isinstance(effect, fx.KeepResult | fx.AskPlaces)
