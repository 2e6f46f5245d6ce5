from gleitzeit.discovery.base import ProviderLost, ProviderSeen, Report
from gleitzeit.discovery.memory import MemoryAnnouncer, MemoryDirectory, MemoryExchange

ECHO = ProviderSeen("echo", "e1", "ws://127.0.0.1:1/", ("echo/v1",))


async def test_reports_have_arrived_when_the_announcer_returns() -> None:
    exchange, reports = MemoryExchange(), list[Report]()
    directory, announcer = MemoryDirectory(exchange, "c"), MemoryAnnouncer(exchange, "c")
    await directory.watch(reports.append)
    await announcer.announce(ECHO, dict)
    await announcer.withdraw()
    assert reports == [ECHO, ProviderLost("e1", "withdrawn")]


async def test_connected_is_between_the_first_call_and_the_last() -> None:
    exchange = MemoryExchange()
    directory, announcer = MemoryDirectory(exchange, "c"), MemoryAnnouncer(exchange, "c")
    assert not directory.connected
    assert not announcer.connected
    await directory.watch(list[Report]().append)
    await announcer.announce(ECHO, dict)
    assert directory.connected
    assert announcer.connected
    await directory.close()
    await directory.close()
    await announcer.withdraw()
    assert not directory.connected
    assert not announcer.connected
