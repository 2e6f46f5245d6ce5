import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `support`

import support

from gleitzeit.transport import Connection


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[support.Stack]:
    running = support.Stack(
        tmp_path / "state", "--provider", "echo,python", environ={"GLEITZEIT_RESTART_MAX_SECONDS": "0.2"}
    )
    yield running
    running.stop()


@pytest.fixture
async def connection(stack: support.Stack) -> AsyncIterator[Connection]:
    """To the coordinator, once its providers are there."""
    found = await support.connected(stack, 2)
    yield found
    await found.close()
