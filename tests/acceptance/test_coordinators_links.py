"""The link between two coordinators swallows what it carries and goes on, or the other one stands still: who asked has
an answer soon, and nothing counts twice."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import support
from cluster import LEASE_SECONDS, Cluster
from foreign import METHOD, foreign
from test_faults_network import Proxy

from gleitzeit import errors
from gleitzeit.model.shards import SHARDS, shard_of
from gleitzeit.process.supervised import TRY_AGAIN
from gleitzeit.transport import Connection
from gz_coordinator.ids import workflow_id_for

SOON_SECONDS = 4 * LEASE_SECONDS + 5
WAIT = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}
AFTER = {"id": "after", "method": "timer/sleep", "params": {"seconds": 0}, "dependencies": ["w"]}


class Pair:
    """`near` is asked, `far` has the workflow, and the proxy is between them."""

    def __init__(self, cluster: Cluster, proxy: Proxy) -> None:
        self.cluster = cluster
        self.proxy = proxy
        self.near: Connection
        self.far: Connection
        self.theirs: frozenset[int]
        """The shards of the far one."""

    async def asked(self, method: str, **params: Any) -> Any:
        return await asyncio.wait_for(self.near.call(method, params), SOON_SECONDS)

    async def waiting_there(self) -> str:
        """A workflow that the far one has, and that waits for a signal."""
        return await support.submit(self.far, WAIT, AFTER)

    def has(self, key: str) -> bool:
        """Whether the far one would have the workflow of this idempotency key."""
        return shard_of(workflow_id_for("default", key), SHARDS) in self.theirs

    async def while_swallowed(self, directions: set[str], method: str, **params: Any) -> Any:
        self.proxy.swallowing = frozenset(directions)
        asking = asyncio.create_task(self.asked(method, **params))
        await asyncio.sleep(0.1)  # in which it is lost
        self.proxy.swallowing = frozenset()
        return await asking


@pytest.fixture
async def pair(redis: Any, tmp_path: Path) -> AsyncIterator[Pair]:
    cluster = Cluster(tmp_path, redis.place())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    proxy = Proxy("127.0.0.1", port)
    try:
        near = await cluster.start_coordinator()
        far = await cluster.start_coordinator("--listen", f"127.0.0.1:{port}", "--advertise", await proxy.start())
        await cluster.balanced()
        pair = Pair(cluster, proxy)
        pair.near = await cluster.connected(near)
        pair.far = await cluster.connected(far)
        pair.theirs = frozenset((await pair.far.call("system.status"))["shards"])
        yield pair
    finally:
        await proxy.close()
        await cluster.stop()


async def test_requests_and_answers_that_are_swallowed(pair: Pair) -> None:
    await pair.asked("workflow.get", workflow_id=await pair.waiting_there())  # they are connected from now on
    lost, answer_lost = {"to provider"}, {"to coordinator"}
    began = time.monotonic()
    for directions in (lost, answer_lost):
        workflow_id = await pair.waiting_there()
        view = await pair.while_swallowed(directions, "workflow.get", workflow_id=workflow_id)
        assert view["workflow_id"] == workflow_id
        key = next(k for k in (f"{sorted(directions)}{n}" for n in range(1000)) if pair.has(k))
        submit = {"definition": {"name": "k", "tasks": [WAIT]}, "idempotency_key": key}
        made = await pair.while_swallowed(directions, "workflow.submit", **submit)
        again = await pair.asked("workflow.submit", **submit)
        assert (again["workflow_id"], again["created"]) == (made["workflow_id"], False)
    # what must not be done twice, and has no key
    workflow_id = await pair.waiting_there()
    await pair.while_swallowed(lost, "workflow.signal", workflow_id=workflow_id, name="go")
    assert (await support.finished(pair.cluster.urls[pair.cluster.living[0]], workflow_id))["status"] == "completed"
    workflow_id = await pair.waiting_there()
    with pytest.raises(errors.ConnectionLost, match=r"whether workflow\.signal was done is unknown") as caught:
        await pair.while_swallowed(answer_lost, "workflow.signal", workflow_id=workflow_id, name="go")
    assert caught.value.retryable
    history = (await pair.asked("workflow.history", workflow_id=workflow_id))["events"]
    assert [said["event"]["type"] for said in history].count("SignalReceived") == 1
    assert time.monotonic() - began < SOON_SECONDS


async def test_the_other_one_stands_still(pair: Pair) -> None:
    """Until its lease has run out; then the near one has what it had. A call at a provider that keeps no table of them
    is made again, as nobody can ask about it, and the first one is ended as soon as its caller finds itself deposed."""
    workflow_id = await pair.waiting_there()
    await pair.asked("workflow.get", workflow_id=workflow_id)
    far = pair.cluster.coordinators[1]
    async with foreign() as provider:
        for connection in (pair.near, pair.far):
            await connection.call("provider.register", {"url": f"ws://127.0.0.1:{provider.port}/"})
        marking = await support.submit(pair.far, {"id": "m", "method": METHOD, "params": {}, "on_lost": "retry"})
        await support.eventually(lambda: provider.running == 1)
        pair.cluster.kill(far, signal.SIGSTOP)
        asking = [
            pair.asked("workflow.get", workflow_id=workflow_id),
            pair.asked("workflow.signal", workflow_id=workflow_id, name="go"),
        ]
        view, signalled = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(view, dict), view
        assert view["workflow_id"] == workflow_id
        assert isinstance(signalled, errors.ConnectionLost), signalled
        assert signalled.retryable
        await support.eventually(lambda: provider.running == 2)
        assert not provider.told, "it stands still: nobody can end its calls"
        pair.cluster.kill(far, signal.SIGCONT)
        await support.eventually(lambda: provider.running == 1)
        assert len(provider.told) == 1
        assert await asyncio.wait_for(far.wait(), 20) == TRY_AGAIN
        provider.allow(2)
        near = pair.cluster.urls[pair.cluster.living[0]]
        assert (await support.finished(near, marking))["status"] == "completed"
