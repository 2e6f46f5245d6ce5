"""Who watches which workflow, and what they are sent: events once they are durable, streams and progress as they come.

A watcher that does not read is not waited for and costs a bounded amount: beyond MAX_LAG_BYTES in its socket nothing
more is queued for it, and once it has caught up it gets `notifications/resync` with the number to go on from. Of a text
it then gets the rest, as far as that is still kept: where something is missing, a delta with `gap: true` stands for it,
whose `offset` is where the text goes on. So does one that was away when the call ended, before the event that says so.
Who watches from the first event on also gets the lines that tasks have said before, each between the events where it
belongs, as far as they are kept.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.journal.base import Journal, Record
from gleitzeit.transport import Connection
from gleitzeit.transport.base import TRY_AGAIN_LATER
from gz_coordinator.errands import Errands
from gz_coordinator.turnstile import Turnstile
from gz_coordinator.watching.lines import Lines
from gz_coordinator.watching.notices import EVENT, LINE, RESYNC, STREAM, event_params, gap, stream_params
from gz_coordinator.watching.recent import Recent
from gz_coordinator.watching.texts import Text, Texts
from gz_coordinator.watching.watcher import Position, Watcher

log = logging.getLogger("gz.coordinator")

FIRST_PAGE, LAST_PAGE = 200, 4_000
"""How many events are read at once: few, until it is known how large they are."""
PAGE_BYTES = 1 << 20
AGAIN_SECONDS = 1.0
TRIES = 20
"""A journal that cannot be reached is asked again, so often."""
READERS = 4
"""Watchers for whom a page is read at the same time: what is read for all of them is in memory at once."""
HOLD_SECONDS = 0.5
"""How long a page of events is kept for a watcher whose socket is full."""
MAX_BEHIND = 1_000
"""Texts that a slow watcher is owed at once; of further ones it hears when it reads again, and they go on."""
_json = msgspec.json.Encoder().encode
_CANNOT_BE_READ = errors.JournalCorrupt, errors.JournalFenced, errors.WorkflowNotFound, errors.ShardElsewhere
_OUT_OF_BAND = frozenset({"notifications/progress", LINE})


class _Delta(Struct, frozen=True):
    """What a provider streams. Those without our SDK need not count."""

    delta: str
    seq: int | None = None
    offset: int | None = None


_decode_delta = msgspec.json.Decoder(_Delta).decode


def _next_limit(page: Collection[Record]) -> int:
    """As many events as make a page of PAGE_BYTES, if they are like those of the page before."""
    size_bytes = sum(len(record.event) for record in page)
    return min(max(PAGE_BYTES * len(page) // max(size_bytes, 1), 1), LAST_PAGE) if page else FIRST_PAGE


async def _drained(connection: Connection, seconds: float) -> bool:
    """Whether little is left in its socket within that time."""
    try:
        async with asyncio.timeout(seconds):
            await connection.drain()
    except TimeoutError:
        return False
    return True


class Watchers:
    def __init__(self, journal: Journal, read: Callable[[str, Callable[[Workflow], None]], Awaitable[None]]) -> None:
        """`read` looks at a workflow between turns, as `Service.read` does."""
        self.texts = Texts()
        self.lines = Lines()
        self.recent = Recent()
        self._journal = journal
        self._read = read
        self._by_workflow: dict[str | None, set[Watcher]] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._errands = Errands()
        self._reading = Turnstile(READERS)

    def __len__(self) -> int:
        return sum(len(watchers) for watchers in self._by_workflow.values())

    async def first_page(self, workflow_id: str, after: int) -> deque[Record] | None:
        """What to `add` a watcher with; None if nothing need be read. Raises JournalCorrupt where that is damaged."""
        if self.recent.after(workflow_id, after) is not None:
            return None
        async with self._reading:
            return deque(await self._journal.read(workflow_id, after=after, limit=FIRST_PAGE))

    def add(self, watcher: Watcher, page: deque[Record] | None = None) -> None:
        """Send what is past, of which `page` is the beginning if that has been read (it is used up), then what comes.
        The caller has answered the request.

        It takes the place of an earlier one of the same connection and workflow: nobody is told anything twice.
        """
        self._drop(watcher.workflow_id, watcher.connection)
        self._by_workflow.setdefault(watcher.workflow_id, set()).add(watcher)
        watcher.texts_ended = self.texts.ended
        if watcher.live or watcher.sent:
            watcher.line = self.lines.last
        if watcher.live:
            self._catch_up_texts(watcher)
        elif not self._catch_up_from_memory(watcher):
            self._errands.start(self._catch_up(watcher, page))

    def remove(self, connection: Connection, workflow_id: str | None = None) -> None:
        """Forget what a connection watches: one workflow, or with None all."""
        for key in [workflow_id] if workflow_id is not None else list(self._by_workflow):
            self._drop(key, connection)

    def _drop(self, key: str | None, connection: Connection) -> None:
        kept = {w for w in self._by_workflow.get(key, ()) if w.connection is not connection}
        if kept:
            self._by_workflow[key] = kept
        else:
            self._by_workflow.pop(key, None)

    @contextmanager
    def changes(self, workflow_id: str) -> Iterator[asyncio.Event]:
        """Something that is set whenever an event of the workflow has become durable."""
        changed = asyncio.Event()
        self._waiting.setdefault(workflow_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._waiting[workflow_id].discard(changed)
            if not self._waiting[workflow_id]:
                del self._waiting[workflow_id]

    def leave(self, gone: Callable[[str], bool]) -> list[tuple[Watcher, dict[str, Position]]]:
        """Workflows have moved to another coordinator: their watchers, who are forgotten here, each with how much of
        the text of which task it has."""
        left = []
        self.recent.clear()
        for workflow_id in [key for key in self._by_workflow if key is not None and gone(key)]:
            texts = self.texts.of_workflow(workflow_id)
            for watcher in self._by_workflow.pop(workflow_id):
                left.append((watcher, {t.task_id: Position(watcher.position(t), t.attempt) for t in texts}))
        for text in self.texts.leave():
            for watcher in self._by_workflow.get(None, ()):
                watcher.forget(text)
        return left

    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None:
        """Events that have just become durable."""
        self.recent.add(workflow.id, first_seq, encoded)
        for changed in self._waiting.get(workflow.id, ()):
            changed.set()
        watchers = [watcher for watcher in self._of(workflow.id) if watcher.live]
        if watchers:
            told = [(seq, event_params(workflow.id, seq, event)) for seq, event in enumerate(encoded, first_seq)]
            for watcher in watchers:
                self._send_live(watcher, told)
        self._end_texts(workflow.id, first_seq)

    def _end_texts(self, workflow_id: str, seq: int) -> None:
        for text in self.texts.end(workflow_id, seq):
            for watcher in self._of(workflow_id):
                catches_up = watcher.workflow_id is not None and (watcher.lagging or not watcher.live)
                if not catches_up and text.call_id not in watcher.behind:
                    watcher.forget(text)

    def _of(self, workflow_id: str) -> list[Watcher]:
        """Those who watch it, alone or among all."""
        return [watcher for key in (workflow_id, None) for watcher in self._by_workflow.get(key, ())]

    def _send_live(self, watcher: Watcher, told: Sequence[tuple[int, bytes]]) -> None:
        was_lagging = watcher.lagging
        for seq, params in told:
            if watcher.workflow_id is None or seq > watcher.sent:
                watcher.send(seq, params)
        if watcher.lagging and not was_lagging:
            self._errands.start(self._resync(watcher))

    def forward(self, call: Call, method: str, params: Raw) -> None:
        """Something out of band of a running call: a piece of its text, its progress, a line of its log."""
        if method == STREAM:
            self._forward_delta(call, params)
            return
        watchers = [watcher for watcher in self._of(call.workflow.id) if watcher.stream]
        if method not in _OUT_OF_BAND or (method != LINE and not watchers):
            return
        try:
            fields = msgspec.json.decode(params, type=dict[str, Raw])
        except msgspec.MsgspecError:
            return  # the provider's nonsense is not passed on
        fields.pop("progressToken", None)
        head = {"workflow_id": call.workflow.id, "task_id": call.task.id, "attempt": call.attempt}
        encoded = _json({**fields, **head})
        line = self.lines.add(call.workflow.id, call.workflow.seq, encoded) if method == LINE else None
        for watcher in watchers:
            if watcher.connection.closed or watcher.full:
                continue
            if line is None:
                watcher.connection.notify(method, encoded)
            elif watcher.live and not watcher.lagging:  # the others get it when they have caught up
                watcher.send_line(line)

    def _forward_delta(self, call: Call, params: Raw) -> None:
        try:
            said = _decode_delta(params)
        except msgspec.MsgspecError:
            return  # the provider's nonsense is not passed on
        added = self.texts.add(call, said.delta, said.seq, said.offset)
        if added is None:
            return
        text, began = added
        encoded = b""
        for watcher in self._of(call.workflow.id):
            if not watcher.stream or not watcher.live or watcher.connection.closed or call.id in watcher.behind:
                continue
            if watcher.position(text) == began and not watcher.full:
                encoded = encoded or stream_params(text, began, said.delta)
                watcher.connection.notify(STREAM, encoded)
                watcher.passed(text)
            else:
                self._send_rest(watcher, text)

    def _catch_up_texts(self, watcher: Watcher) -> None:
        if watcher.stream:
            for text in self.texts.of_workflow(watcher.workflow_id):
                if text.current:
                    self._send_rest(watcher, text)

    def _send_rest(self, watcher: Watcher, text: Text) -> None:
        """What a watcher lacks of a text, as far as its socket takes it; the rest follows when it has read that."""
        position = watcher.position(text)
        if position < text.start:
            watcher.send_text(text, text.start, "", gap=True)
            position = text.start
        for offset, piece in text.from_offset(position):
            if watcher.full:
                if not watcher.behind:
                    self._errands.start(self._follow(watcher))
                if len(watcher.behind) < MAX_BEHIND:
                    watcher.behind[text.call_id] = text
                return
            watcher.send_text(text, offset, piece)

    async def _follow(self, watcher: Watcher) -> None:
        """Send texts as fast as a watcher reads them, until it has all of them."""
        while watcher.behind:
            await watcher.connection.drain()
            if not self._is_watching(watcher):
                return
            call_id, text = next(iter(watcher.behind.items()))
            if watcher.live:
                self._send_rest(watcher, text)
            if watcher.full:
                continue
            del watcher.behind[call_id]
            if not text.current:
                watcher.forget(text)

    def _send_end(self, watcher: Watcher, text: Text) -> None:
        if watcher.lacks_end_of(text):
            self._send_rest(watcher, text)
            if text.call_id not in watcher.behind:
                watcher.forget(text)

    def _catch_up_from_memory(self, watcher: Watcher) -> bool:
        """At once, if what is durable is at hand and the socket takes it: what becomes so later is published later."""
        workflow_id = watcher.workflow_id
        events = None if workflow_id is None else self.recent.after(workflow_id, watcher.sent)
        if workflow_id is None or events is None:
            return False
        page = deque(Record(seq, event) for seq, event in enumerate(events, watcher.sent + 1))
        self._send_page(watcher, workflow_id, page)
        if not page:
            self._begin_live(watcher, workflow_id)
        return watcher.live

    async def _catch_up(self, watcher: Watcher, page: deque[Record] | None = None) -> None:
        """Until nothing durable is missing. Where that cannot be read the watcher is told so, and watches no more; a
        journal that is away is waited for, for a while."""
        workflow_id = watcher.workflow_id
        tries = 0
        while workflow_id is not None and self._is_watching(watcher):
            try:
                return await self._read_up(watcher, workflow_id, page)
            except _CANNOT_BE_READ as error:
                if self._is_watching(watcher):
                    self._drop(workflow_id, watcher.connection)
                    watcher.connection.notify(RESYNC, gap(workflow_id, watcher.sent, error))
            except errors.JournalError as error:
                page, tries = None, tries + 1
                log.warning("%s is not told the events of %s: %s", watcher.connection.peer_name, workflow_id, error)
                if tries == TRIES:  # nobody waits for events that cannot come: who is hung up on asks again
                    await watcher.connection.close(TRY_AGAIN_LATER, "the journal cannot be read")
                await asyncio.sleep(AGAIN_SECONDS)

    async def _read_up(self, watcher: Watcher, workflow_id: str, first: deque[Record] | None) -> None:
        """Page by page, then live, without a gap."""
        limit = FIRST_PAGE
        while self._is_watching(watcher):
            page, first = first, None
            if page is None:
                async with self._reading:
                    page = deque(await self._journal.read(workflow_id, after=watcher.sent, limit=limit))
            limit, whole = _next_limit(page), not page
            while page and self._is_watching(watcher):  # it may have been passed on to another coordinator meanwhile
                self._send_page(watcher, workflow_id, page)
                if not await _drained(watcher.connection, HOLD_SECONDS):
                    page.clear()  # it reads slowly, if at all: what it has not read is not kept here
                    await watcher.connection.drain()
            if whole:  # else there is more, as a rule
                with self.changes(workflow_id) as changed:
                    await self._read(workflow_id, partial(self._go_live, watcher, changed))
            if watcher.live:
                return

    def _is_watching(self, watcher: Watcher) -> bool:
        return not watcher.connection.closed and watcher in self._by_workflow.get(watcher.workflow_id, ())

    def _send_page(self, watcher: Watcher, workflow_id: str, page: deque[Record]) -> None:
        """Events, as far as the socket takes them, and before each the lines that had been said by then."""
        lines = deque(self.lines.after(workflow_id, watcher.line) if watcher.stream else ())
        texts = deque(self.texts.ended_of(workflow_id) if watcher.stream else ())
        while page and not watcher.full:
            record = page.popleft()
            while texts and texts[0].ended_at <= record.seq:
                self._send_end(watcher, texts.popleft())
            while lines and lines[0].seq < record.seq:
                watcher.send_line(lines.popleft())
            watcher.connection.notify(EVENT, event_params(workflow_id, record.seq, record.event))
            watcher.sent = record.seq

    def _go_live(self, watcher: Watcher, changed: asyncio.Event, workflow: Workflow) -> None:
        """Called between turns: what the workflow has reached is durable, and nothing is being published. Or with what
        was read from the journal, and was true at some time since the reader asked: then it may have `changed`."""
        if self._is_watching(watcher) and watcher.sent >= workflow.seq and not changed.is_set():
            self._begin_live(watcher, workflow.id)

    def _begin_live(self, watcher: Watcher, workflow_id: str) -> None:
        watcher.live = True
        if watcher.stream:
            for line in self.lines.after(workflow_id, watcher.line):
                watcher.send_line(line)
            for text in self.texts.ended_of(workflow_id):
                self._send_end(watcher, text)
        self._catch_up_texts(watcher)

    async def _resync(self, watcher: Watcher) -> None:
        """Wait until the watcher has read, say where the gap is, and go on."""
        await watcher.connection.drain()
        watcher.lagging = False
        if self._is_watching(watcher):
            watcher.connection.notify(RESYNC, gap(watcher.workflow_id, watcher.sent))
            if watcher.workflow_id is not None:
                watcher.live = False
                await self._catch_up(watcher)
