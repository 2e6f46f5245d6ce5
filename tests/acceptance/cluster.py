"""Several real coordinators on one journal, with real providers that the first of them is told of."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import support

from gleitzeit.process.children import Child, start_child
from gleitzeit.transport import Connection, connect

LEASE_SECONDS = 2.0
START_SECONDS = 120.0
"""On a machine that is busy with other tests too."""
CLUSTER = "test-cluster"


class Cluster:
    def __init__(self, folder: Path, journal: str) -> None:
        self.journal = journal
        self.coordinators: list[Child] = []
        self.urls: dict[Child, str] = {}
        self.providers: list[Child] = []
        self._folder = folder
        self._connections: list[Connection] = []

    @property
    def living(self) -> list[Child]:
        return [child for child in self.coordinators if child.running]

    async def start_coordinator(self, *options: str, lease_seconds: float = LEASE_SECONDS) -> Child:
        """Ready when this returns."""
        number = len(self.coordinators)
        state = self._folder / f"state-{number}"
        state.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "gz_coordinator", "--listen", "127.0.0.1:0", "--state", str(state)]
        command += [
            "--journal",
            self.journal,
            "--cluster",
            CLUSTER,
            "--shard-lease-seconds",
            f"{lease_seconds:g}",
            *options,
        ]
        child = await self._start(f"coordinator-{number}", command)
        self.coordinators.append(child)
        return child

    async def start_provider(self, name: str, *options: str, script: Path | None = None) -> Child:
        """One of ours, or a script."""
        program = [str(script)] if script is not None else ["-m", f"gz_provider_{name}"]
        command = [sys.executable, *program, "--cluster", CLUSTER, *options]
        child = await self._start(f"{name}-{len(self.providers)}", command)
        self.providers.append(child)
        connection = await self.connected(self.living[0])
        await connection.call("provider.register", {"url": self.urls[child]})
        return child

    async def _start(self, name: str, command: list[str]) -> Child:
        child = await start_child(name, command, environ=dict(os.environ), log=self._folder / f"{name}.log")
        try:
            self.urls[child] = await asyncio.wait_for(child.ready, START_SECONDS)
        except BaseException:
            await child.stop(0)
            raise
        return child

    async def connected(self, coordinator: Child) -> Connection:
        connection = await connect(self.urls[coordinator])
        self._connections.append(connection)
        return connection

    async def balanced(self, shards: int = 64) -> None:
        """Every living coordinator has its part, and knows all providers."""
        connections = [await self.connected(child) for child in self.living]

        async def even() -> bool:
            parts = []
            for connection in connections:
                status = await connection.call("system.status")
                parts.append(len(status["shards"]))
                if not await support.providers_ready(connection, len(self.providers)):
                    return False
            return sum(parts) == shards and max(parts) - min(parts) <= 1

        await support.eventually(even)

    def kill(self, child: Child, number: int = signal.SIGKILL) -> None:
        os.kill(child.pid, number)

    async def killed(self, child: Child) -> None:
        """When this returns, it is not among the living any more."""
        self.kill(child)
        await child.wait()

    def log(self, child: Child) -> str:
        return (self._folder / f"{child.name}.log").read_text()

    async def stop(self) -> None:
        for connection in self._connections:
            await connection.close()
        for child in [*self.coordinators, *self.providers]:
            with contextlib.suppress(ProcessLookupError):
                self.kill(child, signal.SIGCONT)
            await child.stop(10)


async def submit_many(connection: Connection, count: int, tasks: list[dict[str, Any]]) -> list[str]:
    return [await support.submit(connection, *tasks, name=f"w{number}") for number in range(count)]
