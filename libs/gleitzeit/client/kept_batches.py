"""Batches that a coordinator has: which there are, what came of them, and going on with one."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.client.batch import BatchResult, BatchSummary, FileResult
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import Json, understood


class BatchRow(Struct, frozen=True):
    """`status` is that of its latest workflow."""

    batch_id: str
    workflow_id: str
    status: str
    name: str = ""
    held: bool = False
    created_at: str | None = None


class KeptBatch(Struct, frozen=True):
    """`pending` are so many files that have not ended."""

    result: BatchResult
    status: str
    held: bool
    pending: int


class _Page(Struct, frozen=True):
    batches: tuple[BatchRow, ...]
    next: Json = None


class _Files(BatchRow, frozen=True, kw_only=True):
    summary: dict[str, Any]
    parameters: dict[str, Json]
    results: dict[str, FileResult]
    next: int | None = None


async def listed(client: Coordinator, limit: int = 50) -> tuple[BatchRow, ...]:
    """The newest first."""
    return understood(await client.call("batch.list", {"limit": limit}), _Page).batches


async def kept(client: Coordinator, batch_id: str) -> KeptBatch:
    """With what all files came to that have ended. Raises WorkflowNotFound."""
    results: dict[str, FileResult] = {}
    after: int | None = 0
    while after is not None:
        answer = await client.call("batch.get", {"batch_id": batch_id, "after": after})
        page = understood(answer, _Files)
        for path, one in page.results.items():
            results[path] = replace(one, content=await client.blobs.whole(one.content))
        after = page.next
    told = page.summary
    summary = BatchSummary(told["total"], told["successful"], told["failed"], told["processing_time"] or 0.0)
    whole = BatchResult(page.batch_id, page.created_at or "", summary, page.parameters, results, page.workflow_id)
    return KeptBatch(whole, page.status, page.held, told["total"] - told["successful"] - told["failed"])


async def resumed(client: Coordinator, batch_id: str) -> BatchRow:
    """What failed or was not begun is asked (again). Raises WorkflowNotFound."""
    return understood(await client.call("batch.resume", {"batch_id": batch_id}), BatchRow)
