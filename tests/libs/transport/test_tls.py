"""Over a real socket, with certificates that nobody has signed."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gleitzeit.errors import ConfigurationError
from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.transport import connect, pin, trust
from gleitzeit.transport.server import Server
from gleitzeit.transport.tls import identity


@asynccontextmanager
async def serving(certificate: Any) -> AsyncIterator[Server]:
    server = Server(Methods(), tls=identity(certificate.file, certificate.key), token="secret")
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def ping(url: str, tls: ssl.SSLContext | None) -> Any:
    connection = await connect(url, token="secret", tls=tls)
    try:
        return await connection.call("ping")
    finally:
        await connection.close()


def by_name(server: Server) -> str:
    return f"wss://localhost:{server.port}/"


async def test_who_is_trusted_and_has_the_right_name_is_connected_to(certificate: Any) -> None:
    async with serving(certificate) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        assert await ping(by_name(server), trust(certificate.file)) == {}
        with pytest.raises(ConfigurationError, match=r"not trusted.*IP address mismatch"):
            await ping(server.url, trust(certificate.file))


async def test_who_is_not_trusted_is_refused(certificate: Any, foreign_certificate: Any) -> None:
    async with serving(certificate) as server:
        for tls in (None, trust(foreign_certificate.file), pin(foreign_certificate.file)):
            with pytest.raises(ConfigurationError, match="not trusted"):
                await ping(by_name(server), tls)


async def test_a_pinned_certificate_is_enough_whatever_its_name(foreign_certificate: Any) -> None:
    async with serving(foreign_certificate) as server:
        assert await ping(server.url, pin(foreign_certificate.file)) == {}


async def test_only_the_first_of_a_chain_is_pinned(certificate: Any, foreign_certificate: Any, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text(foreign_certificate.file.read_text() + certificate.file.read_text())
    async with serving(certificate) as server:
        with pytest.raises(ConfigurationError, match="not trusted"):
            await ping(server.url, pin(chain))


async def test_where_nothing_is_secured_nobody_need_be_trusted(certificate: Any) -> None:
    server = Server(Methods())
    await server.start()
    connection = await connect(server.url, tls=trust(certificate.file))
    assert await connection.call("ping") == {}
    await connection.close()
    await server.close()


@pytest.mark.parametrize("make", [trust, pin])
def test_files_that_hold_no_certificate(make: Any, tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    with pytest.raises(ConfigurationError, match=f"{file} cannot be used"):
        make(file)
    for text in ("", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=f"{file} cannot be used"):
            make(file)


def test_what_a_server_shows_has_its_key_beside_it_or_in_it(certificate: Any, tmp_path: Path) -> None:
    assert identity(None, None) is None
    both = tmp_path / "both.pem"
    both.write_text(certificate.key.read_text() + certificate.file.read_text())
    assert isinstance(identity(both, None), ssl.SSLContext)
    with pytest.raises(ConfigurationError, match="--tls-key is nothing without --tls-cert"):
        identity(None, certificate.key)
    with pytest.raises(ConfigurationError, match=f"no certificate with its key in {certificate.file}: "):
        identity(certificate.file, None)
    with pytest.raises(ConfigurationError, match=f"in {certificate.file} and {tmp_path / 'none'}: "):
        identity(certificate.file, tmp_path / "none")
