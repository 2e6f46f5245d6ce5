import pytest

from gleitzeit.errors import TaskError
from gleitzeit.provider.addresses import METADATA, is_private


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.1.2.3", "192.168.0.1", "::ffff:10.0.0.1", "fe80::1", "0.0.0.0"]
)
async def test_places_of_this_machine_and_network(host: str) -> None:
    assert await is_private(host, 80)


@pytest.mark.parametrize("host", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
async def test_places_elsewhere(host: str) -> None:
    assert not await is_private(host, 80)


async def test_a_name_is_looked_up() -> None:
    assert await is_private("localhost", 80)


@pytest.mark.parametrize("host", sorted(METADATA))
async def test_credentials_of_clouds(host: str) -> None:
    with pytest.raises(TaskError, match="credentials"):
        await is_private(host, 80)
