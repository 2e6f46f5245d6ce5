"""`gz batch list`, `show`, `export` and `resume`."""

from pathlib import Path

from gleitzeit.client import BatchResult
from gleitzeit.client import batch as batches
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.kept_batches import KeptBatch, kept, resumed
from gleitzeit.client.kept_batches import listed as rows_of
from gz_cli import exits
from gz_cli.formats import Format
from gz_cli.starting.batch import deliver, progress
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import fitted
from gz_cli.terminal.talk import put, say


async def listed(client: Coordinator, limit: int, output: Format) -> int:
    rows = await rows_of(client, limit)
    if output is Format.ID:
        put("\n".join(row.batch_id for row in rows))
    elif output is not Format.TEXT:
        put(encode(rows, output))
    elif rows:
        shown = [(row.batch_id, row.name, "held" if row.held else row.status, row.created_at or "", row.workflow_id)
                 for row in rows]  # fmt: skip
        put(fitted(("batch", "name", "status", "created", "workflow"), shown))
    else:
        say("no batches; `gz batch DIR --prompt …` makes one")
    return exits.OK


async def show(client: Coordinator, batch_id: str, output: Format) -> int:
    found = await kept(client, batch_id)
    deliver(found.result, None, output)
    return _tell(found)


async def export(client: Coordinator, batch_id: str, out: Path | None, output: Format) -> int:
    """To stdout, if no file is named."""
    _check(out)
    found = await kept(client, batch_id)
    deliver(found.result, out, output)
    return _tell(found, out)


async def resume(client: Coordinator, batch_id: str, out: Path | None, output: Format) -> int:
    _check(out)
    row = await resumed(client, batch_id)
    before = await kept(client, row.workflow_id)
    await batches.ended(client, row.workflow_id, before.result.summary.total, progress())
    found = await kept(client, row.workflow_id)
    deliver(found.result, out, output)
    return _tell(found, out)


def _check(out: Path | None) -> None:
    if out is not None and out.suffix not in batches.FORMATS:
        raise exits.UsageError(f"--out {out.name}: results are written as {', '.join(batches.FORMATS)}")


def _tell(found: KeptBatch, out: Path | None = None) -> int:
    result: BatchResult = found.result
    summary = result.summary
    where = f", written to {out}" if out is not None else ""
    said = f"batch {result.batch_id}: {summary.successful:,} of {summary.total:,} files went well"
    if found.pending:
        said += f", {summary.failed:,} failed, {found.pending:,} have not ended"
        said += f"; `gz batch resume {result.batch_id}` goes on" if found.held or found.status == "paused" else ""
    elif summary.failed:
        said += f", {summary.failed:,} failed; `gz batch resume {result.batch_id}` tries them again"
    say(said + where)
    return exits.FAILED if summary.total and summary.failed == summary.total else exits.OK
