"""The keeper's side of limits by key: decides who may have a permit, be it ours or another coordinator's.

The permits of a key are kept where the key's shard is. Where several coordinators share a journal, who holds one is
durable before it is told; where there is only one, it follows from what runs, and is found again at start.

What a permit cannot do is be held by two: a grant ends when its holder says so, by the id of the wish that it was given
for, or when the one that has the holder's workflow knows nothing of it; and who has said so asks anew, by a new id.
"""

from typing import Any, Literal

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.rerun import Rerun
from gleitzeit.engine.scheduling.permits import Limit, Waiting
from gleitzeit.engine.underway import Permit
from gleitzeit.model.permits import Ask, Grant, Held, HeldPermit, parts_of, stream_of

Verdict = Literal["granted", "waits", "reached", "replaced", "outdated"]
ASK_AGAIN_MS = 5_000
"""So often another coordinator asks for what it waits for, …"""
PATIENCE_MS = 15_000
"""… and so long we believe that it still does."""
LOOK_MS = 5_000
"""So often we ask the others after what their workflows hold."""


class Limits(Rerun):
    def _keeps(self, limit: str) -> bool:
        """Whether the permits of a key are ours to give."""
        return not self._shared or self.owns(stream_of(limit))

    def _decide(self, ask: Ask, whom: Any) -> Verdict:
        limit = self._limits.get(ask.limit)
        if limit is None:
            limit = self._limits[ask.limit] = Limit(Held(ask.limit))
        if self._is_outdated(limit, ask):
            return "outdated"
        if ask.id in limit.replaced:
            return "replaced"
        if ask.holder in limit.grants or limit.free(ask.most):
            self._supersede(limit, ask)
            self._grant(limit, ask)
            return "granted"
        if ask.on_conflict == "fail":
            self._supersede(limit, ask)
            return "reached"
        is_new = ask.holder not in limit.waiting
        self._supersede(limit, ask, keep=True)
        until = None if isinstance(whom, Permit) else self._now + PATIENCE_MS
        limit.wait(Waiting(ask, whom, until))
        if is_new and ask.on_conflict == "cancel_running":
            self._make_room(limit, ask)
        return "waits"

    def _is_outdated(self, limit: Limit, ask: Ask) -> bool:
        """Whether somebody has the workflow who had its shard later."""
        grant, waiting = limit.grants.get(ask.holder), limit.waiting.get(ask.holder)
        return (grant is not None and grant.epoch > ask.epoch) or (
            waiting is not None and waiting.ask.epoch > ask.epoch
        )

    def _supersede(self, limit: Limit, ask: Ask, *, keep: bool = False) -> None:
        """The holder has asked before: that request ends."""
        waiting = limit.waiting.get(ask.holder)
        if waiting is not None:
            self._refuse_other(waiting, "it was asked for again")
            if not keep:
                limit.waiting.pop(ask.holder)

    def _refuse_other(self, waiting: Waiting, why: str) -> None:
        if not isinstance(waiting.whom, Permit):
            self._refuse(waiting.whom, errors.ShardElsewhere(f"no answer about a permit: {why}"))

    def _grant(self, limit: Limit, ask: Ask) -> None:
        known = limit.grants.get(ask.holder)
        if known is None or (known.ask, known.epoch) != (ask.id, ask.epoch):
            self._moves(limit)
            limit.grant(ask)
            self._limits_changed[limit.name] = limit
            self._look_later()

    def _moves(self, limit: Limit) -> None:
        self._moved.setdefault(limit.name, dict(limit.grants))

    def _leave(self, name: str, holder: str, ask_id: str) -> None:
        """A permit is free, if it is still held for that wish. Without one: what held it is over for good."""
        limit = self._limits.get(name)
        grant = limit.grants.get(holder) if limit is not None else None
        if limit is not None and grant is not None and (not ask_id or grant.ask == ask_id):
            self._moves(limit)
            limit.leave(holder)
            self._limits_changed[name] = limit
            self._pass_on(limit)

    def _pass_on(self, limit: Limit) -> None:
        while (waiting := limit.following()) is not None:
            if waiting.until is not None and waiting.until < self._now:
                self._refuse_other(waiting, "it was not asked for again in time")
                continue
            self._grant(limit, waiting.ask)
            if isinstance(waiting.whom, Permit):
                self._granted(waiting.whom)
            else:
                self._decision.answers.append(fx.Answer(waiting.whom, verdict="granted"))
        if not limit.grants and not limit.waiting:
            self._limits.pop(limit.name, None)

    def _granted(self, permit: Permit) -> None:
        """Of ours, after it has waited."""

    def _waits_no_more(self, permit: Permit) -> None:
        limit = self._limits.get(permit.ask.limit)
        waiting = limit.waiting.get(permit.ask.holder) if limit is not None else None
        if limit is not None and waiting is not None and waiting.whom is permit:
            limit.waiting.pop(permit.ask.holder)
            self._pass_on(limit)

    # One takes the place of another

    def _make_room(self, limit: Limit, ask: Ask) -> None:
        workflow_id, task = parts_of(ask.holder)
        who = f"task {task} of {workflow_id}" if task else f"workflow {workflow_id}"
        reason = f"{who} takes its place (concurrency)"
        elsewhere: list[HeldPermit] = []
        leaving = limit.too_many(ask.most)
        for waiting in filter(None, map(limit.waiting.get, leaving)):  # before one of them has its turn
            limit.replace(waiting)
            self._replace(waiting, reason)
        for holder in leaving:
            grant, permit = limit.grants.get(holder), self._permits.get(holder)
            if grant is not None:
                limit.leaving[holder] = reason
                if permit is not None and permit.granted:
                    self._evict(permit, reason)
                else:
                    elsewhere.append(_held(limit, grant))
        if elsewhere:
            self._effect(fx.AskAfterPermits(tuple(elsewhere)))

    def _evict(self, permit: Permit, reason: str) -> None:
        """End what holds it."""

    def _replace(self, waiting: Waiting, reason: str) -> None:
        """It has waited, and a newer one does so in its place."""
        if isinstance(waiting.whom, Permit):
            self._replaced(waiting.whom, reason)
        else:
            self._decision.answers.append(fx.Answer(waiting.whom, verdict="replaced"))

    def _replaced(self, permit: Permit, reason: str) -> None:
        """End what wished for it."""

    # What other coordinators ask, and answer

    def _take_permit(self, item: inp.TakePermit) -> None:
        if not self._keeps(item.ask.limit):
            self._refuse(item.token, errors.ShardElsewhere("another coordinator keeps the permits of this key"))
            return
        verdict = self._decide(item.ask, item.token)
        if verdict != "waits":
            self._decision.answers.append(fx.Answer(item.token, verdict=verdict))

    def _return_permits(self, item: inp.ReturnPermits) -> None:
        elsewhere = [permit for permit in item.permits if not self._keeps(permit.limit)]
        for permit in item.permits:
            if self._keeps(permit.limit):
                self._forget_wish(permit)
                self._leave(permit.limit, permit.holder, permit.ask)
        if item.token is None:
            for permit in elsewhere:
                self._effect(fx.ReturnPermit(permit))
        elif elsewhere:
            self._refuse(item.token, errors.ShardElsewhere("another coordinator keeps the permits of this key"))
        else:
            self._decision.answers.append(fx.Answer(item.token))

    def _forget_wish(self, permit: HeldPermit) -> None:
        limit = self._limits.get(permit.limit)
        waiting = limit.waiting.get(permit.holder) if limit is not None else None
        if limit is not None and waiting is not None and waiting.ask.id == permit.ask:
            self._refuse_other(waiting, "it was given back")
            limit.waiting.pop(permit.holder)

    def _permits_gone(self, item: inp.PermitsGone) -> None:
        """Those that have these workflows know nothing of such permits."""
        for permit in item.permits:
            limit = self._limits.get(permit.limit)
            grant = limit.grants.get(permit.holder) if limit is not None else None
            if grant is not None and grant.ask == permit.ask and grant.epoch <= permit.epoch:
                self._leave(permit.limit, permit.holder, permit.ask)

    def _look_later(self) -> None:
        if self._shared and not self._looks:
            self._looks = True
            self._at(self._now + LOOK_MS, self._look_after_permits, None)

    def _look_after_permits(self, _: None) -> None:
        """Who has died with a permit, or could not say that it is over, does not keep it for ever."""
        self._looks = False
        elsewhere: list[HeldPermit] = []
        for limit in list(self._limits.values()):
            for grant in list(limit.grants.values()):
                if grant.holder in self._permits:
                    continue
                if self.owns(parts_of(grant.holder)[0]):
                    self._leave(limit.name, grant.holder, grant.ask)
                else:
                    elsewhere.append(_held(limit, grant))
        if elsewhere:
            self._effect(fx.AskAfterPermits(tuple(elsewhere)))
        if any(limit.grants for limit in self._limits.values()):
            self._look_later()

    # Shards come and go

    def _adopt_limits(self, kept: tuple[Held, ...]) -> None:
        for held in kept:
            self._limits[held.limit] = Limit(held)
        if kept:
            self._look_later()

    def _disown_limits(self) -> list[Permit]:
        """Those of keys that are another's now. Returns our own permits that waited here, who must ask there."""
        homeless: list[Permit] = []
        for limit in [limit for limit in self._limits.values() if not self._keeps(limit.name)]:
            del self._limits[limit.name]
            for waiting in limit.waiting:
                if isinstance(waiting.whom, Permit):
                    homeless.append(waiting.whom)
                else:
                    self._refuse_other(waiting, "another coordinator keeps the permits of this key")
        return homeless

    def _note_limits(self) -> None:
        """What has changed of them is part of the commit."""
        if self._shared:
            self._decision.limits = [limit.held() for limit in self._limits_changed.values()]
        self._limits_changed.clear()


def _held(limit: Limit, grant: Grant) -> HeldPermit:
    return HeldPermit(limit.name, grant.holder, grant.ask, grant.epoch, limit.leaving.get(grant.holder, ""))
