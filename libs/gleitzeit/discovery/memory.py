"""Discovery inside one process: for tests, simulations and stacks without a NATS server."""

from collections.abc import Callable

from msgspec import Struct

from gleitzeit.discovery.base import ProviderChanged, ProviderLost, ProviderSeen, Report


class MemoryExchange:
    """What NATS is to the others: the place where announcers and directories of any number of clusters meet.

    Reports are delivered before the announcer's call returns.
    """

    def __init__(self) -> None:
        self._clusters: dict[str, _Cluster] = {}

    def cluster(self, cluster: str) -> "_Cluster":
        return self._clusters.setdefault(cluster, _Cluster())


class _Cluster(Struct):
    providers: dict[str, ProviderSeen] = {}
    watchers: list[Callable[[Report], None]] = []

    def tell(self, report: Report) -> None:
        for watcher in list(self.watchers):
            watcher(report)


class MemoryDirectory:
    """The coordinator's side."""

    def __init__(self, exchange: MemoryExchange, cluster: str) -> None:
        self._cluster = exchange.cluster(cluster)
        self._report: Callable[[Report], None] | None = None

    async def watch(self, report: Callable[[Report], None]) -> None:
        self._report = report
        self._cluster.watchers.append(report)
        for seen in self._cluster.providers.values():
            report(seen)

    @property
    def connected(self) -> bool:
        return self._report is not None

    async def close(self) -> None:
        if self._report is not None:
            self._cluster.watchers.remove(self._report)
            self._report = None


class MemoryAnnouncer:
    """The provider's side."""

    def __init__(self, exchange: MemoryExchange, cluster: str) -> None:
        self._cluster = exchange.cluster(cluster)
        self._provider: ProviderSeen | None = None

    async def announce(self, provider: ProviderSeen, on_stats: Callable[[], dict[str, object]]) -> None:
        self._provider = provider
        self._cluster.providers[provider.instance] = provider
        self._cluster.tell(provider)

    @property
    def connected(self) -> bool:
        return self._provider is not None

    async def changed(self) -> None:
        if self._provider is not None:
            self._cluster.tell(ProviderChanged(self._provider.instance))

    async def withdraw(self) -> None:
        if self._provider is not None:
            provider, self._provider = self._provider, None
            del self._cluster.providers[provider.instance]
            self._cluster.tell(ProviderLost(provider.instance, "withdrawn"))
