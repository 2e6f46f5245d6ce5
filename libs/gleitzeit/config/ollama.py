"""Where Ollama's servers are, as the environment says it, and what its models are called."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from gleitzeit.errors import ConfigurationError
from gleitzeit.spec.urls import not_understood, shown

PORT: Final = 11434
CLOUD: Final = "ollama.com"


def urls_from(environ: Mapping[str, str]) -> list[str]:
    """On the ports of this machine that GLEITZEIT_OLLAMA_DISCOVER says; else as GLEITZEIT_OLLAMA_URL does (several with
    commas), or OLLAMA_HOST; else at Ollama's usual place. Raises ConfigurationError."""
    if ports := environ.get("GLEITZEIT_OLLAMA_DISCOVER"):
        return urls_at(ports_of(ports))
    named = environ.get("GLEITZEIT_OLLAMA_URL") or environ.get("OLLAMA_HOST") or ""
    return [url_of(host) for host in named.split(",") if host.strip()] or [url_of("")]


def urls_at(ports: list[int]) -> list[str]:
    return [f"http://127.0.0.1:{port}" for port in ports]


def url_of(host: str) -> str:
    """The URL that Ollama's own client makes of OLLAMA_HOST: scheme, host and port may each be left out.

    Raises ConfigurationError for what is none of this.
    """
    scheme, separator, rest = host.strip().strip("\"'").rpartition("://")
    if rest == CLOUD:
        return f"https://{CLOUD}:443"
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError as error:
        raise ConfigurationError(not_understood("Ollama", host, error)) from None
    default = {"http": 80, "https": 443}.get(scheme, PORT) if separator else PORT
    try:
        port = default if parts.port is None else parts.port
    except ValueError:
        raise ConfigurationError(
            f"{shown(host)!r} does not say where Ollama is: the port is no number up to 65535"
        ) from None
    name = parts.hostname or "127.0.0.1"
    # A server that listens everywhere is asked here.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    user = f"{parts.username}:{parts.password or ''}@" if parts.username else ""
    return f"{scheme or 'http'}://{user}{f'[{name}]' if ':' in name else name}:{port}{parts.path.rstrip('/')}"


def ports_of(text: str) -> list[int]:
    """Of `11434-11439`, or of one port. Raises ConfigurationError."""
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not dash)):
        raise ConfigurationError(f"{text!r} is no range of ports, such as 11434-11439")
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65_535 or len(ports) > 100:
        raise ConfigurationError(f"{text!r} is no range of at most 100 ports between 1 and 65535")
    return list(ports)


def full_name(model: str) -> str:
    """Ollama's rule: a name without a tag means `:latest`."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"
