"""From a document to a workflow that is under way: what `workflow.submit` and all that start one have in common."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine import view
from gleitzeit.model.definition import Definition
from gleitzeit.model.events import NULL, Origin, WorkflowSubmitted
from gleitzeit.process.batch_ids import with_batch_id
from gleitzeit.process.folders import RootedFiles
from gleitzeit.spec.files.batches import Expansion, has_batches
from gleitzeit.spec.problems import Problem, document_error
from gz_coordinator.blobs.pieces import keep
from gz_coordinator.ids import new_workflow_id, workflow_id_for
from gz_coordinator.parts import Parts
from gz_coordinator.service import Service
from gz_coordinator.steps import built, decoded_definition, last_of, lasting
from gz_coordinator.submitting.documents import digest, warnings_in

READ_THERE = (
    "files are found and read where the author is, by gz or the Python client; this coordinator may read none "
    "(--allow-root DIR)"
)


_NONE = Definition("", ())


class Submission(Struct, frozen=True):
    """`body` is what must be the same wherever the idempotency key is, with the inputs; `size_bytes` is about how large
    the document is."""

    definition: Any
    body: Any
    size_bytes: int
    inputs: Mapping[str, Any] = {}
    idempotency_key: str = ""
    hold: bool = False
    origin: Origin | None = None
    traceparent: str = ""


async def submit(parts: Parts, what: Submission) -> dict[str, Any]:
    """Durable when it returns. Raises DocumentError with all problems, InvalidState for a key that was used."""
    service = parts.service
    service.space.refuse_new()
    workflow_id = await _id_for(parts, what.idempotency_key)
    definition, more_bytes, of_files = await with_files(parts, what.definition, what.inputs)
    whole = await parts.templates.taken_in(definition)
    size_bytes = what.size_bytes + more_bytes
    verdict = await parts.documents.definition(whole, what.inputs, size_bytes, service.engine.catalogue)
    checked = verdict.definition
    assert checked is not None
    inputs = Raw(msgspec.json.encode(what.inputs))
    body = digest([what.body, what.inputs]) if what.idempotency_key else ""
    answer = await service.ask(
        lambda token: inp.Submit(
            token,
            workflow_id,
            checked,
            inputs,
            what.idempotency_key,
            body,
            what.hold,
            what.origin,
            traceparent=what.traceparent,
        )
    )
    assert answer.workflow is not None
    status = view.status_view(answer.workflow, service.engine.scheduler.held)
    return {**status, "created": answer.created, "warnings": [*of_files, *verdict.warnings]}


async def submit_large(parts: Parts, params: bytes) -> dict[str, Any] | None:
    """As `submit`, for params that are too large to be decoded here; None if they have to be all the same."""
    service = parts.service
    service.space.refuse_new()
    found = await parts.documents.submitted(params, service.engine.catalogue)
    if found is None or (found.idempotency_key and parts.shared is not None):
        return None
    if found.definition == NULL:
        raise document_error(found.problems)
    workflow_id = await _id_for(parts, found.idempotency_key)
    with lasting(len(found.definition)):
        definition = await last_of(decoded_definition(found.definition))
    key, body, trace = found.idempotency_key, found.body_sha256, found.traceparent
    what = inp.Submit(None, workflow_id, definition, found.inputs, key, body, found.hold, traceparent=trace)
    answer = await ask_in_steps(service, what, found.definition)
    assert answer.workflow is not None
    status = view.status_view(answer.workflow, service.engine.scheduler.held)
    return {**status, "created": answer.created, "warnings": warnings_in(found.problems)}


async def ask_in_steps(service: Service, what: inp.Submit, definition: Raw) -> fx.Answer:
    """Submit a workflow that is too large to be built in one turn; `definition` is its definition as JSON."""
    event = what.event(service.clock())
    await asyncio.sleep(0)
    with lasting(len(definition)):
        workflow = await built(event)
    service.encoded_first[workflow.id] = _encoded(event, definition)
    try:
        return await service.ask(lambda token: replace(what, token=token, built=workflow))
    finally:
        service.encoded_first.pop(workflow.id, None)


def _encoded(event: WorkflowSubmitted, definition: Raw) -> bytes:
    """The event as JSON, with the definition's JSON that is there already."""
    members = msgspec.json.decode(msgspec.json.encode(replace(event, definition=_NONE)), type=dict[str, Raw])
    return msgspec.json.encode({**members, "definition": definition})


def new_id_here(parts: Parts) -> str:
    """For a workflow of which we are to be the coordinator."""
    workflow_id = new_workflow_id(parts.service.clock())
    while parts.shared is not None and parts.shared.holdings.mine and not parts.service.engine.owns(workflow_id):
        workflow_id = new_workflow_id(parts.service.clock())
    return workflow_id


async def with_files(
    parts: Parts, document: Any, inputs: Mapping[str, object] | None, *, keeps: bool = True
) -> tuple[Any, int, list[str]]:
    """A document with the files that it names in it, about how much larger it is now, and warnings. Only for clients
    that have not read them where the author is, and only from the folders that we may read. With `keeps` their contents
    are stored. Raises DocumentError."""
    if not has_batches(document):
        return document, 0, []
    files = RootedFiles(parts.roots) if parts.roots else NoFiles()
    found = await asyncio.to_thread(Expansion, with_batch_id(document), files, inputs)
    if wrong := [problem for problem in found.problems if problem.severity == "error"]:
        raise document_error(wrong)
    for name in files.contents if keeps else ():
        try:
            content = await asyncio.to_thread(files.read, name)
        except (OSError, ValueError) as error:
            raise document_error([Problem((), str(error))]) from None
        await keep(parts.journal, parts.service.clock, {name: content})
    more_bytes = len(msgspec.json.encode(found.definition)) if files.contents else 0
    return found.definition, more_bytes, [problem.message for problem in found.problems]


class NoFiles:
    """Of a coordinator that may read none: what one call reads is left to its provider."""

    final = False

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self.contents: dict[str, str] = {}

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[Any]:
        raise ValueError(READ_THERE)

    def named(self, path: str, *, content: bool) -> dict[str, Any]:
        raise ValueError(READ_THERE)

    def read(self, name: str) -> bytes:
        raise ValueError(READ_THERE)


async def _id_for(parts: Parts, idempotency_key: str) -> str:
    if not idempotency_key:
        return new_id_here(parts)
    workflow_id = workflow_id_for("default", idempotency_key)
    with contextlib.suppress(errors.WorkflowNotFound):  # it may have ended and left memory
        await parts.service.ended.bring_back(workflow_id)
    return workflow_id
