"""The streams of workflows in the journal: what a summary says of one, and a workflow from its stream."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from gleitzeit import errors
from gleitzeit.engine.state.replay import replay, replay_in_steps
from gleitzeit.engine.state.workflow import STEP, Workflow
from gleitzeit.engine.view import counts_raw
from gleitzeit.journal.base import SHORT_BYTES, Journal, Record, Summary
from gleitzeit.model import events as ev
from gleitzeit.model.blobs import names_in
from gz_coordinator.steps import decoded, last_of, lasting, others_first

_decode: Callable[[bytes], ev.AnyEvent] = msgspec.json.Decoder(ev.AnyEvent).decode
CHILD = "child"
"""The kind of workflows that are tasks of others: there may be many, and lists are not about them."""
CHILD_SEPARATOR = "~"
"""In their ids, after that of the workflow that each is a task of."""

LOADED_TOGETHER = 2_000
"""Events that are one question to the journal: what others want of it waits meanwhile."""


def is_child(workflow: Workflow) -> bool:
    return workflow.submitted.origin is not None and bool(workflow.submitted.origin.parent)


def summary_of(workflow: Workflow) -> Summary:
    return Summary(
        stream=workflow.id,
        kind=CHILD if is_child(workflow) else "workflow",
        key=workflow.definition.name,
        status=workflow.state,
        active=not workflow.final,
        created_at=workflow.created_at,
        updated_at=workflow.updated_at,
        counts=counts_raw(workflow),
    )


def blobs_of(events: Sequence[bytes]) -> tuple[str, ...]:
    """What they refer to lives as long as their stream."""
    return tuple(dict.fromkeys(names_in(b"\n".join(events))))


async def load(journal: Journal, workflow_id: str) -> Workflow:
    """Replay a workflow from its stream, in steps. Raises WorkflowNotFound, and JournalCorrupt for a damaged stream."""
    page = await journal.read(workflow_id, limit=LOADED_TOGETHER)
    if not page:
        raise errors.WorkflowNotFound(f"no workflow {workflow_id}")
    try:
        with lasting(len(page[0].event)):
            return await _loaded(journal, workflow_id, page)
    except (msgspec.MsgspecError, errors.InvalidState) as error:
        raise no_story(workflow_id, error) from error


async def load_or_quarantine(journal: Journal, workflow_id: str, quarantined: dict[str, str]) -> Workflow:
    """As `load`; a stream that is damaged is put into `quarantined`, with the reason."""
    try:
        return await load(journal, workflow_id)
    except errors.JournalCorrupt as error:
        quarantined[workflow_id] = error.message
        raise


async def _loaded(journal: Journal, workflow_id: str, page: list[Record]) -> Workflow:
    first = await last_of(decoded(page[0].event))
    assert first is not None
    workflow = await last_of(replay_in_steps(iter([first, *map(_decode_record, page[1:])])))
    if len(page) < LOADED_TOGETHER and sum(len(record.event) for record in page) < SHORT_BYTES:
        return workflow
    while page := await journal.read(workflow_id, after=page[-1].seq, limit=LOADED_TOGETHER):
        for number, record in enumerate(page, 1):
            for _ in workflow.apply_in_steps(_decode_record(record)):
                await others_first()
            if number % STEP == 0:
                await others_first()
    return workflow


async def load_source(journal: Journal, workflow: Workflow) -> Workflow | None:
    """What the workflow runs again. One that is gone, or cannot be read, is as if there were none."""
    origin = workflow.submitted.origin
    try:
        return await load(journal, origin.rerun_of) if origin is not None and origin.rerun_of else None
    except errors.GleitzeitError:
        return None


def no_story(workflow_id: str, error: Exception) -> errors.JournalCorrupt:
    return errors.JournalCorrupt(f"the stream {workflow_id} is no story of a workflow: {error}")


def _decode_record(record: Record) -> ev.AnyEvent:
    return _decode(record.event)


def replayed(workflow_id: str, events: Iterable[bytes]) -> Workflow:
    """As `load`, at once."""
    try:
        return replay(map(_decode, events))
    except (msgspec.MsgspecError, errors.InvalidState) as error:
        raise no_story(workflow_id, error) from error
