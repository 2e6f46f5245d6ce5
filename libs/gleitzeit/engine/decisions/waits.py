"""Tasks that run inside the coordinator: they wait for a time, for signals, for a child or for a person, and cost
nothing meanwhile."""

import contextlib
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions import inner
from gleitzeit.engine.decisions.children import ENDS, report_of
from gleitzeit.engine.decisions.core import call_lost, failure, to_ms
from gleitzeit.engine.decisions.signals import MAX_SIGNALS, Signals
from gleitzeit.engine.state.naming import not_found
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.model import events as ev
from gleitzeit.schemas import SchemaProblem, compile_schema, explain, near
from gleitzeit.spec.durations import in_words

REJECTED = "APPROVAL_REJECTED"


class Waits(Signals):
    def _begin_inner(self, workflow: Workflow, task: Task) -> None:
        params = self._had(workflow, task, lambda: self._params.resolved(workflow, task))
        if params is None:
            return
        try:
            what = inner.METHODS[task.definition.method](params, self._wall)
            match what:
                case inner.Wait():
                    self._begin_wait(workflow, task, what)
                case inner.Send():
                    self._send(workflow, task, what)
                case inner.Run():
                    self._begin_child(workflow, task, what)
        except errors.GleitzeitError as error:
            self._fail_task(workflow, task, task.attempt, failure(error))
            return
        self._arm_wait(workflow, task)

    def _begin_wait(self, workflow: Workflow, task: Task, wait: inner.Wait) -> None:
        delay = wait.seconds if wait.seconds is not None else task.definition.timeout_seconds
        until = wait.until if wait.until is not None else None if delay is None else self._now + to_ms(delay)
        self._record(
            workflow,
            ev.TaskWaiting(
                self._now, task.id, task.attempt + 1, until, wait.signals, all=wait.all, approval=wait.approval
            ),
        )
        self._take_signals(workflow, task)

    def _arm_wait(self, workflow: Workflow, task: Task) -> None:
        if task.state == "waiting" and task.until is not None:
            at = self._at_wall if task.definition.method == inner.UNTIL else self._at
            at(task.until, self._wait_over, workflow, task, task.attempt)

    def _wait_over(self, workflow: Workflow, task: Task, attempt: int) -> None:
        if task.state != "waiting" or task.attempt != attempt or workflow.final:
            return
        if task.approval is not None:
            self._unanswered(workflow, task, task.approval)
        elif task.signals:
            error = errors.TaskTimeout(_missing(workflow, task))
            self._fail_task(workflow, task, attempt, failure(error))
        elif task.child:
            limit = in_words(task.definition.timeout_seconds or 0)
            error = errors.TaskTimeout(f"workflow {task.child} took longer than the task's timeout of {limit}")
            self._wait_failed(workflow, task, failure(error))
        else:
            slept = inner.timer_result(task.definition.method, task.started_at, task.until, self._now)
            self._finish(workflow, task, slept)

    # Signals

    def _take_signals(self, workflow: Workflow, task: Task) -> None:
        found = workflow.signals_for(task)
        if found is not None:
            result = inner.signal_result(found, several=task.wants_all)
            self._finish(workflow, task, result)

    def _deliver(self, workflow: Workflow, signal: ev.SignalReceived) -> None:
        """To whoever has waited for it longest, else into the buffer. Raises ResourceExhausted."""
        if len(workflow.signals) >= MAX_SIGNALS:
            message = f"workflow {workflow.id} keeps {MAX_SIGNALS:,} signals that none of its tasks has taken"
            raise errors.ResourceExhausted(message)
        self._record(workflow, signal)
        waiting = [t for t in workflow.tasks.values() if t.state == "waiting" and signal.name in t.signals]
        for task in sorted(waiting, key=lambda t: (t.started_at, t.index)):
            if any(one is signal for one in workflow.signals):  # nobody has taken it yet
                self._take_signals(workflow, task)

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        super()._follow(workflow, event)
        origin = workflow.submitted.origin
        if type(event) in ENDS and origin is not None and origin.callback:
            self._call_back(workflow, origin)

    def _call_back(self, child: Workflow, origin: ev.Origin) -> None:
        """Tell the parent that it has ended, in the same commit."""
        parent = self.workflows.get(origin.parent)
        if parent is not None and not parent.final:
            with contextlib.suppress(errors.ResourceExhausted):  # nobody takes its signals
                self._deliver(parent, ev.SignalReceived(self._now, origin.callback, report_of(child), child.id))

    # Approvals

    def _complete(self, item: inp.Complete) -> None:
        workflow = self.workflows.get(item.workflow_id)
        try:
            if workflow is None:
                raise errors.WorkflowNotFound(f"no workflow {item.workflow_id}")
            task = _asking(workflow, item)
            values = _filled_in(task, item)
            self._answered(workflow, task, item.approved, values, item.comment, item.by)
        except errors.GleitzeitError as error:
            self._refuse(item.token, error)
        else:
            self._answer(item.token, workflow)

    def _answered(
        self, workflow: Workflow, task: Task, approved: bool, values: Raw, comment: str = "", by: str = ""
    ) -> None:
        assert task.approval is not None
        if approved and task.approval.of_call:
            self._record(workflow, ev.TaskReleased(self._now, task.id, by, comment))
            return
        result = inner.answer_result(approved, values, comment, by, self._now)
        if approved or task.approval.on_reject == "continue":
            self._finish(workflow, task, result)
        else:
            message = f"rejected{f' by {by}' if by else ''}{f': {comment}' if comment else ''}"
            error = ev.Failure(errors.TaskError.code, message, REJECTED, result)
            if task.approval.of_call:
                message = f"its provider was lost while it ran this call, which may have had its effect; {message}"
                error = call_lost(message, result)
            self._fail_task(workflow, task, task.attempt, error)

    def _unanswered(self, workflow: Workflow, task: Task, approval: ev.Approval) -> None:
        if approval.on_timeout == "fail":
            self._fail_task(workflow, task, task.attempt, failure(errors.TaskTimeout("nobody answered in time")))
            return
        approved = approval.on_timeout == "approve"
        values = Raw(msgspec.json.encode(inner.defaults_of(approval.form)))
        self._answered(workflow, task, approved, values, "nobody answered in time")


def _missing(workflow: Workflow, task: Task) -> str:
    if not task.wants_all:
        return f"the signal {' or '.join(task.signals)} did not come in time"
    came = {signal.name for signal in workflow.signals}
    missing = " and ".join(name for name in task.signals if name not in came)
    here = ", ".join(name for name in task.signals if name in came)
    return f"the signal {missing} did not come in time" + (f"; {here} did" if here else "")


def _asking(workflow: Workflow, item: inp.Complete) -> Task:
    """The task that waits for this answer. Raises TaskNotFound, InvalidState."""
    task = workflow.tasks.get(item.task)
    if task is None:
        raise not_found(workflow, item.task)
    if task.approval is None or (item.attempt is not None and item.attempt != task.attempt):
        raise errors.InvalidState(why_not_answered(workflow, task), {"status": task.state})
    return task


def why_not_answered(workflow: Workflow, task: Task) -> str:
    """A sentence about a task that asks nobody at the moment: who answered it, or what else became of it."""
    name = f"task {task.id} of {workflow.id}"
    if task.definition.on_lost == "ask" and task.state != "waiting":
        return f"{name} asks nothing at the moment, as none of its calls is lost: it is {task.state}"
    if task.definition.method != "approval/ask" and task.definition.on_lost != "ask":
        return f"{name} asks for no approval: it is {task.definition.method}, and {task.state}"
    answer = task.result if task.state == "completed" else task.error.data if task.error is not None else None
    given = msgspec.json.decode(answer) if answer is not None else None
    if isinstance(given, dict) and "approved" in given:
        word = "approved" if given["approved"] else "rejected"
        by = f" by {given['by']}" if given.get("by") else ""
        return f"{name} was {word} before{by}, at {given.get('answered_at')}"
    match task.state:
        case "pending" | "ready" | "retrying":
            return f"{name} does not ask yet: it is {task.state}"
        case "waiting" if task.expands:
            return f"{name} asks for each of its items: answer {task.id}[0], or another one"
        case "waiting":
            return f"{name} asks anew, in attempt {task.attempt}: this was an answer to an earlier one"
        case _:
            return f"{name} is {task.state}: nobody waits for an answer any more"


def _filled_in(task: Task, item: inp.Complete) -> Raw:
    """The values with the defaults of the form. Raises InvalidParams with everything that does not fit: in its data
    `problems`, each a `path` into the values and a `message`."""
    assert task.approval is not None
    form = msgspec.json.decode(task.approval.form, type=dict[str, Any])
    given = msgspec.json.decode(item.values)
    if not isinstance(given, dict):
        raise errors.InvalidParams(f"the values of an answer are a map, not {str(given)[:40]}")
    values = {**inner.defaults_of(task.approval.form), **given}
    if not item.approved:  # who rejects need not fill in the form
        return Raw(msgspec.json.encode(values))
    if not form.get("properties") and not form.get("type") and given:
        raise errors.InvalidParams(f"task {task.id} asks for no values, only for yes or no")
    known = form.get("properties", {})
    wrong = [_problem((name,), _not_asked(name, known)) for name in given if known and name not in known]
    for problem in explain(compile_schema({"type": "object", **form}, formats=True), values, form):
        if problem.keyword != "additionalProperties":
            wrong.append(_problem((*problem.path, *problem.missing[:1]), _in_words(problem)))
    if wrong:
        message = f"the answer does not fit the form: {'; '.join(one['message'] for one in wrong)}"
        raise errors.InvalidParams(message, {"problems": wrong})
    return Raw(msgspec.json.encode(values))


def _problem(path: tuple[str | int, ...], message: str) -> dict[str, Any]:
    return {"path": list(path), "message": message}


def _in_words(problem: SchemaProblem) -> str:
    path = ".".join(str(step) for step in problem.path)
    return f"'{path}' {problem.message}" if path else problem.message


def _not_asked(name: str, known: Collection[str]) -> str:
    meant = near(name, known)
    return f"'{name}' is not asked for" + (f" (did you mean '{meant}'?)" if meant else "")
