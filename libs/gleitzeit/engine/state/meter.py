"""What the tasks of a workflow have spent, for those that may not spend more than their budget.

    calls    that were started; one that its provider refused (busy) does not count
    tokens   of results that say so in `usage`, and of failures and refusals that do so in their data
    seconds  in which calls ran, those that run at the moment included

Fed by the events of the workflow alone, so that a replay knows what was known. A retry by hand begins anew.
"""

import math
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.model import events as ev
from gleitzeit.model.definition import Budget, TaskDefinition


class Spent(Struct):
    calls: int = 0
    tokens: int = 0
    ended_ms: int = 0
    """Of calls that have ended."""


class Meter(Struct):
    """One workflow's. `running` says since when each running call runs, by task id."""

    total: Spent = msgspec.field(default_factory=Spent)
    tasks: dict[str, Spent] = msgspec.field(default_factory=dict)
    running: dict[str, int] = msgspec.field(default_factory=dict)

    def note(self, event: ev.AnyEvent) -> None:
        """An event that the workflow has applied."""
        match event:
            case ev.TaskStarted():
                self.running[event.task] = event.at
                for spent in self._accounts(event.task):
                    spent.calls += 1
            case ev.TaskCompleted() | ev.TaskRepeated():
                self._end(event.task, event.at)
                self._add_tokens(event.task, event.result)
            case ev.CallRefused():
                self._end(event.task, event.at)
                for spent in self._accounts(event.task):
                    spent.calls -= 1
                    spent.tokens += event.tokens
            case ev.TaskRetrying() | ev.TaskFellBack() | ev.TaskTurnedBack() | ev.TaskFailed():
                self._end(event.task, event.at)
                self._add_tokens(event.task, event.error.data)
            case ev.TaskCancelled() | ev.CallLost():
                self._end(event.task, event.at)
            case ev.WorkflowRetried():
                self.total, self.tasks, self.running = Spent(), {}, {}
            case _:
                pass

    def complaint(self, whole: Budget | None, own: Budget | None, task: str, now: int) -> str:
        """Why the task may make no further call: which budget is spent, the workflow's (`whole`) or its `own`. "" if
        it may."""
        return self._over("the workflow's budget", whole, self.total, self._running_ms(now)) or self._over(
            "its budget", own, self._of(task), 0
        )

    def complaint_of_time(self, budget: Budget | None, now: int, task: str | None = None) -> str:
        """Why no call may run on: because of the workflow's budget, or of the task's; "" if it may."""
        if budget is None or budget.seconds is None:
            return ""
        whose, spent = ("its budget", self._of(task)) if task is not None else ("the workflow's budget", self.total)
        return self._over(whose, Budget(seconds=budget.seconds), spent, self._running_ms(now, task))

    def spent_at(self, budget: Budget | None, now: int, task: str | None = None) -> int | None:
        """When such a budget of seconds is used up, if nothing starts or ends until then; None if never."""
        if budget is None or budget.seconds is None or not self.running:
            return None
        spent_ms = (self.total if task is None else self._of(task)).ended_ms + self._running_ms(now, task)
        return now + math.ceil((budget.seconds * 1000 - spent_ms) / (len(self.running) if task is None else 1))

    def seconds(self, now: int) -> float:
        """In which calls of the workflow have run."""
        return (self.total.ended_ms + self._running_ms(now)) / 1000

    def _of(self, task: str) -> Spent:
        return self.tasks.get(task) or Spent()

    def _running_ms(self, now: int, task: str | None = None) -> int:
        """Of what runs now, or of one task."""
        if task is not None:
            return now - self.running.get(task, now)
        return sum(now - at for at in self.running.values())

    @staticmethod
    def _over(whose: str, budget: Budget | None, spent: Spent, running_ms: int) -> str:
        if budget is None:
            return ""
        seconds = (spent.ended_ms + running_ms) / 1000
        if budget.calls is not None and spent.calls >= budget.calls:
            return f"{whose} of {budget.calls:,} calls is spent"
        if budget.tokens is not None and spent.tokens >= budget.tokens:
            return f"{whose} of {budget.tokens:,} tokens is spent ({spent.tokens:,} so far)"
        if budget.seconds is not None and seconds >= budget.seconds:
            return f"{whose} of {budget.seconds:g} seconds is spent ({seconds:.1f} so far)"
        return ""

    def _accounts(self, task: str) -> tuple[Spent, Spent]:
        return self.total, self.tasks.setdefault(task, Spent())

    def _add_tokens(self, task: str, said: Raw) -> None:
        tokens = tokens_of(said)
        for spent in self._accounts(task):
            spent.tokens += tokens

    def _end(self, task: str, at: int) -> None:
        since = self.running.pop(task, None)
        if since is not None:
            for spent in self._accounts(task):
                spent.ended_ms += at - since


def has_budget(task: TaskDefinition) -> bool:
    return task.budget is not None or (task.undo is not None and has_budget(task.undo))


class _Result(Struct):
    usage: Any = None


_decode = msgspec.json.Decoder(_Result).decode


def tokens_of(result: Raw) -> int:
    """Those that a result, or a failure in its data, says it has cost, in a usual spelling; 0 where it says nothing."""
    try:
        usage = _decode(result).usage
    except msgspec.MsgspecError:
        return 0
    if not isinstance(usage, dict):
        return 0
    total = _count(usage, "total_tokens")
    if total:
        return total
    return sum(_count(usage, name) for name in ("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens"))


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
