"""Signals that tasks send: to the workflow itself, to others by id or name, to all that wait for one or will.

Where several coordinators share a journal, whom a signal is for is asked of all of them before the task begins. To
those that are in memory it goes in the commit in which the task begins; the others get it afterwards, at least once,
under a key by which they know what they have, and the task waits until all have it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions import inner
from gleitzeit.engine.decisions.blobs import BlobNeeded
from gleitzeit.engine.decisions.children import Children
from gleitzeit.engine.decisions.core import call_id, failure
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Search, Sending
from gleitzeit.model import events as ev
from gleitzeit.model.targets import Target
from gleitzeit.schemas import near

MAX_SIGNALS = 10_000
"""That one workflow keeps until somebody takes them."""
SHOWN_TARGETS = 100
FRESH_MS = 10_000
"""So long what was found is believed."""


class Signals(Children):
    def _deliver(self, workflow: Workflow, signal: ev.SignalReceived) -> None:
        """To whoever waits for it. Raises ResourceExhausted."""
        raise NotImplementedError

    def _send(self, workflow: Workflow, task: Task, send: inner.Send) -> None:
        """Into the streams of all that it is for and that are here, in one commit; if that is all, with the task's end.
        Raises for a target that can have no signals: then none has."""
        targets = self._targets(workflow, task, send)
        if targets is None:
            return
        here = [one for target in targets if (one := self.workflows.get(target)) is not None]
        full = next((one for one in here if len(one.signals) >= MAX_SIGNALS), None)
        if full is not None:
            raise errors.ResourceExhausted(f"workflow {full.id} keeps {MAX_SIGNALS:,} signals that nobody has taken")
        attempt, elsewhere = task.attempt + 1, len(here) < len(targets)
        signal = self._signal_of(workflow, task, attempt, send)
        self._record(workflow, ev.TaskWaiting(self._now, task.id, attempt, sends=tuple(targets) if elsewhere else ()))
        if elsewhere:
            others = tuple(target for target in targets if target not in self.workflows)
            self._effect(fx.SendSignal(Sending(workflow, task, signal, others), others))
        else:
            self._finish_sending(workflow, task, send.name, targets)
        for one in here:
            self._deliver(one, signal)

    def _signal_of(self, workflow: Workflow, task: Task, attempt: int, send: inner.Send) -> ev.SignalReceived:
        """Its key is that of the attempt, by which a target knows whether it has it."""
        key = call_id(workflow.id, task.id, attempt) if self._shared or task.sends else ""
        return ev.SignalReceived(self._now, send.name, send.payload, workflow.id, key)

    def _finish_sending(self, workflow: Workflow, task: Task, name: str, ids: list[str]) -> None:
        result = {"signal_name": name, "sent": len(ids), "workflows": ids[:SHOWN_TARGETS]}
        self._finish(workflow, task, Raw(msgspec.json.encode(result)))

    # Whom it is for

    def _targets(self, workflow: Workflow, task: Task, send: inner.Send) -> list[str] | None:
        """Ids; None if the others are asked: the task comes back."""
        if not send.targets and not send.broadcast:
            return [workflow.id]
        if not self._shared or (send.targets and all(text in self.workflows for text in send.targets)):
            found = targets_in(self.workflows, send.name, send.targets)
        else:
            at, known = self._found.pop(task, (0, None))
            if known is None or at + FRESH_MS < self._now:
                self._effect(fx.FindTargets(Search(workflow, task, send.name, send.targets)))
                return None
            found = self._as_it_is(known.found)
        if send.broadcast:
            return list(dict.fromkeys(one.workflow_id for one in found))
        return list(dict.fromkeys(self._target(text, found) for text in send.targets))

    def _as_it_is(self, found: Iterable[Target]) -> list[Target]:
        """What is here may have ended since it was found."""
        now: list[Target] = []
        for one in found:
            known = self.workflows.get(one.workflow_id)
            if known is None:
                now.append(one)
            elif not known.final or one.text == known.id:
                now.append(Target(one.text, known.id, known.state))
        return now

    def _target(self, text: str, found: Iterable[Target]) -> str:
        """By id, else by the name of one that is under way."""
        meant = {one.workflow_id: one for one in found if one.text == text}
        known = meant.get(text)
        if known is not None and known.status in ev.WORKFLOW_FINAL:
            message = f"workflow {text} is {known.status}: it takes no signals any more"
            raise errors.InvalidState(message, {"status": known.status})
        if known is None and len(meant) > 1:
            message = f"{len(meant)} workflows called {text!r} are under way: say the id, or use signal/broadcast"
            raise errors.InvalidState(message)
        if not meant:
            like = near(text, {w.definition.name for w in self.workflows.values() if not w.final})
            suggestion = f" (did you mean '{like}'?)" if like else ""
            raise errors.WorkflowNotFound(f"no workflow {text!r} is under way{suggestion}")
        return text if known is not None else next(iter(meant))

    def _targets_found(self, item: inp.TargetsFound) -> None:
        search = item.search
        if search.current:
            self._found[search.task] = self._now, item
            self.scheduler.add(search.workflow, [search.task])
            self.more = True

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        super()._follow(workflow, event)
        task = workflow.tasks.get(getattr(event, "task", "")) if self._found else None
        if task is not None:
            self._found.pop(task, None)

    def _forget_found(self) -> None:
        """What is known for tasks of workflows that another coordinator has now."""
        self._found = {task: found for task, found in self._found.items() if not found[1].search.workflow.disowned}

    # To those that others have

    def _send_on(self, workflow: Workflow, task: Task) -> None:
        """After a start: it is not known who has it."""
        if task.state != "waiting" or not task.sends or workflow.disowned:
            return
        try:
            send = inner.METHODS[task.definition.method](self._params.resolved(workflow, task), self._now)
        except BlobNeeded as needed:
            self._await_blob(needed, self._send_on, workflow, task)
            return
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return
        assert isinstance(send, inner.Send)
        signal = self._signal_of(workflow, task, task.attempt, send)
        sending, targets = Sending(workflow, task, signal, task.sends), task.sends
        if self._shared:
            self._effect(fx.SendSignal(sending, targets))
            return
        for target in targets:  # of a journal that was shared once
            self._signal_sent(inp.SignalSent(sending, target, self._given(target, signal)))

    def _given(self, target: str, signal: ev.SignalReceived) -> errors.GleitzeitError | None:
        known = self.workflows.get(target)
        has = known is not None and signal.idempotency_key in (known.signal_keys or {})
        if known is None or (known.final and not has):
            return errors.WorkflowNotFound(f"no workflow {target} is under way")
        try:
            if not has:
                self._deliver(known, signal)
        except errors.ResourceExhausted as error:
            return error
        return None

    def _signal_sent(self, item: inp.SignalSent) -> None:
        sending, error = item.sending, item.error
        if not sending.current:
            return
        workflow, task = sending.workflow, sending.task
        broadcast = task.definition.method == "signal/broadcast"
        sending.left.discard(item.target)
        if error is not None and broadcast and isinstance(error, errors.WorkflowNotFound | errors.InvalidState):
            sending.gone.add(item.target)  # it has ended meanwhile
        elif error is not None:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return
        if not sending.left:
            ids = [target for target in task.sends if target not in sending.gone]
            self._finish_sending(workflow, task, sending.signal.name, ids)


def targets_in(workflows: Mapping[str, Workflow], name: str, targets: Iterable[str]) -> list[Target]:
    """Those of these workflows that are meant by the texts; without any, those under way that have a task which waits
    for the signal, or will. One that has ended is there only by its id."""
    under_way = [workflow for workflow in workflows.values() if not workflow.final]
    texts = set(targets)
    if not texts:
        return [Target("", one.id, one.state) for one in under_way if name in awaited_signals(one)]
    found = [Target(text, text, workflows[text].state) for text in texts if text in workflows]
    named = [one for one in under_way if one.definition.name in texts]
    return found + [Target(one.definition.name, one.id, one.state) for one in named]


def awaited_signals(workflow: Workflow) -> list[str]:
    """The names of the signals that its tasks wait for or, if the name is no reference, will wait for."""
    names: set[object] = set()
    for task in workflow.tasks.values():
        if task.state == "waiting":
            names.update(task.signals)
        elif task.state in ("pending", "ready", "retrying") and task.definition.method in inner.SIGNAL_WAITS:
            params = msgspec.json.decode(task.definition.params, type=dict[str, Any])
            names.update(inner.awaited_names(task.definition.method, params))
    return sorted(name for name in names if isinstance(name, str) and "${" not in name)
