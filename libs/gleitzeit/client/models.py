"""Which model serves the llm/* tasks of a document: what is configured, else what this machine has.

    a provider that the configuration, --provider or the document names
    Ollama, if one answers            OLLAMA_HOST, else 127.0.0.1:11434
    OPENAI_API_KEY, OPENAI_BASE_URL   then those of Anthropic, whose Claude is; beside Ollama, too, for models that it
                                      has not
    GLEITZEIT_GGUF, a model file      with the extra `llamacpp`

Found out before anything is started or submitted, and before what that takes is imported: sockets are asked, keys only
looked at. See `served` for what a coordinator has.
"""

import importlib.util
import itertools
import re
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from gleitzeit.client import needs
from gleitzeit.errors import ConfigurationError
from gleitzeit.model.definition import Definition
from gleitzeit.process.absent import NoModel
from gleitzeit.process.reach import Reach, Target, started
from gleitzeit.process.state import Address, find_running, model_settings
from gleitzeit.spec.urls import not_understood, shown

PROVIDERS = ("ollama", "openai", "anthropic", "llamacpp")
"""Those of ours that serve llm/v1."""
_MAKERS = ("openai", "anthropic")
WITHOUT_MODEL = frozenset({"echo", "python", *needs.PROVIDERS.values()})
OLLAMA_PORT = 11434
_PARAMETER = re.compile(r"\$\{(?:parameters|inputs)\.(\w+)\}")
ASK_SECONDS = 0.4
LOOK_AGAIN_SECONDS = 0.05
OTHER_SETTINGS = "this joins a stack in use, whose models were set up with other keys, addresses or files"
OUTLIVE_SECONDS = 2.0
"""An embedded stack that nobody uses has ended by then."""

WAYS = """Any one of these is enough:

  Ollama        curl -fsSL https://ollama.com/install.sh | sh
                ollama pull llama3.2
  an API key    export OPENAI_API_KEY=sk-...        # or ANTHROPIC_API_KEY
  a model file  pip install 'gleitzeit[llamacpp]'
                export GLEITZEIT_GGUF=/path/to/model.gguf"""


def methods_of(definition: Definition) -> list[str]:
    """The llm/* methods that its tasks may call."""
    return sorted({method for method, _ in _calls(definition) if method.startswith("llm/")})


def _calls(definition: Definition) -> Iterator[tuple[str, str]]:
    """Method and provider's name of everything that could be called."""
    for task in definition.tasks:
        yield task.method, task.provider
        for other in task.fallback:
            yield other.method, other.provider


def with_model(
    reach: Reach, definition: Definition, environ: Mapping[str, str], inputs: Mapping[str, object] | None = None
) -> Reach:
    """A stack that is not started yet is, with what the document needs. Raises NoModel if this machine has none.

    An embedded one that runs is joined, if it has that, and was started with the same keys, addresses and files. Else
    its successor is to have it, unless others keep it from ending. `inputs` are those of the submit to come.
    """
    reach = replace(reach, target=_with_needs(reach, definition))
    methods = methods_of(definition)
    wanted = models_of(definition, inputs or {})
    address = reach.address
    if address is not None and address.embedded:
        try:
            target = _with_providers(reach.target, definition, methods, environ, wanted)
        except NoModel as error:
            return replace(reach, no_model=str(error))  # but it may have one
        reach = replace(reach, target=target)
        if not _suits(address, reach, methods, environ):
            return _outlived(reach, methods, environ)
    if not reach.begun:
        return started(_with_providers(reach.target, definition, methods, environ, wanted))
    return replace(reach, note=_unheeded(reach))


def _unheeded(reach: Reach) -> str:
    """What was asked for and is not there, because a stack is not started but joined."""
    address = reach.address
    missing = [] if address is None else [name for name in reach.target.asked if name not in address.providers]
    if address is None or not missing:
        return ""
    names = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not started"
    if reach.target.url is not None:
        return f"{names}: the coordinator at {shown(address.url)} has the providers that it has"
    runs = ", ".join(address.providers)
    return f"{names}: a stack runs here already, with {runs}; `gz down` ends it"


def _suits(address: Address, reach: Reach, methods: list[str], environ: Mapping[str, str]) -> bool:
    if not methods:
        return set(reach.target.providers) <= set(address.providers)
    same = address.settings == model_settings(environ) and not address.failures
    return same and set(reach.target.providers) <= set(address.providers)


def _outlived(reach: Reach, methods: list[str], environ: Mapping[str, str]) -> Reach:
    """A successor of the embedded stack that does not suit; or that stack, if it goes on to live for others."""
    deadline = time.monotonic() + OUTLIVE_SECONDS
    while (address := find_running(reach.target.state)) is not None:
        if not address.embedded or _suits(address, reach, methods, environ):
            return replace(reach, address=address)
        if time.monotonic() > deadline:
            served = methods and not address.failures and set(reach.target.providers) <= set(address.providers)
            return replace(reach, address=address, note=OTHER_SETTINGS if served else "")
        time.sleep(LOOK_AGAIN_SECONDS)
    return started(reach.target)


def _with_needs(reach: Reach, definition: Definition) -> Target:
    """Of a stack that its operator started, he has the say what it serves."""
    if reach.address is not None and not reach.address.embedded:
        return reach.target
    return needs.with_providers(reach.target, definition)


def with_what_is_at_hand(target: Target, environ: Mapping[str, str]) -> Target:
    """For who does not know yet what will be asked of a stack: with a model, if this machine has one."""
    if any(name not in WITHOUT_MODEL for name in target.providers):
        return target
    found, _ = choose(environ)
    return target if found is None else target.with_providers((*target.providers, found))


def _with_providers(
    target: Target, definition: Definition, methods: list[str], environ: Mapping[str, str], wanted: set[str]
) -> Target:
    if not methods or any(name not in WITHOUT_MODEL for name in target.providers):
        return target
    named = {provider for method, provider in _calls(definition) if method.startswith("llm/")}
    chosen = [name for name in PROVIDERS if name in named]
    if "" in named:
        found, looked = choose(environ)
        if found is None:
            raise NoModel(f"{these(methods)} and there is none: {looked}", WAYS)
        elsewhere = wanted - models_at(ollama_url(environ)) if found == "ollama" else wanted
        makers = keyed(environ, elsewhere)  # a task goes where its model is
        if found != "ollama":
            chosen += makers or [found]
        else:
            chosen += [found, *(makers if elsewhere else ())]
        chosen = list(dict.fromkeys(chosen))
    return target.with_providers((*target.providers, *chosen))


def choose(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The provider for this machine; and in words where nothing was found."""
    url = ollama_url(environ)
    if answers(url):
        return "ollama", ""
    makers = keyed(environ)
    if makers:
        return makers[0], ""
    missing = f"no Ollama answers at {shown(url)}; OPENAI_API_KEY, ANTHROPIC_API_KEY"
    if not environ.get("GLEITZEIT_GGUF"):
        return None, f"{missing} and GLEITZEIT_GGUF are not set"
    if importlib.util.find_spec("xllamacpp") is None:
        return None, f"{missing} are not set; GLEITZEIT_GGUF is, but the extra `llamacpp` is not installed"
    return "llamacpp", ""


def keyed(environ: Mapping[str, str], wanted: Collection[str] = ()) -> list[str]:
    """The providers for which there is a key, or the address of a server, which may do without one. Of several those
    that may have the models wanted: whose Claude is, everybody knows; all else may be OpenAI's."""
    said = {m for m in _MAKERS if environ.get(f"{m.upper()}_API_KEY") or environ.get(f"{m.upper()}_BASE_URL")}
    makers = [maker for maker in _MAKERS if maker in said]
    claude = [name for name in wanted if name.startswith("claude")]
    if len(makers) < 2 or not claude:
        return makers[:1]
    # A compatible server may have Claude, too.
    return makers if len(claude) < len(wanted) or environ.get("OPENAI_BASE_URL") else ["anthropic"]


def models_of(definition: Definition, inputs: Mapping[str, object]) -> set[str]:
    """The models that its tasks name, as far as that can be read from it, by their full names."""
    given = {**msgspec.json.decode(definition.parameters), **inputs}
    found = set()
    for task in definition.tasks:
        calls = [(task.method, task.params), *((other.method, other.params) for other in task.fallback)]
        listed = [msgspec.json.decode(params).get("model") for method, params in calls if method.startswith("llm/")]
        for model in itertools.chain.from_iterable(one if isinstance(one, list) else [one] for one in listed):
            reference = _PARAMETER.fullmatch(model) if isinstance(model, str) else None
            value = given.get(reference[1]) if reference is not None else model
            if isinstance(value, str) and "${" not in value:
                found.add(full_name(value))
    return found


def full_name(model: str) -> str:
    """Ollama's rule: a name without a tag means `:latest`."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def models_at(url: str) -> set[str]:
    """What an Ollama has; nothing if it does not say."""
    try:
        listed = msgspec.json.decode(_got(url, "/api/tags") or b"{}", type=_Tags)
    except msgspec.MsgspecError:
        return set()
    return {full_name(model.name) for model in listed.models or ()}


class _Tag(msgspec.Struct):
    name: str


class _Tags(msgspec.Struct):
    models: list[_Tag] | None = None


def ollama_url(environ: Mapping[str, str]) -> str:
    """As Ollama's own client reads OLLAMA_HOST: scheme and port may be left out. The first one of several."""
    named = environ.get("GLEITZEIT_OLLAMA_URL") or environ.get("OLLAMA_HOST") or "127.0.0.1"
    scheme, separator, rest = named.split(",")[0].strip().rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError as error:
        raise ConfigurationError(not_understood("Ollama", named, error)) from None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", None: "127.0.0.1"}.get(parts.hostname, parts.hostname)
    try:
        port = parts.port
    except ValueError:
        port = None
    port = port or ({"http": 80, "https": 443}.get(scheme) if separator else None) or OLLAMA_PORT
    return f"{scheme or 'http'}://{f'[{host}]' if host and ':' in host else host}:{port}{parts.path.rstrip('/')}"


def answers(url: str) -> bool:
    """Whether an Ollama is there."""
    return _got(url, "/api/version") is not None


def _got(url: str, path: str) -> bytes | None:
    """The body of an answer with status 200."""
    parts = urlsplit(url)
    where = (parts.hostname or "", parts.port or OLLAMA_PORT)
    try:
        socket.create_connection(where, ASK_SECONDS).close()
    except (OSError, UnicodeError):  # UnicodeError: no name of a machine
        return None
    import http.client  # 20 ms, ssl among them, which nobody needs where nobody listens

    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(*where, timeout=ASK_SECONDS)
    try:
        connection.request("GET", f"{parts.path}{path}")
        response = connection.getresponse()
        return response.read() if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def these(methods: list[str]) -> str:
    return f"this needs a model ({', '.join(methods)}),"
