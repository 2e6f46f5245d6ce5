"""Who may talk to a server of ours, by the headers of a request: whoever listens for HTTP asks here first.

On a loopback address everyone on this machine may who is not a web page from elsewhere: Host and Origin are checked.
With a token only who brings it.
"""

import hmac
import ipaddress
import ssl
from http import HTTPStatus
from urllib.parse import urlsplit

from msgspec import Struct
from websockets.datastructures import Headers

from gleitzeit.errors import ConfigurationError
from gleitzeit.transport.websocket import LOOPBACK_HOSTS

TOKEN_COOKIE = "gleitzeit_token"
TOKEN_SUBPROTOCOL = "token."


class Admission(Struct, frozen=True):
    """`host` is where the server listens; pages from `origins` may connect, too. The token comes as `Authorization:
    Bearer …`, as a subprotocol `token.…` or in the cookie `gleitzeit_token` (browsers cannot set headers)."""

    host: str
    token: str | None = None
    origins: frozenset[str] = frozenset()

    def refusal(self, headers: Headers, *, is_open: bool = False) -> tuple[HTTPStatus, str] | None:
        """The answer to who may not; `is_open`: what is asked for needs no token. Raises MultipleValuesError and
        ValueError for headers that make no sense."""
        host = headers.get("Host", "")
        if is_loopback(self.host) and not is_loopback(_hostname(host)):
            return HTTPStatus.FORBIDDEN, f"the host {host!r} is not served here"
        origin = headers.get("Origin")
        if origin is not None and origin not in self.origins and urlsplit(origin).netloc != host:
            return HTTPStatus.FORBIDDEN, f"pages from {origin!r} may not connect here"
        if self.token and not is_open and not self._has_token(headers):
            return HTTPStatus.UNAUTHORIZED, "a token is needed, and the right one"
        return None

    def _has_token(self, headers: Headers) -> bool:
        expected = (self.token or "").encode()
        offered = [part.encode("utf-8", "surrogateescape") for part in _offered_tokens(headers)]
        # Each is compared whatever the others were: the time taken tells nothing about the token.
        return any([hmac.compare_digest(token, expected) for token in offered])


def check_address(host: str, token: str | None, tls: ssl.SSLContext | None) -> None:
    """Raises ConfigurationError for one that others can reach, without a token and TLS."""
    if not is_loopback(host) and not (token and tls is not None):
        raise ConfigurationError(
            f"to listen on {host}, which others can reach, a token and TLS are needed (--token-file, --tls-cert)"
        )


def is_loopback(host: str) -> bool:
    if host in LOOPBACK_HOSTS:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(host: str) -> str:
    """Of a Host header: without the port."""
    return urlsplit(f"//{host}").hostname or ""


def _offered_tokens(headers: Headers) -> list[str]:
    tokens = []
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        tokens.append(value.strip())
    for line in headers.get_all("Sec-WebSocket-Protocol"):
        names = (name.strip() for name in line.split(","))
        tokens += [name.removeprefix(TOKEN_SUBPROTOCOL) for name in names if name.startswith(TOKEN_SUBPROTOCOL)]
    for line in headers.get_all("Cookie"):
        pairs = (pair.strip().partition("=") for pair in line.split(";"))
        tokens += [value for name, _, value in pairs if name == TOKEN_COOKIE]
    return tokens
