"""What happens while the journal is full: a commit is held until there is space, and nothing new is begun meanwhile."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.engine import Engine
from gleitzeit.journal.base import Append, Journal
from gz_coordinator.keeping.going_back import MOVES
from gz_coordinator.streams.own_ids import own_id_stream

log = logging.getLogger("gz.coordinator")

FULL_RETRY_SECONDS = 1.0
TRIES_BEFORE_WITHDRAWAL = 2
"""Who asks waits no longer than that for a journal that is full for a moment."""


_LATER = "what was asked for is decided, and counts as soon as there is space"


def _full(trouble: str) -> errors.ResourceExhausted:
    return errors.ResourceExhausted(trouble, {"retryAfterSeconds": FULL_RETRY_SECONDS})


class Space:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.stalled = ""
        """Why nothing can be made durable at the moment; empty if all is well."""
        self.no_space: Callable[[], str] = lambda: ""
        """Why nothing new should be begun, as what it decides would have to wait for space; empty if there is some."""
        self.waits = True
        """Whether a commit is held until there is space; else it fails."""

    @property
    def trouble(self) -> str:
        """Why nothing is accepted at the moment; empty if all is well."""
        return self.stalled or self.no_space()

    def refuse(self) -> None:
        """Raises ResourceExhausted while nothing can be made durable."""
        if self.stalled:
            raise _full(self.stalled)

    def refuse_new(self) -> None:
        """Also before it is tried: who asked for what has to wait for space would wait for it, too."""
        if trouble := self.trouble:
            raise _full(trouble)

    async def append(
        self,
        commit: list[Append],
        on_full: Callable[[], None],
        withdraw: Callable[[list[Append]], Awaitable[list[Append]]],
    ) -> None:
        """Make the commit durable. While there is no space hold what `withdraw` leaves of it, and try again; `on_full`
        is called after each attempt. Raises JournalFull only when it is not to wait."""
        tries = 0
        while commit:
            try:
                await self._journal.append(commit)
            except errors.JournalFull as error:
                if not self.stalled:
                    log.error("the journal is full; nothing new is accepted until there is space: %s", error)
                self.stalled = f"the journal is full: {error}"
                if not self.waits:  # nobody was told of it: the next start finds everything as it was
                    raise
                on_full()
                tries += 1
                if tries == TRIES_BEFORE_WITHDRAWAL:
                    commit = await withdraw(commit)
                await asyncio.sleep(FULL_RETRY_SECONDS)
            else:
                if self.stalled:
                    log.warning("the journal has space again")
                self.stalled = ""
                return
        self.stalled = ""  # whether there is space now the next one will find out

    def withdraw(self, engine: Engine, inputs: Sequence[inp.Input], decision: Decision) -> Collection[str]:
        """Take out of a decision what is new, as nobody has heard of it yet: who asked for it is told, and need not
        wait. Returns the streams that are not to be written."""
        new = {item.workflow_id for item in inputs if isinstance(item, inp.Submit)}
        begun = [name for name in new if name in decision.appends and decision.appends[name].seq == 1]
        gone = engine.withdraw(begun)
        for name in gone:
            decision.appends.pop(name, None)
        decision.effects[:] = [
            effect
            for effect in decision.effects
            if not (isinstance(effect, fx.CallProvider) and effect.call.workflow.disowned)
        ]
        kept = []
        for answer in decision.answers:
            if answer.workflow is None or not answer.workflow.disowned:
                kept.append(answer)
            else:
                self.answer(answer.token)
        decision.answers[:] = kept
        return {*gone, *map(own_id_stream, gone)}

    def without_requests(self, waiting: Iterable[inp.Input]) -> deque[inp.Input]:
        """What waits for the next turn, but for what somebody asks for, who is told: it came before it was known that
        there is no space."""
        kept = deque[inp.Input]()
        for item in waiting:
            token = None if isinstance(item, MOVES) else getattr(item, "token", None)
            if token is None:
                kept.append(item)
            else:
                self.answer(token)
        return kept

    def answer_held(self, engine: Engine, inputs: Sequence[inp.Input], decision: Decision) -> None:
        """Who waits for what is decided, and is held until there is space, is told so instead of waiting for that."""
        moves = {id(item.token) for item in inputs if isinstance(item, MOVES)}
        for token in [*engine.take_askers(), *(answer.token for answer in decision.answers)]:
            if id(token) not in moves:
                self.answer(token, _LATER)

    def answer(self, token: "asyncio.Future[fx.Answer]", more: str = "") -> None:
        """That there is no space."""
        if not token.done():
            trouble = f"{self.stalled}; {more}" if more else self.stalled
            token.set_result(fx.Answer(None, error=_full(trouble)))
