"""`gz-provider-openai`: llm/v1 by OpenAI, or by any server that speaks its API (vLLM, LM Studio, llama.cpp, …)."""

import os
from argparse import ArgumentParser, Namespace
from urllib.parse import urlsplit

from gleitzeit.errors import ConfigurationError
from gleitzeit.provider import Provider
from gz_provider_llm.backends.openai import CAPACITY, OPENAI_URL, OpenAI
from gz_provider_llm.methods import build
from gz_provider_llm.options import (
    add_key_options,
    api_key,
    first_sign,
    key_hint,
    key_renewal,
    long_silence,
    parser_for,
    serve,
    server_hint,
    settings_of,
)
from gz_provider_llm.transport.http import Http

URL_VARIABLE = "OPENAI_BASE_URL"
VARIABLE = "OPENAI_API_KEY"


def provider(options: Namespace) -> Provider:
    """Raises ConfigurationError for a URL that is none, and for OpenAI without a key."""
    url = _api_url(options.url)
    is_openai = (urlsplit(url).hostname or "").endswith("openai.com")
    key = api_key(options)
    if is_openai and not key:
        message = f"no key for OpenAI: set {options.api_key_env}, or give --api-key-file; other servers: --url"
        raise ConfigurationError(message)
    http = Http(
        url,
        headers=_headers(url, key),
        secrets=[key],
        idle_timeout_seconds=options.idle_timeout,
        long_silence_seconds=long_silence(options),
        first_sign_seconds=first_sign(options),
        hint="" if is_openai else server_hint(options.url, URL_VARIABLE),
        key_hint=key_hint(options),
        renewed=key_renewal(options, lambda key: _headers(url, key)),
    )
    return build(OpenAI(http, is_openai=is_openai, capacity=options.capacity), settings_of(options))


def parser() -> ArgumentParser:
    described = parser_for("openai", CAPACITY, "what the server says that it takes, else 16")
    described.add_argument(
        "--url", default=os.environ.get(URL_VARIABLE) or OPENAI_URL,
        help="where the API is (default: OPENAI_BASE_URL, or OpenAI); /v1 is added where the URL has no path",
    )  # fmt: skip
    add_key_options(described, VARIABLE)
    return described


def run() -> None:
    """The console script `gz-provider-openai`."""
    serve("openai", provider, parser().parse_args())


def _api_url(url: str) -> str:
    """Also of the address of one method, as many show it."""
    parts = urlsplit(url)
    bare = parts.path.rstrip("/")
    path = bare.removesuffix("/chat/completions") or "/v1"
    return url if path == bare else parts._replace(path=path).geturl()


def _headers(url: str, key: str) -> dict[str, str]:
    """Azure, whose URL says `api-version`, takes a key in a header of its own, and a token (JWT) like everybody."""
    if key and "api-version=" in urlsplit(url).query and not key.startswith("eyJ"):
        return {"api-key": key}
    return {"authorization": f"Bearer {key}"} if key else {}


if __name__ == "__main__":
    run()
