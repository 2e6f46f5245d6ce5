"""What the tasks of a workflow have spent, for those that may not spend more than their budget.

    calls    that were started, and the requests that they have made of models beyond their first, of those lent to
             them; one that its provider refused (busy) counts only what it says it has made
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
    """One workflow's. `running` says since when each running call runs, by task id; `lent` how many requests it may
    make besides its first, if any."""

    total: Spent = msgspec.field(default_factory=Spent)
    tasks: dict[str, Spent] = msgspec.field(default_factory=dict)
    running: dict[str, int] = msgspec.field(default_factory=dict)
    lent: dict[str, int] = msgspec.field(default_factory=dict)

    def note(self, event: ev.AnyEvent) -> None:
        """An event that the workflow has applied."""
        match event:
            case ev.TaskStarted():
                self.running[event.task] = event.at
                if event.calls > 1:
                    self.lent[event.task] = event.calls - 1
                for spent in self._accounts(event.task):
                    spent.calls += 1
            case ev.TaskCompleted() | ev.TaskRepeated():
                self._end(event.task, event.at, cost_of(event.result))
            case ev.CallRefused():
                self._end(event.task, event.at, Cost(event.tokens, event.calls), least=0)
            case ev.TaskRetrying() | ev.TaskFellBack() | ev.TaskTurnedBack() | ev.TaskFailed():
                self._end(event.task, event.at, cost_of(event.error.data))
            case ev.TaskCancelled() | ev.CallLost():
                self._end(event.task, event.at, Cost())
            case ev.WorkflowRetried():
                self.total, self.tasks, self.running, self.lent = Spent(), {}, {}, {}
            case _:
                pass

    def to_lend(self, whole: Budget | None, own: Budget | None, task: str, ready: int, later: int) -> int:
        """How many requests a call of the task may make besides its first: of the workflow's a share, after each of the
        tasks that are `ready` (it is one) or come `later` has one."""
        shares = []
        if own is not None and own.calls is not None:
            shares.append(own.calls - self._of(task).calls - 1)
        if whole is not None and whole.calls is not None:
            spare = whole.calls - self.total.calls - sum(self.lent.values()) - ready - later
            shares.append(math.ceil(spare / (ready + (later > 0))))
        return max(0, min(shares, default=0))

    def is_lent(self, whole: Budget | None) -> bool:
        """Whether running calls may yet need all calls that are left: others wait until it is known."""
        if whole is None or whole.calls is None or not self.lent:
            return False
        return self.total.calls < whole.calls <= self.total.calls + sum(self.lent.values())

    def left(self, whole: Budget | None, own: Budget | None, task: str, lent: int) -> dict[str, int]:
        """What a call is told of its budgets."""
        left: dict[str, int] = {}
        budgets = [(budget, spent) for budget, spent in ((whole, self.total), (own, self._of(task))) if budget]
        if any(budget.calls is not None for budget, _ in budgets):
            left["calls"] = 1 + lent
        tokens = [budget.tokens - spent.tokens for budget, spent in budgets if budget.tokens is not None]
        return left | {"tokens": min(tokens)} if tokens else left

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

    def _end(self, task: str, at: int, cost: "Cost", least: int = 1) -> None:
        since, most = self.running.pop(task, None), 1 + self.lent.pop(task, 0)
        for spent in self._accounts(task):
            spent.tokens += cost.tokens
            if since is not None:
                spent.ended_ms += at - since
                spent.calls += min(max(least, cost.requests), most) - 1


def has_budget(task: TaskDefinition) -> bool:
    return task.budget is not None or (task.undo is not None and has_budget(task.undo))


class Cost(Struct, frozen=True):
    """What a result, or a failure in its data, says it has cost; 0 where it says nothing."""

    tokens: int = 0
    requests: int = 0


class _Result(Struct):
    usage: Any = None
    requests: Any = None


_decode = msgspec.json.Decoder(_Result).decode


def cost_of(result: Raw) -> Cost:
    try:
        said = _decode(result)
    except msgspec.MsgspecError:
        return Cost()
    return Cost(_tokens(said.usage), _count(said.requests))


def _tokens(usage: object) -> int:
    """In a usual spelling."""
    if not isinstance(usage, dict):
        return 0
    parts = ("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens")
    return _count(usage.get("total_tokens")) or sum(_count(usage.get(name)) for name in parts)


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
