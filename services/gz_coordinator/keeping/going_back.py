"""When what was decided cannot be made durable, as the journal is full, who asked for something is told so within two
seconds; then in memory everything has to be as the journal says."""

from collections.abc import Collection, Sequence
from typing import Any

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.journal.base import Journal
from gz_coordinator.streams.workflows import load_or_quarantine

MOVES = inp.Adopt | inp.Disown
"""Who waits for one of them waits until there is space: nobody else has these workflows meanwhile."""
MOST = 2_000
"""Workflows that are read again; a decision about more of them is held."""


def has_to_go_back(engine: Engine, inputs: Sequence[inp.Input]) -> bool:
    """Whether somebody waits for what is no new workflow, so that it is not enough to forget what is new. What moves
    workflows between coordinators cannot go back: it has turns of its own."""
    if any(isinstance(item, MOVES) for item in inputs):
        return False
    asked = [item for item in inputs if is_request(item)]
    return any(map(_is_entangled, asked)) and len(engine.entangled()) <= MOST


def is_request(item: inp.Input) -> bool:
    """Whether somebody waits for an answer."""
    return getattr(item, "token", None) is not None


def _is_entangled(item: inp.Input) -> bool:
    if not isinstance(item, inp.Submit):
        return True
    tasks = item.definition.tasks
    return item.definition.concurrency is not None or any(task.concurrency is not None for task in tasks)


async def as_in_the_journal(journal: Journal, names: Collection[str], quarantined: dict[str, str]) -> list[Workflow]:
    """Those that are there, as others were about to begin; first come, first served."""
    found: list[Workflow] = []
    for name in names:
        try:
            found.append(await load_or_quarantine(journal, name, quarantined))
        except (errors.WorkflowNotFound, errors.JournalCorrupt):
            continue
    return sorted(found, key=lambda one: (one.created_at, one.id))


def calls_in(inputs: Sequence[inp.Input], decision: Decision) -> list[Call]:
    """Those of whose end somebody has told, or that were to end."""
    told = [getattr(item, "call", None) for item in inputs]
    effects = [effect for effect in decision.effects if not isinstance(effect, fx.CallProvider)]
    told += [getattr(effect, "call", None) for effect in effects]
    return [call for call in told if isinstance(call, Call)]


def tokens_in(inputs: Sequence[inp.Input], decision: Decision) -> list[Any]:
    """Of those who were to hear that something is done. Those whom it was refused are answered with that."""
    for answer in decision.answers:
        if answer.error is not None and not answer.token.done():
            answer.token.set_result(answer)
    return [getattr(item, "token", None) for item in inputs] + [answer.token for answer in decision.answers]
