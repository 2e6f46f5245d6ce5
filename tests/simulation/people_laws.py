"""The law of what people are asked, read from the journal and from what they said.

27. What may have had its effect is called again only where its task says so, or a person. Each question takes one
    answer, that was given to it and not to another one, or what it says for the case that nobody answers in time. An
    answer that was acknowledged has counted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from gleitzeit.engine.decisions.calls import MAX_LOSSES
from gleitzeit.model import events as ev

if TYPE_CHECKING:
    from tests.simulation.laws import Durable

_REPEATABLE = ("sim/work",)
"""Methods that may be called twice, by their schema."""
Ended: TypeAlias = ev.TaskCompleted | ev.TaskRepeated | ev.TaskFailed
NOBODY = "nobody answered in time"


class Breach(Exception):
    def __init__(self, law: int, what: str) -> None:
        super().__init__(what)
        self.law = law


class Question(Struct):
    attempt: int
    approval: ev.Approval
    until: int | None = None


class Said(Struct):
    """An answer: to which question, and whether it was yes."""

    question: tuple[str, str, int]
    approved: bool


class PeopleLaws:
    def __init__(self, durable: Mapping[str, "Durable"], counts: dict[str, int]) -> None:
        self._durable = durable
        self._counts = counts
        self._open: dict[tuple[str, str], Question] = {}
        """By workflow and task: what is asked."""
        self._said: dict[str, Said] = {}
        """By who said it, of whom there is one for each answer."""
        self._counted: set[str] = set()

    # People

    def say(self, by: str, workflow_id: str, task: str, attempt: int, *, approved: bool) -> None:
        """Before it is sent for the first time."""
        self._said[by] = Said((workflow_id, task, attempt), approved)

    def has_counted(self, by: str) -> bool:
        return by in self._counted

    # The journal

    def lost(self, durable: "Durable", event: ev.CallLost) -> None:
        """Before it is applied."""
        task = durable.tasks[event.task]
        if not event.may_have_run:
            return
        asks, on_lost = event.approval is not None, task.definition.on_lost
        repeatable = task.call.method in _REPEATABLE or task.failures + 1 < task.definition.retry.max_attempts
        if asks != (on_lost == "ask") or on_lost == "fail" or (not on_lost and not repeatable):
            what = "asks whether to call again" if asks else "is to be called again"
            raise Breach(27, f"{durable.id}/{event.task} {what}, with on_lost {on_lost!r} and {task.call.method}")

    def given_up(self, durable: "Durable", event: ev.TaskFailed) -> None:
        """Before it is applied: a task has failed because its call was lost."""
        task = durable.tasks[event.task]
        lost = event.error.name == "CALL_LOST" and task.state == "running"
        if lost and task.definition.on_lost in ("ask", "retry") and task.losses + 1 < MAX_LOSSES:
            raise Breach(27, f"{durable.id}/{event.task} fails for a lost call, with on_lost {task.definition.on_lost}")

    def event(self, stream: str, event: ev.AnyEvent) -> None:
        """After it was applied."""
        match event:
            case ev.TaskWaiting(approval=ev.Approval() as asked):
                self._ask(stream, event.task, Question(event.attempt, asked, event.until))
            case ev.CallLost(approval=ev.Approval() as asked):
                self._counts["asked"] += 1
                self._ask(stream, event.task, Question(event.attempt, asked))
            case ev.TaskReleased():
                self._released(stream, event)
            case ev.TaskCompleted() | ev.TaskRepeated():
                self._completed(stream, event)
            case ev.TaskFailed():
                self._failed(stream, event)
            case ev.TaskCancelled():
                self._open.pop((stream, event.task), None)
            case ev.TaskStarted() | ev.TaskCached() | ev.TaskFellBack() | ev.TaskRetrying() | ev.TaskTurnedBack():
                if (stream, event.task) in self._open:
                    raise Breach(27, f"{type(event).__name__} of {stream}/{event.task}, about which a person is asked")

    def _ask(self, stream: str, task: str, question: Question) -> None:
        self._open[stream, task] = question

    def _released(self, stream: str, event: ev.TaskReleased) -> None:
        question = self._open.pop((stream, event.task), None)
        if question is not None:
            self._counts["again"] += 1
            self._answer(stream, event.task, question, event.by, approved=True)
        elif event.by:
            raise Breach(27, f"{event.by} lets {stream}/{event.task} go on, which asks nothing")

    def _completed(self, stream: str, event: ev.TaskCompleted | ev.TaskRepeated) -> None:
        question = self._open.pop((stream, event.task), None)
        if question is None:
            return
        if question.approval.of_call:
            raise Breach(27, f"{stream}/{event.task} is completed while a person is asked whether to call it again")
        self._settled(stream, event, question, msgspec.json.decode(event.result))

    def _failed(self, stream: str, event: ev.TaskFailed) -> None:
        question = self._open.pop((stream, event.task), None)
        if question is None or event.error.name == "CONCURRENCY_REPLACED":
            return
        answer = msgspec.json.decode(event.error.data)
        if answer is not None:
            self._settled(stream, event, question, answer)
        elif question.approval.on_timeout != "fail" or not self._is_late(question, event):
            raise Breach(27, f"{stream}/{event.task}, about which a person is asked, fails: {event.error.message}")

    def _settled(self, stream: str, event: Ended, question: Question, answer: dict[str, Any]) -> None:
        approved, goes_on = answer["approved"], question.approval.on_reject == "continue"
        if isinstance(event, ev.TaskFailed) is (approved or goes_on):
            raise Breach(27, f"{stream}/{event.task} ends otherwise than it was answered: {answer}")
        if answer["comment"] != NOBODY:
            self._answer(stream, event.task, question, answer["by"], approved=approved)
        elif (question.approval.on_timeout == "approve") is not approved or not self._is_late(question, event):
            raise Breach(27, f"{stream}/{event.task} had nobody's answer, and ends with {answer} at {event.at}")

    def _is_late(self, question: Question, event: Ended) -> bool:
        return question.until is not None and event.at >= question.until

    def _answer(self, stream: str, task: str, question: Question, by: str, *, approved: bool) -> None:
        said = self._said.get(by)
        if said is None or said != Said((stream, task, question.attempt), approved):
            raise Breach(27, f"attempt {question.attempt} of {stream}/{task} takes the answer of {by!r}: {said}")
        if by in self._counted:
            raise Breach(27, f"the answer of {by} to {stream}/{task} counts twice")
        self._counted.add(by)
