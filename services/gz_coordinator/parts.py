"""What the coordinator is made of, for those of its methods that need more than one part."""

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gleitzeit import __version__
from gleitzeit.discovery.base import Directory
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.journal.base import Append, Find, OwnedJournal, Summary
from gleitzeit.schemas import MethodSchema, builtin
from gleitzeit.spec.urls import shown
from gz_coordinator.keeping.retention import Retention
from gz_coordinator.providers.descriptions import Registration, registration_of
from gz_coordinator.providers.drains import Drains
from gz_coordinator.providers.links import Links
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import Holdings
from gz_coordinator.sharing.shared import Shared
from gz_coordinator.streams.copies import Copies
from gz_coordinator.streams.last_events import LastEvents
from gz_coordinator.submitting.documents import Documents
from gz_coordinator.submitting.template_shelf import TemplateShelf
from gz_coordinator.watching.watchers import Watchers


@dataclass
class Parts:
    service: Service
    journal: OwnedJournal
    identity: Identity
    journal_name: str
    embedded: bool = False
    links: Links = field(init=False)
    watchers: Watchers = field(init=False)
    templates: TemplateShelf = field(init=False)
    drains: Drains = field(init=False)
    copies: Copies = field(init=False)
    documents: Documents = field(default_factory=Documents)
    directory: Directory | None = None
    shared: Shared | None = None
    """If other coordinators may work on the same journal."""
    nats_url: str | None = None
    approval_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """What the secrets of links to answer tasks are made of."""
    retention: Retention = field(default_factory=Retention)
    roots: Sequence[Path] = ()
    """The folders whose files documents may name."""
    url: str = ""
    version: str = __version__
    warnings: list[str] = field(default_factory=list)
    draining: bool = False
    started_at: float = field(default_factory=time.monotonic)
    registered_at: dict[str, int] = field(default_factory=dict)
    """When what we know of each registration was written, by stream; UTC milliseconds."""
    learned: dict[str, Sequence[MethodSchema]] = field(default_factory=dict)
    """By the name of the provider that described them."""

    def __post_init__(self) -> None:
        self.templates = TemplateShelf(self.journal, self.service.clock)
        self.copies = Copies(self.journal)
        self._events = LastEvents(self.journal, self.warnings)
        self.drains = Drains(self.journal, self.service.clock, self.service.post, self._events)

    # Providers that were registered by hand

    async def remember_registration(self, registration: Registration) -> None:
        """Keep it for the next start. What is registered at one address is replaced."""
        stream = f"$provider/{registration.url}"
        now = self.service.clock()
        last = await self._events.to_follow(stream)
        seq = last.seq + 1 if last is not None else 1
        summary = Summary(stream, "provider", registration.name or registration.url, "registered", True, now, now)
        await self.journal.append([Append(stream, seq, (msgspec.json.encode(registration),), summary)])

    async def restore_registrations(self) -> None:
        """Also those that were made or changed at another coordinator."""
        for row in await self.journal.find(Find(kind="provider", limit=1_000)):
            known = self.links.knows(row.stream.removeprefix("$provider/"))
            if not known or self.registered_at.get(row.stream) != row.updated_at:
                last = await self._events.of(row.stream)
                if last is not None:
                    self.links.restore(registration_of(last.event))
                    self.registered_at[row.stream] = row.updated_at

    def learn_methods(self, provider: str, methods: Sequence[MethodSchema]) -> None:
        """A provider described what it serves, in place of what it has said before: documents are checked against it.

        What ships with us nobody can redefine. What a provider served is known as long as it says nothing else.
        """
        shipped = builtin()
        learned = [method for method in methods if shipped.methods.get(method.name) is None]
        if _same(learned, self.learned.get(provider, ())):
            return
        self.learned[provider] = learned
        self.service.engine.catalogue = shipped.with_methods(
            m for described in self.learned.values() for m in described
        )
        self.documents.providers_describe(self.service.engine.catalogue)

    # What the process says of itself

    @property
    def is_deaf(self) -> bool:
        """Whether it cannot hear of providers, though it is to."""
        return self.nats_url is not None and not (self.directory is not None and self.directory.connected)

    @property
    def busy(self) -> bool:
        """Whether something runs, or would if it could: not what is held, and not what is paused."""
        engine = self.service.engine
        return bool(engine.calls) or any(
            not w.final and w.state != "paused" and w.id not in engine.scheduler.held for w in engine.workflows.values()
        )

    async def status(self) -> dict[str, Any]:
        engine = self.service.engine
        trouble = self.service.space.trouble
        stalled = [trouble] if trouble else []
        return {
            "version": self.version,
            "pid": os.getpid(),
            "instance": self.identity.owner,
            "uptime_seconds": round(time.monotonic() - self.started_at, 3),
            "url": self.url,
            "journal": self.journal_name,
            "cluster": self.identity.cluster,
            "embedded": self.embedded,
            "draining": self.draining,
            "nats": {
                "url": shown(self.nats_url) if self.nats_url is not None else None,
                "connected": self.directory is not None and self.directory.connected,
            },
            "workflows": engine.workflows.counts,
            "queued": engine.queued,
            "running": len(engine.calls),
            "providers": len(engine.scheduler.roster) - 1,
            "watchers": len(self.watchers),
            **(self._coordinators(self.shared.holdings) if self.shared is not None else {}),
            "warnings": [
                *self.warnings,
                *stalled,
                *self.service.clock.warnings,
                *(self.shared.holdings.warnings if self.shared is not None else ()),
            ],
        }

    def _coordinators(self, holdings: Holdings) -> dict[str, Any]:
        listed = [{"instance": one.owner, "url": one.url, "shards": len(one.shards)} for one in holdings.leases]
        return {"shards": sorted(holdings.mine), "coordinators": listed}

    def metrics(self) -> bytes:
        """In the text format of Prometheus."""
        engine = self.service.engine
        gauges = {
            "gleitzeit_tasks_queued": engine.queued,
            "gleitzeit_calls_running": len(engine.calls),
            "gleitzeit_watchers": len(self.watchers),
            "gleitzeit_journal_stalled": int(bool(self.service.space.trouble)),
        }
        lines = [line for name, value in gauges.items() for line in (f"# TYPE {name} gauge", f"{name} {value}")]
        lines.append("# TYPE gleitzeit_provider_calls_total counter")
        for provider in engine.scheduler.roster.values():
            labels = f'provider="{_label(provider.name)}",instance="{_label(provider.instance)}"'
            lines.append(f"gleitzeit_provider_calls_total{{{labels}}} {provider.started}")
        return ("\n".join(lines) + "\n").encode()


def _same(these: Sequence[MethodSchema], those: Sequence[MethodSchema]) -> bool:
    return [msgspec.structs.astuple(one) for one in these] == [msgspec.structs.astuple(one) for one in those]


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
