"""Who may have how many calls at once at a foreign provider: kept by the coordinator that has the shard of its url.

Nothing of it is in the journal. A coordinator has what it was told, and nobody else gets that as long as its lease of
the journal holds, whatever becomes of its reports; one whose lease has run out has no calls any more. So a keeper knows
how many places are left as soon as everybody who lives has reported to it once, and gives out none before.

A report counts only with the ticket of the answer before it. So one that was overtaken, or was meant for an earlier
keeper, changes nothing; and one coordinator has never two reports under way that could count.
"""

from collections.abc import Collection

from msgspec import Struct

from gleitzeit.model.places import Answer, Report

TURN_MS = 1_000
"""Where there are more who want a place than places: so long one has it before others have their turn."""
PATIENCE_MS = 5_000
"""Who wants a place says so again and again; for one that was not heard for so long none is kept free."""


class Account:
    """What one coordinator has, and wants."""

    __slots__ = ("capacity", "heard", "holds", "is_known", "since", "ticket", "told", "wants")

    def __init__(self) -> None:
        self.ticket = ""
        self.is_known = False
        """It has reported to us."""
        self.holds = 0
        """At most, by its last report and our answer to it."""
        self.told = 0
        """Our last answer: fewer than it holds while it has calls that it must not replace by others."""
        self.wants = 0
        self.capacity = 0
        self.heard = 0
        self.since = 0
        """When it began to hold any, or to want the first one; UTC milliseconds."""

    def take(self, report: Report, now: int) -> None:
        if bool(report.holds) != bool(self.holds) or (report.wants and not self.wants and not report.holds):
            self.since = now
        self.is_known, self.heard = True, now
        self.holds, self.wants, self.capacity = report.holds, report.wants, report.capacity

    def wanted(self, now: int) -> int:
        return self.wants if now - self.heard < PATIENCE_MS else self.holds

    def turn(self, now: int) -> tuple[int, int]:
        """Who has the lower one is served first: new ones keep what they have, those that wait come before old ones."""
        if not self.holds:
            return 1, self.since
        return 0 if now - self.since < TURN_MS else 2, self.since


class Outcome(Struct, frozen=True):
    """`remind` are coordinators that should report: they have not yet, or would hear something new."""

    answer: Answer
    remind: tuple[str, ...] = ()


class Keeper:
    """Of the places at one url, from the moment that its shard is ours. `name` is no other keeper's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tickets = 0
        self._accounts: dict[str, Account] = {}

    def report(self, now: int, owner: str, report: Report, living: Collection[str]) -> Outcome:
        """`living` are the coordinators whose lease holds."""
        for gone in self._accounts.keys() - living:
            del self._accounts[gone]
        if owner not in living:  # it has just come, or was away for too long
            return Outcome(Answer())
        account = self._accounts.setdefault(owner, Account())
        counts = account.ticket != "" and account.ticket == report.ticket
        self._tickets += 1
        account.ticket = f"{self._name}.{self._tickets}"
        if not counts:
            return Outcome(Answer(account.ticket))
        account.take(report, now)
        unknown = tuple(sorted(one for one in living if one not in self._accounts or not self._accounts[one].is_known))
        if unknown:
            account.told = account.holds
            return Outcome(Answer(account.ticket, account.holds), unknown)
        account.told = self._due(now)[owner]
        if account.told > account.holds:
            account.since = account.since if account.holds else now
            account.holds = account.told
        others = [(name, places) for name, places in self._due(now).items() if name != owner]
        return Outcome(
            Answer(account.ticket, account.told),
            tuple(name for name, places in others if places != self._accounts[name].told),
        )

    @property
    def capacity(self) -> int:
        """The least that anybody has heard of: after a change some hear of it later."""
        return min((account.capacity for account in self._accounts.values() if account.capacity), default=0)

    def _due(self, now: int) -> dict[str, int]:
        """What each would be told. Nobody has to give back what no other one lacks."""
        shares, held = self._shares(now), {name: account.holds for name, account in self._accounts.items()}
        free = self.capacity - sum(held.values())
        lacking = max(0, sum(max(0, share - held[name]) for name, share in shares.items()) - free)
        due = {}
        for name, share in shares.items():  # what is free goes to the first of them
            if share >= held[name]:
                more = max(0, min(share - held[name], free))
                free -= more
                due[name] = held[name] + more
            else:
                due[name] = held[name] - min(held[name] - share, lacking)
        return due

    def _shares(self, now: int) -> dict[str, int]:
        """What each should have, in the order of their turns: all as many as they want, as far as that goes, and else
        equal parts."""
        shares = dict.fromkeys(sorted(self._accounts, key=lambda name: (self._accounts[name].turn(now), name)), 0)
        wanted = {name: account.wanted(now) for name, account in self._accounts.items()}
        left = self.capacity
        while left and (hungry := [name for name in shares if shares[name] < wanted[name]]):
            part = max(1, left // len(hungry))
            for name in hungry:
                more = min(part, left, wanted[name] - shares[name])
                shares[name] += more
                left -= more
        return shares
