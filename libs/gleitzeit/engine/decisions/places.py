"""Places at foreign providers, as a coordinator asks for them, uses them and gives them back.

A foreign provider does not keep its capacity itself. Where several coordinators share a journal each of them calls it,
but none has more calls at it than it holds places; the coordinator with the shard of the provider's url gives them out
(`keeper`). They are kept from call to call, so that a busy coordinator asks nobody; and given back when they were not
needed for a while, or when others lack them.
"""

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.waits import Waits
from gleitzeit.engine.scheduling.pools import Share
from gleitzeit.engine.underway import Call
from gleitzeit.model.places import Report

BEAT_MS = 1_000
"""So often we report while we hold or want any."""


class Places(Waits):
    def _take_part(self, item: inp.ProviderReady) -> None:
        """A foreign provider is there, which others may call, too."""
        if self._shared and item.foreign:
            share = self._shares.setdefault(item.foreign, Share(item.foreign))
            share.provider = self.scheduler.roster[item.instance]
            share.provider.share = share
            share.due = share.due or share.capacity != item.capacity
            share.capacity = item.capacity

    def _end_foreign(self, call: Call) -> None:
        """Its workflow is another coordinator's now, which cannot be attached to it: it would only take a place."""
        provider = self.scheduler.roster.get(call.instance)
        if provider is not None and provider.share is not None:
            self._effect(fx.CancelCall(call, "another coordinator goes on with its workflow"))

    def _places_wanted(self, item: inp.PlacesWanted) -> None:
        """Who gives them out wants to hear how things are here, be it that there is nothing."""
        self._shares.setdefault(item.url, Share(item.url)).due = True

    def _places_given(self, item: inp.PlacesGiven) -> None:
        share = self._shares[item.url]
        share.asking = False
        if item.places is None:
            share.due = True
        else:
            share.places, share.given_by = item.places, item.given_by

    def _never_reported(self, report: Report) -> None:
        """Nobody has heard it, and it may not be true any more: of what it says has ended, some goes on."""
        share = self._shares[report.url]
        share.asking, share.due = False, True
        self.more = True

    def _note_places(self) -> None:
        """At the end of each turn: ask for what is wanted, say what is free."""
        for share in list(self._shares.values()):
            if not share.asking:
                self._report_places(share)

    def _report_places(self, share: Share) -> None:
        running, wants = self._demand(share)
        if share.beat and not wants:
            share.places = 0
        holds = max(share.places, running)
        news = wants > max(share.said_wants, share.places) or (share.places < share.said_holds > holds)
        if share.due or share.beat or news:
            share.due = share.beat = False
            share.asking = True
            share.said_holds, share.said_wants = holds, wants
            self._effect(fx.AskPlaces(Report(share.url, share.capacity, holds, wants)))
        if (holds or wants) and not share.timed:
            share.timed = True
            self._at(self._now + BEAT_MS, self._beat, None, share)
        if share.provider is None and not holds and not share.asking:
            del self._shares[share.url]

    def _demand(self, share: Share) -> tuple[int, int]:
        """Calls that run at its provider, and those together with what waits for it."""
        provider = share.provider
        if provider is None or self.scheduler.roster.get(provider.instance) is not provider:
            share.provider, share.capacity = None, 0
            return 0, 0
        waiting = 0 if self.draining else self.scheduler.waiting_for(provider)
        return provider.running, min(provider.capacity, provider.running + waiting)

    def _beat(self, _: None, share: Share) -> None:
        share.timed, share.beat = False, True
