"""What can be told of model servers before anything is started: sockets are asked, keys and files only looked at."""

import importlib.util
import socket
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gleitzeit.config.ollama import full_name, urls_from
from gleitzeit.spec.urls import is_address, shown

FILE: Final = "GLEITZEIT_GGUF"
"""The variable that names a model file; the model is called like it."""
ASK_SECONDS: Final = 0.4
LOOK_SECONDS: Final = 0.6
"""For all servers together: who has not been asked by then may be there."""
_UNSAID: Final = 0
"""In place of a status, of a server that is not asked for one: with TLS that takes more than it is worth."""
_IS_THERE: Final = frozenset({_UNSAID, 200, 401, 403})
"""Also who wants a key knows the path."""
_PORTS: Final = {"http": 80, "https": 443}
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_MAGIC: Final = b"GGUF"


def hindrance(provider: str, environ: Mapping[str, str]) -> str:
    """Why that provider could not reach a model, as far as this is certain; "" if it may."""
    match provider:
        case "ollama":
            return "" if ollama_answers(environ) else f"no Ollama answers at {ollama_shown(environ)}"
        case "openai" | "anthropic":
            return _of_maker(provider, environ)
        case "llamacpp":
            return _of_file(environ)
    return ""


def ollama_shown(environ: Mapping[str, str]) -> str:
    """Where it is, in words."""
    urls = [shown(url) for url in urls_from(environ)]
    return ", ".join(urls[:3]) + (", …" if len(urls) > 3 else "")


def ollama_answers(environ: Mapping[str, str]) -> bool:
    """Whether one of its servers is there, or may be. Some that speak as Ollama does know but one of these paths."""
    deadline = monotonic() + LOOK_SECONDS
    for url in urls_from(environ):
        if monotonic() > deadline:
            return True
        for path in ("/api/tags", "/api/version"):
            answer = _got(url, path)
            if answer is None:
                break
            if answer[0] in _IS_THERE:
                return True
    return False


def ollama_models(environ: Mapping[str, str]) -> set[str] | None:
    """The full names of what the servers that answer have; None if one of them does not say."""
    held: set[str] = set()
    deadline = monotonic() + LOOK_SECONDS
    for url in urls_from(environ):
        if monotonic() > deadline:
            return None
        answer = _got(url, "/api/tags")
        if answer is None:
            continue
        try:
            listed = msgspec.json.decode(answer[1], type=_Tags).models or ()
        except msgspec.MsgspecError:
            return None
        held |= {full_name(model.name) for model in listed}
    return held


class _Tag(Struct):
    name: str


class _Tags(Struct):
    models: list[_Tag] | None = None


def own_model(environ: Mapping[str, str]) -> str:
    """The full name of the one in the model file; "" without a file."""
    return full_name(Path(environ[FILE]).stem) if environ.get(FILE) else ""


def has_llamacpp() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def _of_file(environ: Mapping[str, str]) -> str:
    if not environ.get(FILE):
        return f"{FILE} is not set"
    if not has_llamacpp():
        return "the extra `llamacpp` is not installed"
    file = Path(environ[FILE]).expanduser()
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(_MAGIC))
    except OSError as error:
        return f"provider-llamacpp cannot start: cannot read the model {file}: {error.strerror}"
    is_model = begin == _MAGIC
    return "" if is_model else f"provider-llamacpp cannot start: {file} is no GGUF file, which is what llama.cpp reads"


def _of_maker(provider: str, environ: Mapping[str, str]) -> str:
    """Without a URL it is the maker's own server, which wants a key."""
    maker = provider.upper()
    url = environ.get(f"{maker}_BASE_URL")
    if not url:
        return "" if environ.get(f"{maker}_API_KEY") else f"{maker}_API_KEY is not set"
    if not is_address(url, _PORTS):
        return ""  # the provider says more of it
    try:
        _connect(url, environ)
    except ConnectionRefusedError:
        return f"nobody answers at {shown(url)}: is the server running, and is {maker}_BASE_URL right?"
    except (OSError, UnicodeError):
        pass  # it may be slow, or be found by others only
    return ""


def _connect(url: str, environ: Mapping[str, str]) -> None:
    """Raises OSError. Not where a proxy may be asked in our place."""
    parts = urlsplit(url)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if here or not any(environ.get(name) or environ.get(name.lower()) for name in _PROXIES):
        socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), ASK_SECONDS).close()


def _got(url: str, path: str) -> tuple[int, bytes] | None:
    """Status and body of an answer; None if there is none."""
    parts = urlsplit(url)
    where = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
    try:
        socket.create_connection(where, ASK_SECONDS).close()
    except (OSError, UnicodeError):  # UnicodeError: no name of a machine
        return None
    if parts.scheme == "https":
        return _UNSAID, b""
    import http.client  # 20 ms, ssl among them, which nobody needs where nobody listens

    connection = http.client.HTTPConnection(*where, timeout=ASK_SECONDS)
    try:
        connection.request("GET", f"{parts.path}{path}")
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
