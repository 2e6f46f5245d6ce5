"""`gz-provider-ollama`: llm/v1 by one or several Ollama servers."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Final
from urllib.parse import urlsplit

from gleitzeit.config.ollama import CLOUD, PORT, ports_of, url_of, urls_at, urls_from
from gleitzeit.errors import ConfigurationError
from gleitzeit.provider import Provider
from gleitzeit.provider.process import positive
from gz_provider_llm.backends.ollama import Ollama
from gz_provider_llm.backends.ollama_instances import Instance, Instances, slots_from
from gz_provider_llm.methods import build
from gz_provider_llm.options import (
    add_key_options,
    api_key,
    default_idle_timeout,
    key_hint,
    long_silence,
    parser_for,
    serve,
    settings_of,
)
from gz_provider_llm.transport.http import Http

VARIABLE: Final = "OLLAMA_API_KEY"
"""Ollama's own servers want a key, and so does a proxy before one's own, perhaps; the server itself has none."""

IDLE_TIMEOUT_SECONDS: Final = 300.0
"""A server says nothing while it loads a model from a slow disk, nor to a call that waits for its turn."""

HINT: Final = "Start it with: ollama serve (https://ollama.com/download), or say where it is by OLLAMA_HOST or --url"
_BUSY: Final = (429, 503)  # 503 is what Ollama answers when its queue is full


def provider(options: Namespace) -> Provider:
    """Raises ConfigurationError for a URL that is none, and a key file that holds no key."""
    key = api_key(options)
    instances = [Instance(_http(url, key, options), options.slots) for url in _urls(options)]
    return build(Ollama(Instances(instances), capacity=options.capacity), settings_of(options))


def parser() -> ArgumentParser:
    described = parser_for("ollama", 1, "what the servers take together")
    described.set_defaults(idle_timeout=default_idle_timeout(IDLE_TIMEOUT_SECONDS))
    add = described.add_argument_group(
        "servers", "Without these: GLEITZEIT_OLLAMA_URL (several with commas), or OLLAMA_HOST, or 127.0.0.1:11434."
    ).add_argument
    add("--url", metavar="URL", type=_url, action="append", default=[], help="where Ollama is; may be given repeatedly")
    add(
        "--discover", metavar="PORTS", type=_ports, default=os.environ.get("GLEITZEIT_OLLAMA_DISCOVER") or [],
        help=f"look for servers on these ports of this machine, such as {PORT}-{PORT + 5} (default: "
        "GLEITZEIT_OLLAMA_DISCOVER, or none)",
    )  # fmt: skip
    add(
        "--slots", metavar="N", type=positive, default=slots_from(os.environ),
        help="calls at once for each server, as many as it was told to take (default: OLLAMA_NUM_PARALLEL, or 1)",
    )  # fmt: skip
    add_key_options(described, VARIABLE)
    return described


def run() -> None:
    """The console script `gz-provider-ollama`."""
    serve("ollama", provider, parser().parse_args())


def _urls(options: Namespace) -> list[str]:
    """Of the ports all: where nobody listens yet somebody may later, and a look at a closed port costs little."""
    return list(dict.fromkeys([*options.url, *urls_at(options.discover)])) or urls_from(os.environ)


def _http(url: str, key: str, options: Namespace) -> Http:
    return Http(
        url,
        headers={"authorization": f"Bearer {key}"} if key else {},
        secrets=[key],
        idle_timeout_seconds=options.idle_timeout,
        long_silence_seconds=long_silence(options, IDLE_TIMEOUT_SECONDS),
        busy_statuses=_BUSY,
        key_hint=key_hint(options) if key or urlsplit(url).hostname == CLOUD else "",
        hint=HINT,
    )


def _url(text: str) -> str:
    try:
        return url_of(text)
    except ConfigurationError as error:
        raise ArgumentTypeError(error.message) from None


def _ports(text: str) -> list[int]:
    try:
        return ports_of(text)
    except ConfigurationError as error:
        raise ArgumentTypeError(error.message) from None


if __name__ == "__main__":
    run()
