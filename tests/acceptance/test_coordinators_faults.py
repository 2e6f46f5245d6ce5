"""Several real coordinators under load. One after the other is killed, paused, or cut off from the provider, or their
database is killed: what was acknowledged finishes, no call is executed twice, and a limit holds."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import support
from cluster import CLUSTER, LEASE_SECONDS, START_SECONDS, Cluster
from test_faults_network import Proxy
from tests.servers import Postgres, Redis

from gleitzeit import errors
from gleitzeit.process.children import start_child

LIMIT = 3
_LATER = (errors.ConnectionLost, errors.ShardElsewhere, errors.JournalError, TimeoutError)
COORDINATORS = 3
PROVIDER = """
import asyncio, os
from gleitzeit.provider import Call, Provider

provider = Provider("counter", protocols=["count/v1"], capacity=16)
marks = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@provider.method("count/work")
async def work(call: Call, key: str, seconds: float) -> dict[str, bool]:
    os.write(marks, f"+ {key} {call.meta.call_id}\\n".encode())
    try:
        await asyncio.sleep(seconds)
    finally:
        os.write(marks, f"- {key} {call.meta.call_id}\\n".encode())
    return {"done": True}

provider.main()
"""


class Ordeal:
    """A cluster with its load. `marks` has a line for the begin (+) and the end (-) of every execution."""

    def __init__(
        self, cluster: Cluster, proxy: Proxy, marks: Path, seed: int, database: Postgres | Redis, coordinators: int
    ) -> None:
        self.coordinators = coordinators
        self.cluster = cluster
        self.database = database
        self.proxy = proxy
        self.chance = random.Random(seed)
        self.acknowledged: list[str] = []
        self._marks = marks

    async def more(self, number: int) -> None:
        """Two that share a limit, one that waits and one that sends it the signal, at whoever takes them."""
        retry = {"max_attempts": 20, "delay": 0.2}
        for name in ("a", "b"):
            work = {"method": "count/work", "params": {"key": "few", "seconds": 0.4}, "retry": retry}
            few = {"id": "few", **work, "concurrency": {"key": "few", "limit": LIMIT}}
            after = {"id": "after", **work, "params": {"key": "many", "seconds": 0.1}, "dependencies": ["few"]}
            await self._submit(f"{number}{name}", few, after)
        waiter = await self._submit(f"{number}w", {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}})
        params = {"signal_name": "go", "target_workflows": [waiter], "payload": number}
        await self._submit(f"{number}s", {"id": "s", "method": "signal/send", "params": params})

    async def _submit(self, key: str, *tasks: dict[str, Any]) -> str:
        """As a client that asks until it has an answer, which is the acknowledgement."""
        params = {"definition": {"name": f"of {key}", "tasks": tasks}, "idempotency_key": key}
        while True:
            with contextlib.suppress(*_LATER):
                living = self.cluster.living or [await self.cluster.start_coordinator()]
                connection = await self.cluster.connected(self.chance.choice(living))
                answer = await connection.call("workflow.submit", params, timeout_seconds=3)
                self.acknowledged.append(answer["workflow_id"])
                return str(answer["workflow_id"])

    async def fault(self) -> None:
        victim = self.chance.choice(self.cluster.living)
        with contextlib.suppress(ProcessLookupError):  # it was paused before, and has just found itself deposed
            match self.chance.choice(["kill", "pause", "cut"]):
                case "kill":
                    await self.cluster.killed(victim)
                case "pause":
                    self.cluster.kill(victim, signal.SIGSTOP)
                    await asyncio.sleep(self.chance.choice([0.3, 1.0, 2.0]) * LEASE_SECONDS)
                    self.cluster.kill(victim, signal.SIGCONT)
                case "cut":
                    self.proxy.cut()
        await self.all_are_there()

    async def database_fault(self) -> None:
        """It is away for less than a lease, so that the coordinators wait for it, or for more, which ends them."""
        await asyncio.to_thread(self.database.kill)
        await asyncio.sleep(self.chance.choice([0.0, 0.3, 2.0]) * LEASE_SECONDS)
        await asyncio.to_thread(self.database.start)
        await self.all_are_there()

    async def all_are_there(self) -> None:
        while len(self.cluster.living) < self.coordinators:
            await self.cluster.start_coordinator()

    async def all_is_finished(self) -> None:
        async def finished(workflow_id: str) -> bool:
            with contextlib.suppress(*_LATER):
                await self.all_are_there()
                connection = await self.cluster.connected(self.cluster.living[0])
                view = await connection.call("workflow.get", {"workflow_id": workflow_id}, timeout_seconds=10)
                await connection.close()
                assert view["status"] not in ("failed", "cancelled"), view
                return bool(view["status"] == "completed")
            return False

        for workflow_id in self.acknowledged:
            await support.eventually(lambda w=workflow_id: finished(w), 120)

    def check_executions(self) -> None:
        begun, running = Counter[str](), Counter[str]()
        for line in self._marks.read_text().splitlines():
            sign, key, call_id = line.split()
            begun[call_id] += sign == "+"
            running[key] += 1 if sign == "+" else -1
            assert running["few"] <= LIMIT, f"{line}: more than {LIMIT} run"
        assert {call_id: times for call_id, times in begun.items() if times != 1} == {}
        assert len(begun) >= len(self.acknowledged)  # two calls in half of them


@pytest.fixture
async def ordeal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ordeal]:
    kind, seed, *alone = request.param
    coordinators = alone[0] if alone else COORDINATORS
    database = await asyncio.to_thread(Postgres if kind == "postgres" else Redis)
    cluster = Cluster(tmp_path, database.place())
    program, marks = tmp_path / "counter.py", tmp_path / "marks"
    program.write_text(PROVIDER.replace("MARKS", repr(str(marks))))
    command = [sys.executable, str(program), "--cluster", CLUSTER]
    provider = await start_child("counter", command, environ=dict(os.environ), log=tmp_path / "counter.log")
    proxy = Proxy("127.0.0.1", urlsplit(await asyncio.wait_for(provider.ready, START_SECONDS)).port or 0)
    try:
        for _ in range(coordinators):
            await cluster.start_coordinator()
        connection = await cluster.connected(cluster.living[0])
        await connection.call("provider.register", {"url": await proxy.start(), "name": "counter"})
        yield Ordeal(cluster, proxy, marks, seed, database, coordinators)
    finally:
        await proxy.close()
        await cluster.stop()
        await provider.stop(10)
        await asyncio.to_thread(database.stop)


async def _goes_through(ordeal: Ordeal, rounds: int) -> None:
    for number in range(rounds):
        await ordeal.more(number)
        await ordeal.fault()
    await ordeal.all_is_finished()
    ordeal.check_executions()


@pytest.mark.parametrize("ordeal", [("redis", 1)], indirect=True)
async def test_faults_of_coordinators_in_short(ordeal: Ordeal) -> None:
    await _goes_through(ordeal, 3)


@pytest.mark.long
@pytest.mark.parametrize("ordeal", [("postgres", 2), ("redis", 3)], indirect=True, ids=["postgres", "redis"])
async def test_faults_of_coordinators_again_and_again(ordeal: Ordeal) -> None:
    await _goes_through(ordeal, 40)


async def _outlives_its_database(ordeal: Ordeal, rounds: int) -> None:
    for number in range(rounds):
        await ordeal.more(number)
        await ordeal.database_fault()
    await ordeal.all_is_finished()
    ordeal.check_executions()


@pytest.mark.parametrize("ordeal", [("redis", 4)], indirect=True)
async def test_a_database_that_is_killed_beneath_coordinators(ordeal: Ordeal) -> None:
    await _outlives_its_database(ordeal, 3)


BENEATH = {
    "postgres": ("postgres", 5),
    "redis": ("redis", 6),
    "one on postgres": ("postgres", 7, 1),
    "one on redis": ("redis", 8, 1),
}


@pytest.mark.long
@pytest.mark.parametrize("ordeal", BENEATH.values(), indirect=True, ids=BENEATH.keys())
async def test_a_database_that_is_killed_beneath_coordinators_again_and_again(ordeal: Ordeal) -> None:
    await _outlives_its_database(ordeal, 12)
