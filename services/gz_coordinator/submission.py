"""From a document to a workflow that is under way: what `workflow.submit` and all that start one have in common."""

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import view
from gleitzeit.model.events import Origin
from gleitzeit.process.folders import RootedFiles
from gleitzeit.spec.batches import Expansion, has_batches
from gleitzeit.spec.problems import Problem, document_error
from gz_coordinator.blobs import keep
from gz_coordinator.ids import new_workflow_id, workflow_id_for
from gz_coordinator.parts import Parts

READ_THERE = (
    "the files of a batch are read where its author is, by gz or the Python client; this coordinator may read none "
    "(--allow-root DIR)"
)


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


async def submit(parts: Parts, what: Submission) -> dict[str, Any]:
    """Durable when it returns. Raises DocumentError with all problems, InvalidState for a key that was used."""
    service = parts.service
    service.refuse_if_stalled()
    workflow_id = await _id_for(parts, what.idempotency_key)
    definition, more_bytes = await with_files(parts, what.definition)
    whole = await parts.templates.taken_in(definition)
    size_bytes = what.size_bytes + more_bytes
    verdict = await parts.documents.definition(whole, what.inputs, size_bytes, service.engine.catalogue)
    checked = verdict.definition
    assert checked is not None
    inputs = Raw(msgspec.json.encode(what.inputs))
    body = hashlib.sha256(msgspec.json.encode([what.body, what.inputs], order="deterministic")).hexdigest()
    answer = await service.ask(
        lambda token: fx.Submit(token, workflow_id, checked, inputs, what.idempotency_key, body, what.hold, what.origin)
    )
    assert answer.workflow is not None
    status = view.status_view(answer.workflow, held=workflow_id in service.engine.scheduler.held)
    return {**status, "created": answer.created, "warnings": verdict.warnings}


def new_id_here(parts: Parts) -> str:
    """For a workflow of which we are to be the coordinator."""
    workflow_id = new_workflow_id(parts.service.clock())
    while parts.shared is not None and parts.shared.holdings.mine and not parts.service.engine.owns(workflow_id):
        workflow_id = new_workflow_id(parts.service.clock())
    return workflow_id


async def with_files(parts: Parts, document: Any, *, keeps: bool = True) -> tuple[Any, int]:
    """A document with the files that it names in it, and about how much larger it is now. Only for clients that have
    not read them where the author is, and only from the folders that we may read. With `keeps` their contents are
    stored. Raises DocumentError."""
    if not has_batches(document):
        return document, 0
    if not parts.roots:
        raise document_error([Problem((), READ_THERE)])
    files = RootedFiles(parts.roots)
    found = await asyncio.to_thread(Expansion, document, files)
    if wrong := [problem for problem in found.problems if problem.severity == "error"]:
        raise document_error(wrong)
    for name in files.contents if keeps else ():
        try:
            content = await asyncio.to_thread(files.read, name)
        except (OSError, ValueError) as error:
            raise document_error([Problem((), str(error))]) from None
        await keep(parts.journal, parts.service.clock, {name: content})
    return found.definition, len(msgspec.json.encode(found.definition))


async def _id_for(parts: Parts, idempotency_key: str) -> str:
    if not idempotency_key:
        return new_id_here(parts)
    workflow_id = workflow_id_for("default", idempotency_key)
    with contextlib.suppress(errors.WorkflowNotFound):  # it may have ended and left memory
        await parts.service.bring_back(workflow_id)
    return workflow_id
