"""`until`: what follows when a round of a task has its result."""

from collections.abc import Callable

from msgspec import Raw

from gleitzeit.engine.state.task import Task
from gleitzeit.errors import LoopExhausted
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Until


def after_round(task: Task, until: Until, result: Raw, now: int, holds: Callable[[], bool]) -> ev.AnyEvent:
    """That it is completed, or repeated. `holds` says whether the condition does.

    Raises LoopExhausted if that was the last round, and what `holds` raises.
    """
    if holds():
        return ev.TaskCompleted(now, task.id, task.attempt, result)
    if task.round + 1 < until.max:
        return ev.TaskRepeated(now, task.id, task.attempt, result, now + round(until.every_seconds * 1000))
    if until.on_exhausted == "continue":
        return ev.TaskCompleted(now, task.id, task.attempt, result)
    raise LoopExhausted(f"after {until.max} rounds the condition still does not hold: {until.condition}")
