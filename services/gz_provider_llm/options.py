"""Options that every process of the family has, what they make (settings of the methods, the key), and its start."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gleitzeit.errors import ConfigurationError
from gleitzeit.provider import Provider
from gleitzeit.provider.process import give_up, positive
from gz_provider_llm.methods import Settings
from gz_provider_llm.transport.http import FIRST_SIGN_SECONDS, IDLE_TIMEOUT_SECONDS, LONG_SILENCE_SECONDS, Key


def parser_for(name: str, capacity: int, capacity_is: str = "") -> ArgumentParser:
    """The SDK's options, and those of the methods. `capacity` is None where nobody has said it, and then what is
    `capacity_is`, in words."""
    default = f"GLEITZEIT_LLM_CAPACITY, or {capacity_is or capacity}"
    parser = Provider(name, protocols=["llm/v1"], capacity=capacity).parser(capacity_default=default)
    parser.set_defaults(capacity=_from_environment("GLEITZEIT_LLM_CAPACITY"))
    add = parser.add_argument_group("models").add_argument
    add(
        "--default-model", metavar="NAME", default=os.environ.get("GLEITZEIT_DEFAULT_MODEL", ""),
        help="for tasks that name none (default: GLEITZEIT_DEFAULT_MODEL, or the server's only one)",
    )  # fmt: skip
    rates = partial(rates_of, provider=name)
    add("--rpm", metavar="N", type=rates, default=_from_environment("GLEITZEIT_LLM_RPM"),
        help="requests a minute to one model (default: GLEITZEIT_LLM_RPM, or no limit); also by the names of models "
        "and providers: 60,openai=500,o3=5")  # fmt: skip
    add("--tpm", metavar="N", type=rates, default=_from_environment("GLEITZEIT_LLM_TPM"),
        help="tokens a minute of one model (default: GLEITZEIT_LLM_TPM, or no limit); likewise")  # fmt: skip
    add(
        "--any-model", action="store_true",
        help="do not ask the server which models it has: tasks come here whatever model they name",
    )  # fmt: skip
    add(
        "--idle-timeout", metavar="S", type=seconds, default=default_idle_timeout(IDLE_TIMEOUT_SECONDS),
        help="seconds of silence that end a call (default %(default)s, at least "
        f"{FIRST_SIGN_SECONDS:g} before the answer begins, and {LONG_SILENCE_SECONDS:g} where it comes all at once or "
        "is thought about; GLEITZEIT_LLM_IDLE_TIMEOUT sets all)",
    )  # fmt: skip
    return parser


def add_key_options(parser: ArgumentParser, variable: str) -> None:
    """Where the key comes from. It is never an option itself: everybody can read those in the list of processes."""
    add = parser.add_argument_group("key").add_argument
    add(
        "--api-key-env", metavar="NAME", default=variable,
        help="the environment variable that holds the key (default %(default)s)",
    )  # fmt: skip
    add("--api-key-file", metavar="FILE", type=Path, help="a file that holds the key, instead of the variable")


def api_key(options: Namespace) -> str:
    """Empty if there is none. Raises ConfigurationError for a file that cannot be read or holds nothing."""
    if options.api_key_file is None:
        return os.environ.get(options.api_key_env, "").strip()
    try:
        key: str = options.api_key_file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the key: {error}") from None
    if not key or any(character.isspace() or not character.isprintable() for character in key):
        raise ConfigurationError(f"{options.api_key_file} does not hold a key: one word is expected")
    return key


def key_renewal(options: Namespace, headers: Callable[[str], dict[str, str]]) -> Callable[[], Key | None]:
    """For when it is not accepted: the key as its file has it by then, in the `headers` of its server."""

    def renewed() -> Key | None:
        try:
            key = api_key(options)
        except ConfigurationError:  # it is just being written
            return None
        return Key(key, headers(key)) if key else None

    return renewed


def key_hint(options: Namespace) -> str:
    """For one whose key is not accepted."""
    source = options.api_key_file or f"the environment variable {options.api_key_env}"
    return f"The key comes from {source}" + ("" if api_key(options) else ", which holds none")


def server_hint(url: str, variable: str) -> str:
    """For one whose server does not answer: where `url` was said, by the environment's `variable` or by `--url`."""
    source = variable if os.environ.get(variable) == url else "--url"
    return f"Is the server running, and is {source} right?"


def settings_of(options: Namespace) -> Settings:
    return Settings(
        directory=Path.cwd(),
        default_models={"chat": options.default_model} if options.default_model else {},
        requests_per_minute=options.rpm,
        tokens_per_minute=options.tpm,
        list_models=not options.any_model,
    )


def serve(name: str, provider: Callable[[Namespace], Provider], options: Namespace) -> None:
    """The whole process. Exits with 2 for options that do not go."""
    try:
        made = provider(options)
    except ConfigurationError as error:
        give_up(name, error.message, 2)
    made.main(options)


def default_idle_timeout(otherwise: float) -> str:
    return _from_environment("GLEITZEIT_LLM_IDLE_TIMEOUT") or f"{otherwise:g}"


def long_silence(options: Namespace, otherwise: float = IDLE_TIMEOUT_SECONDS) -> float:
    """Seconds, of which nothing is left where somebody has said himself what ends a call; `otherwise` nobody has."""
    return LONG_SILENCE_SECONDS if options.idle_timeout == otherwise else 0.0


def first_sign(options: Namespace) -> float:
    """Likewise, until something of an answer has come."""
    return FIRST_SIGN_SECONDS if options.idle_timeout == IDLE_TIMEOUT_SECONDS else 0.0


def _from_environment(variable: str) -> str | None:
    """argparse converts a default that is a text, and complains about it, as if it had been typed."""
    return os.environ.get(variable) or None


def rates_of(text: str, provider: str) -> dict[str, int]:
    """Of `60,openai=500,o3=5`, by model; "" is for those that are not named, and what is said of this provider goes
    before what is said of all."""
    rates: dict[str, int] = {}
    for part in text.split(","):
        name, separator, number = part.rpartition("=")
        if separator and not name.strip():
            raise ArgumentTypeError(f"{part!r} does not say whose limit it is: a model, or a provider")
        rates[name.strip()] = positive(number.strip())
    if provider in rates:
        rates[""] = rates.pop(provider)
    return rates


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number
