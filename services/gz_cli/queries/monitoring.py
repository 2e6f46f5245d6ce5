"""What is left of commands of earlier versions: the system over and over, its end, and the list of errors."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from signal import SIGTERM

from gleitzeit import errors as all_errors
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.process.absent import NotRunning
from gleitzeit.process.state import find_running
from gz_cli import exits
from gz_cli.formats import Format
from gz_cli.queries import system
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import fitted
from gz_cli.terminal.talk import put, say


async def watch_system(client: Coordinator, interval_seconds: float) -> int:
    """Until it is interrupted, or the coordinator is gone."""
    while True:
        await system.status(client, Format.TEXT)
        put("")
        await asyncio.sleep(interval_seconds)


def stop(state: Path) -> int:
    """Ask the stack of this folder to end. Raises NotRunning."""
    found = find_running(state)
    if found is None:
        raise NotRunning(f"no coordinator runs with the state folder {state}")
    with suppress(ProcessLookupError):
        os.kill(found.pid, SIGTERM)
    say(f"the stack (process {found.pid}) is asked to end")
    return exits.OK


def errors(word: str, output: Format) -> int:
    """Those whose code or name has the word in it, by code."""
    known = dict(all_errors.NAMES)
    for one in all_errors.classes():
        before = known.get(one.code, one.name)
        known[one.code] = one.name if before == one.name else f"{one.name} (earlier: {before})"
    rows = [
        {"code": code, "name": name, "retryable": all_errors.is_retryable(code)}
        for code, name in sorted(known.items())
        if word.upper() in name or word in str(code)
    ]
    if output in (Format.JSON, Format.YAML):
        put(encode(rows, output))
    elif output is Format.ID:
        put("\n".join(str(row["code"]) for row in rows))
    else:
        put(fitted(("code", "name", "worth a retry"), [(str(code), *rest) for code, *rest in map(dict.values, rows)]))
    return exits.OK if rows else exits.NOT_FOUND
