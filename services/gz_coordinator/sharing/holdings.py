"""Which shards of a shared journal are ours, and who has the others.

A shard is held by a lease that is renewed; every coordinator takes its part of the shards, gives up what is beyond it
when others join, and takes over what nobody holds any more. One that finds itself deposed ends its process.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable

from gleitzeit import errors
from gleitzeit.journal.base import Lease, Shards
from gleitzeit.model.shards import shard_of
from gz_coordinator.service import Service
from gz_coordinator.streams.recovery import give_away, take_over

log = logging.getLogger("gz.coordinator.shards")

LOOKS_PER_LEASE = 20
"""So often a coordinator looks who is there, …"""
RENEWALS_PER_LEASE = 4
"""… and so often it renews."""
LOOK_AGAIN_SECONDS = 0.2
LOOK_AGAIN_AT_MOST_SECONDS = 1.0
"""Of who waits for others: from one try to the next."""


def share(owners: Iterable[str], owner: str, shards: int) -> int:
    """How many shards one of the owners should have: all parts are equal, and the first take what is left over."""
    names = sorted({*owners, owner})
    part, rest = divmod(shards, len(names))
    return part + (names.index(owner) < rest)


def since_boot() -> float:
    """Seconds that also pass while the machine sleeps, where the system can tell: a lease runs out meanwhile."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Holdings:
    def __init__(
        self,
        journal: Shards,
        service: Service,
        owner: str,
        epochs: dict[int, int],
        *,
        lease_seconds: float,
        on_deposed: Callable[[str], None],
        clock: Callable[[], float] = since_boot,
    ) -> None:
        """`epochs` is filled with those of the shards that we hold."""
        self.owner = owner
        self.lease_seconds = lease_seconds
        self.leases: list[Lease] = []
        """All living coordinators, as we last saw them."""
        self.warnings: list[str] = []
        self.on_given: Callable[[frozenset[int]], None] = lambda shards: None
        """Hears of shards that are no longer ours."""
        self.on_change: Callable[[], None] = lambda: None
        """Hears when coordinators have come or gone, or shards have moved."""
        self.on_lapse: Callable[[], None] = lambda: None
        """Hears when our lease has run out while others were there: they may take us for dead from now on."""
        self.url = ""
        """Where the others reach us."""
        self._journal = journal
        self._service = service
        self._epochs = epochs
        self._mine: set[int] = set()
        """The shards whose workflows are in memory: what is held and not in here is being adopted, or given away."""
        self._on_deposed = on_deposed
        self._clock = clock
        self._valid_until = clock() + lease_seconds
        self._renew_at = 0.0
        self._lapse: asyncio.TimerHandle | None = None
        self._waiting: dict[asyncio.Future[bool], None] = {}
        """For something to move."""
        self._leaving = False
        service.check_lease = self._check_lease
        service.engine.owns = self.is_mine

    # What others ask

    def shard(self, workflow_id: str) -> int:
        return shard_of(workflow_id, self._journal.shards) or 0

    def is_mine(self, workflow_id: str) -> bool:
        return self.shard(workflow_id) in self._mine

    @property
    def mine(self) -> frozenset[int]:
        return frozenset(self._mine)

    @property
    def others(self) -> list[Lease]:
        """Those that can be asked."""
        return [lease for lease in self.leases if lease.owner != self.owner and lease.url]

    def epoch(self, stream: str) -> int:
        """Of its shard, which is ours for certain at this moment. Raises ShardElsewhere."""
        if not self.is_mine(stream) or self._clock() > self._valid_until:
            raise errors.ShardElsewhere(f"another coordinator has {stream}")
        return self._epochs[self.shard(stream)]

    def holder(self, workflow_id: str) -> Lease | None:
        """The other coordinator that has it, as far as we know."""
        shard = self.shard(workflow_id)
        for lease in self.leases:
            if shard in lease.shards and lease.owner != self.owner and lease.url:
                return lease
        return None

    async def changed(self, timeout_seconds: float) -> bool:
        """Until something has moved, or for so long: then False."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        self._waiting[waiting] = None
        timer = loop.call_later(timeout_seconds, _tell, waiting, False)
        try:
            return await waiting
        finally:
            timer.cancel()
            del self._waiting[waiting]

    async def look_again(self, pause_seconds: float) -> float:
        """Until something has moved, or for so long. Returns how long to wait the next time: longer while nothing
        moves, as mostly a coordinator is gone then, and its lease has to run out."""
        moved = await self.changed(pause_seconds)
        return LOOK_AGAIN_SECONDS if moved else min(2 * pause_seconds, LOOK_AGAIN_AT_MOST_SECONDS)

    # Its life

    async def start(self, url: str) -> None:
        """Become one of the coordinators, and take what is free."""
        self.url = url
        await self._journal.claim(self.owner, (), url=url, lease_seconds=self.lease_seconds)
        self._renewed(self._clock())
        with contextlib.suppress(errors.ResourceExhausted):  # the next look goes on
            await self._look()

    async def run(self) -> None:
        """For ever, or until another has deposed us."""
        try:
            while True:
                await asyncio.sleep(self.lease_seconds / LOOKS_PER_LEASE)
                try:
                    await self._look()
                except errors.JournalFenced as error:
                    self._on_deposed(str(error))
                    return
                except (
                    errors.JournalError,
                    errors.ResourceExhausted,
                ) as error:  # while the lease lasts
                    log.warning("the shards cannot be looked after: %s", error)
        finally:  # in an orderly end nobody renews any more
            if self._lapse is not None:
                self._lapse.cancel()

    async def leave(self) -> None:
        """Before an orderly end: if others are there to go on, they need not wait until our lease has run out."""
        self._leaving = True
        with contextlib.suppress(errors.JournalError, errors.ResourceExhausted):
            if self._mine and any(lease.owner != self.owner for lease in await self._journal.owners()):
                await self._give(self.mine)

    async def _look(self) -> None:
        await self._renew_if_due()
        leases = await self._journal.owners()
        before, moved, self.leases = self.mine, leases != self.leases, leases
        failed: errors.GleitzeitError | None = None
        try:
            await self._even_out(leases)
        except errors.GleitzeitError as error:  # what has moved before that nobody looks for once more
            failed = error
        if moved or self._mine - before:  # not their number: others may have been given away in the same look
            for waiting in self._waiting:
                _tell(waiting, True)
            self.on_change()
        if failed is not None:
            raise failed

    async def _even_out(self, leases: list[Lease]) -> None:
        """Take what we should have, and give up what is beyond it."""
        if not self._leaving and self._epochs.keys() - self._mine:  # an attempt before this one failed halfway
            await self._adopt(self._epochs.keys() - self._mine)
        surplus = len(self._mine) - share((lease.owner for lease in leases), self.owner, self._journal.shards)
        if surplus > 0:
            await self._give(frozenset(sorted(self._mine)[-surplus:]))
        elif surplus < 0 and not self._leaving:
            taken = {shard for lease in leases for shard in lease.shards}
            free = [shard for shard in range(self._journal.shards) if shard not in taken]
            if free:
                await self._take(free[:-surplus])

    async def _renew_if_due(self) -> None:
        if self._clock() >= self._renew_at:
            before = self._clock()
            await self._journal.renew(self.lease_seconds)
            self._renewed(before)

    async def _renew_for_ever(self) -> None:
        """Whoever is deposed meanwhile hears it from what follows."""
        while True:
            await asyncio.sleep(self.lease_seconds / LOOKS_PER_LEASE)
            with contextlib.suppress(errors.JournalError):
                await self._renew_if_due()

    def _renewed(self, began: float) -> None:
        """Counted from before we asked: it cannot have been granted earlier."""
        self._valid_until = began + self.lease_seconds
        self._renew_at = began + self.lease_seconds / RENEWALS_PER_LEASE
        if self._lapse is not None:
            self._lapse.cancel()
        self._lapse = asyncio.get_running_loop().call_later(self._valid_until - self._clock(), self._lapsed)

    def _lapsed(self) -> None:
        if self.others:
            self.on_lapse()

    async def _take(self, shards: list[int]) -> None:
        claimed = await self._journal.claim(self.owner, shards, lease_seconds=self.lease_seconds)
        if claimed:
            self._epochs.update(claimed)
            await self._adopt(claimed.keys())

    async def _adopt(self, shards: Collection[int]) -> None:
        """What is held becomes ours when its workflows are in memory: with very many, later than a lease lasts."""
        taken = frozenset(shards)
        renewing = asyncio.create_task(self._renew_for_ever(), name="the lease")
        try:
            count, warnings = await take_over(self._service, lambda workflow_id: self.shard(workflow_id) in taken)
        finally:
            renewing.cancel()
        self._mine |= taken
        self.warnings += warnings
        log.info("took %d shards with %d unfinished workflows; %d are ours", len(taken), count, len(self._mine))

    async def _give(self, shards: frozenset[int]) -> None:
        """To whoever takes them. Nothing new of them begins from here on."""
        self._mine -= shards
        gone: list[str] = []
        try:
            await give_away(self._service, lambda workflow_id: self.shard(workflow_id) in shards, gone)
        except errors.ResourceExhausted:  # the journal is full: what is decided cannot be written, nor given away
            if not gone:  # else the next look takes back what is not in memory any more
                self._mine |= shards
            raise
        await self._journal.release(shards)
        for shard in shards:
            del self._epochs[shard]
        log.info("gave %d shards away; %d are ours", len(shards), len(self._mine))
        self.on_given(shards)

    def _check_lease(self) -> None:
        if self._clock() > self._valid_until:
            raise errors.JournalFenced("the lease has run out: another coordinator may have taken over")


def _tell(waiting: asyncio.Future[bool], moved: bool) -> None:
    if not waiting.done():
        waiting.set_result(moved)
