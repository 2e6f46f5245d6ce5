"""One question about many files: a workflow with an item for each, and what came of it, file by file.

A batch has an id. What has succeeded is kept under it, by path and content, so that a second run with the same id asks
only for what is missing, failed or changed.
"""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.documents import Prepared
from gleitzeit.client.views import ErrorView, Json, TaskView, WorkflowView
from gleitzeit.errors import ConfigurationError, WorkflowNotFound
from gleitzeit.model.events import WORKFLOW_FINAL
from gleitzeit.spec.files.batches import TASK
from gleitzeit.spec.references.paths import payload
from gleitzeit.spec.references.references import substitute

LOOK_SECONDS = 0.5
FETCHED_AT_ONCE = 16
_ITEM = re.compile(rf"{TASK}\[(\d+)\]")

OnProgress = Callable[[int, int], object]
"""Called with how many files have ended, and how many there are."""


class FileResult(Struct, frozen=True, omit_defaults=True):
    """`content` is the text of an answer, or the value that a script gave; `error` the message of what failed."""

    status: Literal["success", "failed"]
    content: Json = None
    error: str = ""


class BatchSummary(Struct, frozen=True):
    """`processing_time` in seconds."""

    total: int
    successful: int
    failed: int
    processing_time: float


class BatchResult(Struct, frozen=True):
    """What came of each file, by its path. That some failed is a result, not an error."""

    batch_id: str
    created_at: str
    summary: BatchSummary
    parameters: dict[str, Json]
    results: dict[str, FileResult]
    workflow_id: str = ""

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def save(self, path: str | Path) -> None:
        """By the ending of the name: .json, .jsonl (one line a file), .csv or .md. Raises ConfigurationError."""
        file = Path(path)
        if file.suffix not in _WRITERS:
            raise ConfigurationError(f"{file.name}: results are saved as {', '.join(_WRITERS)}")
        file.write_text(_WRITERS[file.suffix](self), encoding="utf-8", newline="")

    def save_to_json(self, path: str | Path) -> None:
        """As `save` to a .json; whatever the file is called."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    def save_to_jsonl(self, path: str | Path) -> None:
        """A line a file, each a JSON object with `file`, `status`, `content` and `error`."""
        Path(path).write_text(_jsonl(self), encoding="utf-8")

    def save_to_csv(self, path: str | Path) -> None:
        """With a first row of names; contents that are no text stand there as JSON."""
        Path(path).write_text(_csv(self), encoding="utf-8", newline="")

    def save_to_markdown(self, path: str | Path) -> None:
        """A section a file."""
        Path(path).write_text(_markdown(self), encoding="utf-8")


def line_of(file: str, result: FileResult) -> str:
    """As JSON Lines have it."""
    return msgspec.json.encode({"file": file, **msgspec.to_builtins(result)}).decode() + "\n"


def _jsonl(batch: BatchResult) -> str:
    return "".join(line_of(file, result) for file, result in batch.results.items())


def _csv(batch: BatchResult) -> str:
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(("file", "status", "content", "error"))
    for file, result in batch.results.items():
        rows.writerow((file, result.status, _text(result.content), result.error))
    return out.getvalue()


def _markdown(batch: BatchResult) -> str:
    summary = batch.summary
    lines = [f"# {batch.batch_id}", "", f"{batch.created_at}: {summary.successful} of {summary.total} files, "
             f"{summary.failed} failed, {summary.processing_time:g} s", ""]  # fmt: skip
    for file, result in batch.results.items():
        failed = result.status == "failed"
        lines += [f"## {file}", "", f"**failed:** {result.error}" if failed else _text(result.content), ""]
    return "\n".join(lines)


def _text(content: Json) -> str:
    if content is None:
        return ""
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


_WRITERS: dict[str, Callable[[BatchResult], str]] = {
    ".json": BatchResult.to_json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".md": _markdown,
}
FORMATS = tuple(_WRITERS)


# To run one


def batch_document(
    batch_id: str,
    template: Mapping[str, Json],
    *,
    directory: str | None = None,
    files: Iterable[str] = (),
    pattern: str = "*",
    max_parallel: int | None = None,
) -> dict[str, Any]:
    """A document of type batch. What its files come to is kept under the id, as long as the template is the same."""
    where: dict[str, Any] = {"pattern": pattern} | ({"directory": directory} if directory is not None else {})
    where |= {"files": list(files)} if files else {}
    where |= {"max_parallel": max_parallel} if max_parallel is not None else {}
    return {"type": "batch", "name": "batch", "id": batch_id, "batch": where, "template": dict(template)}


def paths_of(prepared: Prepared) -> list[str]:
    """The files of a prepared batch, in the order of its items."""
    items = _document(prepared)["tasks"][0]["for_each"]["items"]
    return [str(substitute(item["path"], lambda reference: reference.source)) for item in items]


def is_batch(prepared: Prepared) -> bool:
    """Whether a document is of type batch, and not a workflow that has one among other tasks."""
    if prepared.checked is None or not isinstance(prepared.checked.metadata.get("batch"), dict):
        return False
    first = prepared.checked.tasks[0]
    return first.id == TASK and first.for_each is not None and first.for_each.by == "path"


def batch_id_of(prepared: Prepared) -> str:
    return str(_document(prepared).get("id", ""))


def parameters_of(prepared: Prepared) -> dict[str, Json]:
    """What was asked of each file, and of which."""
    return dict(_document(prepared)["metadata"]["batch"]["parameters"])


def _document(prepared: Prepared) -> dict[str, Any]:
    inner = prepared.definition.get("workflow")
    return inner if isinstance(inner, dict) else prepared.definition


async def started(client: Coordinator, prepared: Prepared, batch_id: str) -> str:
    """The id of the workflow of a batch. What an earlier run of it left under way is ended first: nothing is asked
    twice at a time."""
    for row in await _earlier(client, batch_id):
        if row.status not in WORKFLOW_FINAL:
            if row.held or row.status == "paused":
                await client.resume(row.workflow_id)
            async for _ in client.watch(row.workflow_id, stream=False):
                pass
    await client.bring(prepared.files)
    return (await client.submit_definition(prepared.definition)).workflow_id


async def _earlier(client: Coordinator, batch_id: str) -> Sequence[WorkflowView]:
    try:
        rows = (await client.list(id=batch_id)).workflows
    except WorkflowNotFound:
        return ()
    return [await client.get(row.workflow_id, limit=1) for row in rows]


async def ended(client: Coordinator, workflow_id: str, total: int, on_progress: OnProgress | None) -> WorkflowView:
    """Wait until a batch has ended. It is asked now and then: its events may be many."""
    while True:
        view = await client.patiently(partial(client.get, workflow_id, limit=1))
        if on_progress is not None:
            done = sum(view.counts.get(state, 0) for state in ("completed", "failed", "skipped", "cancelled"))
            on_progress(min(done, total), total)
        if view.status in WORKFLOW_FINAL:
            return view
        await asyncio.sleep(LOOK_SECONDS)


async def file_results(
    client: Coordinator, workflow_id: str, paths: Sequence[str]
) -> AsyncIterator[tuple[str, FileResult]]:
    """Each file with what came of it, in their order; a page at a time."""
    after: int | None = 0
    while after is not None:
        page = await client.patiently(partial(client.get, workflow_id, after=after, items_of=TASK))
        items = [(int(found[1]), task) for task in page.tasks if (found := _ITEM.fullmatch(task.task_id))]
        for begin in range(0, len(items), FETCHED_AT_ONCE):
            some = items[begin : begin + FETCHED_AT_ONCE]
            fetched = (client.patiently(partial(_whole, client, workflow_id, task)) for _, task in some)
            whole = await asyncio.gather(*fetched)
            for (number, _), task in zip(some, whole, strict=True):
                yield paths[number], _result_of(task)
        after = page.next


async def all_results(
    client: Coordinator, view: WorkflowView, paths: Sequence[str]
) -> AsyncIterator[tuple[str, FileResult]]:
    """As `file_results`, and those that were never begun, as in a batch that was cancelled or failed at once."""
    told = set[str]()
    async for path, result in file_results(client, view.workflow_id, paths):
        told.add(path)
        yield path, result
    for path in paths:
        if path not in told:
            yield path, FileResult("failed", error=view.error.message if view.error is not None else view.status)


async def _whole(client: Coordinator, workflow_id: str, task: TaskView) -> TaskView:
    """With its result, also where that is too large for a page."""
    if task.status != "completed":
        return task
    if task.result_size_bytes is None:
        return replace(task, result=await client.blobs.whole(task.result))
    return await client.task(workflow_id, task.task_id)


def _result_of(task: TaskView) -> FileResult:
    if task.status == "completed":
        return FileResult("success", payload(task.result))
    error = task.error or ErrorView(0, task.status)
    return FileResult("failed", error=error.message)


def summary_of(view: WorkflowView, statuses: Iterable[str]) -> BatchSummary:
    counted = list(statuses)
    failed = counted.count("failed")
    return BatchSummary(len(counted), len(counted) - failed, failed, view.duration_seconds or 0.0)


async def run_batch(
    client: Coordinator,
    prepared: Prepared,
    batch_id: str,
    parameters: Mapping[str, Json],
    on_progress: OnProgress | None = None,
) -> BatchResult:
    """Raises what submitting and asking raise; that files failed is in the result."""
    paths = paths_of(prepared)
    workflow_id = await started(client, prepared, batch_id)
    view = await ended(client, workflow_id, len(paths), on_progress)
    results = {path: result async for path, result in all_results(client, view, paths)}
    summary = summary_of(view, (result.status for result in results.values()))
    return BatchResult(batch_id, view.created_at or "", summary, dict(parameters), results, workflow_id)
