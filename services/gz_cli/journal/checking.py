"""`gz journal check`: whether all of a journal can be read."""

from collections import Counter

import msgspec

from gleitzeit.engine.state import schedule
from gleitzeit.engine.state.replay import replay
from gleitzeit.errors import GleitzeitError, JournalConflict, JournalCorrupt, JournalError
from gleitzeit.journal.base import Find, JournalView, Summary
from gleitzeit.model import events as ev
from gleitzeit.model.schedules import AnyScheduleFact, Checkpoint
from gleitzeit.process.reach import Target
from gleitzeit.spec.urls import shown
from gz_cli import exits
from gz_cli.formats import Format
from gz_cli.journal.access import KINDS, WORKFLOWS, looked_at, pages_of, rows_of
from gz_cli.terminal.durations import counted
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put, say

SCHEDULE = "schedule"
_decode = msgspec.json.Decoder(ev.AnyEvent).decode
_decode_fact = msgspec.json.Decoder(AnyScheduleFact).decode


async def check(url: str, target: Target, output: Format) -> int:
    """Read everything: checksums, and whether every workflow and every schedule can be rebuilt. What is wrong is
    listed."""
    counts, events, problems = Counter[str](), 0, list[tuple[str, str]]()
    async with looked_at(url, target) as journal:
        for kind in KINDS:
            async for row in rows_of(journal, Find(kind)):
                try:
                    events += await _checked(journal, row)
                    counts[kind] += 1
                except JournalConflict:  # deleted since we began
                    continue
                except (GleitzeitError, msgspec.MsgspecError, ValueError) as error:  # also a cron that cannot be read
                    if isinstance(error, JournalError) and not isinstance(error, JournalCorrupt):
                        raise
                    counts[kind] += 1
                    problems.append((row.stream, str(error)))
    found = ", ".join(counted(number, kind) for kind, number in counts.items()) or "nothing"
    if output in (Format.JSON, Format.YAML):
        damaged = [{"stream": stream, "message": message} for stream, message in problems]
        put(encode({"journal": shown(url), "streams": counts, "events": events, "problems": damaged}, output))
    else:
        put("\n".join(stream if output is Format.ID else f"{stream}: {message}" for stream, message in problems))
    say(f"{shown(url)}: {found}; {counted(events, 'event')}; {counted(len(problems), 'stream')} cannot be read")
    if problems:
        say("A coordinator starts all the same: it lists what it cannot read and refuses changes to it.")
    return exits.FAILED if problems else exits.OK


async def _checked(journal: JournalView, row: Summary) -> int:
    """How many events the stream has. Raises for whatever is wrong with it."""
    records = [record async for page in pages_of(journal, row.stream) for record in page]
    if row.kind in WORKFLOWS:
        workflow = replay(_decode(record.event) for record in records)
        msgspec.json.decode(row.counts, type=dict[str, int])
        for said, is_so in ((row.status, workflow.state), (row.key, workflow.definition.name)):
            if said != is_so:
                raise GleitzeitError(f"its row says {said}, its events {is_so}")
    if row.kind == SCHEDULE:
        _check_schedule(row, schedule.replay(_decode_fact(record.event) for record in records))
    return len(records)


def _check_schedule(row: Summary, replayed: schedule.Schedule) -> None:
    """A coordinator begins with where the row says that it stands."""
    there, wanted = msgspec.json.decode(row.counts, type=Checkpoint), replayed.checkpoint()
    names = (name for name in Checkpoint.__struct_fields__ if getattr(there, name) != getattr(wanted, name))
    if (name := next(names, None)) is not None:
        said, is_so = getattr(there, name), getattr(wanted, name)
        raise GleitzeitError(f"its row says {name} {said}, its events {is_so}")
