"""`gz batch`: one question about every file of a folder."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from gleitzeit.client import BatchResult, FileResult, Prepared, prepare
from gleitzeit.client import batch as batches
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.documents import defaults_of
from gleitzeit.client.models import with_model
from gleitzeit.client.served import require_model
from gleitzeit.client.views import WorkflowView
from gleitzeit.errors import DocumentError, GleitzeitError
from gleitzeit.process.batch_ids import new_batch_id
from gleitzeit.spec.loading.load import load_object
from gleitzeit.spec.problems import problems_of, sentence
from gz_cli import exits
from gz_cli.connect import connected
from gz_cli.formats import Format
from gz_cli.launch import Reach
from gz_cli.terminal.durations import duration
from gz_cli.terminal.output import encode
from gz_cli.terminal.screen import is_live
from gz_cli.terminal.talk import put, say

JSON_LINES = ".jsonl"
SHOWN_FAILURES = 5


class Wish(Struct, frozen=True):
    """`out` None: to stdout, as `form` says."""

    directory: str = "."
    pattern: str = "*"
    template: Mapping[str, Any] = {}
    batch_id: str = ""
    max_parallel: int | None = None
    out: Path | None = None
    form: Format = Format.TEXT
    timeout_seconds: float | None = None
    quiet: bool = False


def run(reach: Reach, wish: Wish) -> int:
    """The exit code: 0 if any file went well, 1 if none did. Raises UsageError for an `out` of another kind."""
    if wish.out is not None and wish.out.suffix not in batches.FORMATS:
        raise exits.UsageError(f"--out {wish.out.name}: results are written as {', '.join(batches.FORMATS)}")
    batch_id = wish.batch_id or new_batch_id()
    document = batches.batch_document(
        batch_id, wish.template, directory=wish.directory, pattern=wish.pattern, max_parallel=wish.max_parallel
    )
    defaults = defaults_of(reach.target)
    prepared = prepare(load_object(document), folder=Path(), environ=os.environ, defaults=defaults)
    if prepared.checked is None:
        raise exits.UsageError("; ".join(sentence(problem) for problem in prepared.errors))
    for problem in prepared.of_files:
        say(sentence(problem))
    paths = batches.paths_of(prepared)
    if not paths:
        return exits.OK
    found = with_model(reach, prepared.checked, os.environ)
    say(found.note)
    say(f"{len(paths):,} files, batch {batch_id}")
    try:
        return asyncio.run(_run(found, prepared, wish, batch_id, paths))
    except DocumentError as error:
        raise exits.UsageError("; ".join(sentence(problem) for problem in problems_of(error))) from error


async def _run(reach: Reach, prepared: Prepared, wish: Wish, batch_id: str, paths: list[str]) -> int:
    async with connected(reach) as client:
        assert prepared.checked is not None
        await require_model(client, prepared.checked, reach)
        workflow_id = await batches.started(client, prepared, batch_id)
        again = f"Go on with the same command and `--batch-id {batch_id}`."
        return await told(client, prepared, workflow_id, wish, again)


async def told(client: Coordinator, prepared: Prepared, workflow_id: str, wish: Wish, again: str) -> int:
    """Wait for a batch, and say what came of its files; the exit code. `again` says how to go on after Ctrl-C."""
    paths, batch_id = batches.paths_of(prepared), batches.batch_id_of(prepared)
    try:
        async with asyncio.timeout(wish.timeout_seconds):
            view = await batches.ended(client, workflow_id, len(paths), None if wish.quiet else progress())
    except TimeoutError:
        waited = duration(wish.timeout_seconds or 0)
        say(f"gz: batch {batch_id} has not ended after {waited}; it goes on. `gz batch show {batch_id}` looks at it")
        return exits.TIMED_OUT
    except asyncio.CancelledError:
        with contextlib.suppress(GleitzeitError):
            await client.hold(workflow_id)
        say(f"Interrupted; nothing more of it starts. {again}")
        raise
    results = batches.all_results(client, view, paths)
    if wish.out is not None and wish.out.suffix == JSON_LINES:
        statuses: list[tuple[str, str, str]] = []
        with wish.out.open("w", encoding="utf-8") as file:
            async for path, one in results:
                file.write(batches.line_of(path, one))
                statuses.append((path, one.status, one.error))
    else:
        kept = {path: one async for path, one in results}
        statuses = [(path, one.status, one.error) for path, one in kept.items()]
        summary = batches.summary_of(view, (status for _, status, _ in statuses))
        asked = batches.parameters_of(prepared)
        deliver(BatchResult(batch_id, view.created_at or "", summary, asked, kept, workflow_id), wish.out, wish.form)
    return _tell(statuses, view, wish)


def deliver(result: BatchResult, out: Path | None, form: Format) -> None:
    if out is not None and out.suffix in batches.FORMATS:
        result.save(out)
    elif out is not None:
        result.save_to_json(out)
    elif form is Format.ID:
        put(result.batch_id)
    elif form is not Format.TEXT:
        put(encode(result, form))
    else:
        for path, one in result.results.items():
            put(_shown(path, one))


def _shown(path: str, one: FileResult) -> str:
    said = f"failed: {one.error}" if one.status == "failed" else encode(one.content, Format.TEXT)
    return f"{path}:\n{said}\n"


def _tell(statuses: Sequence[tuple[str, str, str]], view: WorkflowView, wish: Wish) -> int:
    if view.status == "cancelled":
        say(f"{view.workflow_id} was cancelled")
    seconds = view.duration_seconds or 0.0
    failed = [(path, error) for path, status, error in statuses if status == "failed"]
    where = f", written to {wish.out}" if wish.out is not None else ""
    say(f"{len(statuses) - len(failed):,} of {len(statuses):,} files went well, in {duration(seconds)}{where}")
    for path, error in failed[:SHOWN_FAILURES]:
        say(f"  {path}: {error.splitlines()[0] if error else 'failed'}")
    if len(failed) > SHOWN_FAILURES:
        say(f"  and {len(failed) - SHOWN_FAILURES:,} more failed")
    if view.status == "cancelled":
        return exits.CANCELLED
    return exits.FAILED if statuses and len(failed) == len(statuses) else exits.OK


def progress() -> Callable[[int, int], None]:
    """A line that grows on a terminal; nothing elsewhere."""
    live = is_live(sys.stderr)
    shown = -1

    def tell(done: int, total: int) -> None:
        nonlocal shown
        if live and done != shown:
            shown = done
            sys.stderr.write(f"\r{done:,} of {total:,}" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return tell


def template_of(
    method: str | None, prompt: str | None, model: str | None, *, vision: bool, params: Mapping[str, object]
) -> dict[str, Any]:
    """What is asked of each file. Raises UsageError for what says nothing."""
    called = method or ("llm/vision" if vision else "llm/chat")
    named: dict[str, Any] = {"prompt": prompt, "model": model}
    template = {"method": called, **{key: value for key, value in named.items() if value is not None}, **params}
    if called.startswith("llm/") and not {"prompt", "messages"} & template.keys():
        raise exits.UsageError('what is to be asked about each file? --prompt "…"')
    return template
