"""Which model serves the llm/* tasks of a document: what is configured, else what this machine has.

    a provider that the configuration, --provider or the document names
    Ollama, if one answers            OLLAMA_HOST, else 127.0.0.1:11434
    OPENAI_API_KEY, OPENAI_BASE_URL   then those of Anthropic, whose Claude is; beside Ollama, too, for models that it
                                      has not
    GLEITZEIT_GGUF, a model file      with the extra `llamacpp`

Found out before anything is started or submitted, and before what that takes is imported: sockets are asked, keys only
looked at. See `served` for what a coordinator has.
"""

import itertools
import re
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from gleitzeit.client import model_servers, needs
from gleitzeit.config.ollama import full_name
from gleitzeit.model.definition import Definition
from gleitzeit.process.absent import NoModel
from gleitzeit.process.reach import Reach, Target, started
from gleitzeit.process.state import Address, find_running, model_settings
from gleitzeit.spec.urls import shown

PROVIDERS = ("ollama", "openai", "anthropic", "llamacpp")
"""Those of ours that serve llm/v1."""
_MAKERS = ("openai", "anthropic")
WITHOUT_MODEL = frozenset({"echo", "python", *needs.PROVIDERS.values()})
_OF_MAKERS = re.compile(r"claude|gpt-\d|chatgpt|o\d\b")
_PARAMETER = re.compile(r"\$\{(?:parameters|inputs)\.(\w+)\}")
LOOK_AGAIN_SECONDS = 0.05
OTHER_SETTINGS = "this joins a stack in use, whose models were set up with other keys, addresses or files"
OUTLIVE_SECONDS = 2.0
"""An embedded stack that nobody uses has ended by then."""

_OTHERS = """  Ollama        curl -fsSL https://ollama.com/install.sh | sh
                ollama pull llama3.2
  an API key    export OPENAI_API_KEY=sk-...        # or ANTHROPIC_API_KEY"""
WAYS = f"""Any one of these is enough:

{_OTHERS}
  a model file  pip install xllamacpp
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
    """Raises NoModel where it is certain that none can be asked."""
    if not methods:
        return target
    chosen = [name for name in target.providers if name not in WITHOUT_MODEL]
    if not chosen:
        chosen = _chosen(definition, methods, environ, wanted)
        target = target.with_providers((*target.providers, *chosen))
    why = [model_servers.hindrance(name, environ) for name in chosen]
    if all(why):
        raise NoModel(f"{these(methods)} and {'; '.join(why)}", WAYS)
    if wanted and _are_known(definition):
        if chosen == ["ollama"]:
            _require_models(methods, environ, wanted)
        elif chosen == ["llamacpp"]:
            _require_own(methods, environ, wanted)
    return target


def _chosen(definition: Definition, methods: list[str], environ: Mapping[str, str], wanted: set[str]) -> list[str]:
    """The providers that tasks name; for those that name none, the ones of this machine."""
    named = {provider for method, provider in _calls(definition) if method.startswith("llm/")}
    chosen = [name for name in PROVIDERS if name in named]
    if "" not in named:
        return chosen
    found, looked = choose(environ)
    if found is None:
        raise NoModel(f"{these(methods)} and there is none: {looked}", WAYS)
    elsewhere = wanted - (model_servers.ollama_models(environ) or set()) if found == "ollama" else wanted
    ours = {model_servers.own_model(environ)} & elsewhere  # who calls a model like our file means that
    makers = keyed(environ, elsewhere - ours)
    if found == "ollama":
        makers = makers if elsewhere - ours else []
    elif ours and ours == wanted:
        found, makers = "llamacpp", []
    own = ["llamacpp"] if ours else []
    return list(dict.fromkeys([*chosen, *([found] if found not in _MAKERS else ()), *makers, *own]))


def _are_known(definition: Definition) -> bool:
    """Whether every call of a model names one, as far as can be read, and none says that it may be fetched."""
    calls = [params for method, params in _params(definition) if method.startswith("llm/")]
    return not any(params.get("pull") for params in calls) and all(
        isinstance(model, str) and ("${" not in model or _PARAMETER.fullmatch(model))
        for params in calls
        for model in _listed(params.get("model"))
    )


def _require_models(methods: list[str], environ: Mapping[str, str], wanted: set[str]) -> None:
    """Raises NoModel if Ollama has none of them. What runs in its cloud need not be listed."""
    held = model_servers.ollama_models(environ)
    if held is None or wanted & held or any(name.endswith("cloud") for name in wanted):
        return
    names = [name.removesuffix(":latest") for name in sorted(wanted)]
    there = f"it has {', '.join(name.removesuffix(':latest') for name in sorted(held))}" if held else "it has none yet"
    message = f"{these(methods)} and Ollama at {model_servers.ollama_shown(environ)} has no {', '.join(names)}; {there}"
    raise NoModel(message, _how_to_get(names))


def _require_own(methods: list[str], environ: Mapping[str, str], wanted: set[str]) -> None:
    """Raises NoModel if none of them is in our file."""
    own = model_servers.own_model(environ)
    if own in wanted:
        return
    name = own.removesuffix(":latest")
    asked = ", ".join(name.removesuffix(":latest") for name in sorted(wanted))
    message = f"{these(methods)} and the file that {model_servers.FILE} names has {name}, not {asked}"
    raise NoModel(
        message, f"Ask for that one (with `-p model={name}`, where the document has such an input), or:\n\n{_OTHERS}"
    )


def _how_to_get(names: list[str]) -> str:
    """Of models; those of the makers are not for Ollama to fetch."""
    of_makers = [name for name in names if _OF_MAKERS.match(name)]
    ways = [f"  ollama pull {name}" for name in names if name not in of_makers]
    ways += ["  export OPENAI_API_KEY=sk-...        # or ANTHROPIC_API_KEY"] if of_makers else []
    return "\n".join(["Get it with:" if len(ways) == 1 else "What helps:", "", *ways])


def choose(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The provider for this machine; and in words where nothing was found."""
    if model_servers.ollama_answers(environ):
        return "ollama", ""
    makers = keyed(environ)
    if makers:
        return makers[0], ""
    missing = f"no Ollama answers at {model_servers.ollama_shown(environ)}; OPENAI_API_KEY, ANTHROPIC_API_KEY"
    if not environ.get(model_servers.FILE):
        return None, f"{missing} and {model_servers.FILE} are not set"
    if not model_servers.has_llamacpp():
        return None, f"{missing} are not set; {model_servers.FILE} is, but the extra `llamacpp` is not installed"
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
    listed = [_listed(params.get("model")) for method, params in _params(definition) if method.startswith("llm/")]
    for model in itertools.chain.from_iterable(listed):
        reference = _PARAMETER.fullmatch(model) if isinstance(model, str) else None
        value = given.get(reference[1]) if reference is not None else model
        if isinstance(value, str) and "${" not in value:
            found.add(full_name(value))
    return found


def _listed(model: object) -> list[object]:
    return model if isinstance(model, list) else [model]


def _params(definition: Definition) -> Iterator[tuple[str, dict[str, Any]]]:
    """Method and params of everything that could be called."""
    for task in definition.tasks:
        for method, params in ((task.method, task.params), *((one.method, one.params) for one in task.fallback)):
            yield method, msgspec.json.decode(params)


def these(methods: list[str]) -> str:
    return f"this needs a model ({', '.join(methods)}),"
