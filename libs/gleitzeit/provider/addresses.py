"""What addresses a task names that a provider is to ask: those of this machine and this network are private."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from gleitzeit.errors import TaskError

METADATA: Final = frozenset({"169.254.169.254", "fd00:ec2::254", "100.100.100.200"})
"""Where clouds tell a machine its credentials: never asked, whoever names it."""


async def is_private(host: str, port: int) -> bool:
    """Whether one of its addresses is of this machine or this network. Raises TaskError where credentials lie.

    False for a name that nobody knows: connecting will say so.
    """
    addresses = await addresses_of(host, port)
    if any(str(address) in METADATA for address in addresses):
        raise TaskError(f"{host} is where a cloud keeps the credentials of its machines: not asked", retryable=False)
    return any(not address.is_global for address in addresses)


async def addresses_of(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """None for a name that nobody knows."""
    try:
        return [_plain(ip_address(host.strip("[]")))]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [_plain(ip_address(str(entry[4][0]).partition("%")[0])) for entry in found]


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as an IPv6 one is the same place."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
