"""Secrets at the provider: found where it runs, put into the params of a call, and taken out of all that it says.

`${secrets.NAME}` is the environment variable GLEITZEIT_SECRET_NAME, or else the file NAME in the folder
GLEITZEIT_SECRETS (`secrets` in the state folder), which `gz secret set` writes. They are looked up for every call, so
that one that was changed counts at once.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from gleitzeit.config import SECRET, default_folder, secrets_folder
from gleitzeit.errors import ConfigurationError, InvalidParams
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.model.secrets import NAME, Place, names_in, put_in
from gleitzeit.provider.calls import Outcome

SHORT: Final = 8
"""Characters. A shorter secret may be part of ordinary words: it is masked where it stands alone."""
MASK: Final = "***"
_NOTHING: Final = r"(?!)"


def looked_up(name: str, environ: Mapping[str, str]) -> str:
    """Raises ConfigurationError if there is none, or none that can be read."""
    if (value := environ.get(SECRET + name)) is not None:
        return value
    file = secrets_folder(environ, default_folder(environ)) / name
    try:
        if NAME.fullmatch(name):
            return file.read_text("utf-8").removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the secret '{name}' cannot be read: {error}") from None
    hint = f"'gz secret set {name}' where this provider runs, or the variable {SECRET}{name}, makes it known"
    raise ConfigurationError(f"there is no secret '{name}' ({hint})")


class Veil(Struct, frozen=True):
    """Takes secrets out of what a call says. Empty ones are none."""

    pattern: re.Pattern[str]
    forms: tuple[str, ...]
    """As they may stand in a text, the longest first."""

    @classmethod
    def over(cls, values: Sequence[str]) -> "Veil":
        written = {form for value in values if value for form in (value, json.dumps(value)[1:-1])}
        forms = tuple(sorted(written, key=len, reverse=True))
        return cls(re.compile("|".join(map(_pattern, forms)) or _NOTHING), forms)

    def text(self, text: str) -> str:
        return self.pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """Also in keys, and where a number is one."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float):
            written = str(value)
            return MASK if len(written) >= SHORT and written in self.forms else value
        if isinstance(value, dict):
            return {self.value(key): self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value

    def outcome(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, bytes):
            return self._encoded(outcome)
        data = None if outcome.data is None else Raw(self._encoded(bytes(outcome.data)))
        return Failure(outcome.code, self.text(outcome.message), data)

    def _encoded(self, encoded: bytes) -> bytes:
        """JSON may spell a text in several ways, hence by its values; what has nothing to hide stays as it is."""
        value = msgspec.json.decode(encoded)
        veiled = self.value(value)
        return encoded if veiled == value else msgspec.json.encode(veiled)


class Sieve(Struct):
    """Takes them out of a text that comes in pieces: what may be the beginning of one is held back."""

    veil: Veil
    _held: str = ""
    _before: str = ""
    """The character before that: whether a short secret stands alone depends on it."""

    def feed(self, piece: str) -> str:
        """What can be said now."""
        return self._said(piece, more=True)

    def end(self) -> str:
        """The rest, after which nothing comes."""
        return self._said("", more=False)

    def _said(self, piece: str, *, more: bool) -> str:
        text = self._before + self._held + piece
        said, at = "", len(self._before)
        for found in self.veil.pattern.finditer(text, at):
            if more and self._may_go_on(text, found):
                break
            said, at = f"{said}{text[at : found.start()]}{MASK}", found.end()
        end = len(text) - (self._beginning(text[at:]) if more else 0)
        self._held, self._before = text[end:], text[max(end - 1, 0) : end]
        return said + text[at:end]

    def _may_go_on(self, text: str, match: re.Match[str]) -> bool:
        """As a word, of which a short one is only a part, or as a longer secret."""
        return self._begins(text[match.start() :])

    def _beginning(self, text: str) -> int:
        """How many of its last characters may be those with which a secret begins, or a short one as a whole."""
        most = min(len(text), max(map(len, self.veil.forms), default=0))
        return next((count for count in range(most, 0, -1) if self._begins(text[-count:])), 0)

    def _begins(self, text: str) -> bool:
        return any(form.startswith(text) and (len(form) > len(text) or len(form) < SHORT) for form in self.veil.forms)


def revealed(params: dict[str, Any], places: Sequence[Place], environ: Mapping[str, str]) -> Veil:
    """Put the secrets into the params, in place. Raises ConfigurationError for one that is not known here."""
    known = {name: looked_up(name, environ) for name in names_in(places)}
    try:
        put_in(params, places, known)
    except (LookupError, TypeError):
        raise InvalidParams("_meta.secrets tells of a place that is not in the params") from None
    return Veil.over(list(known.values()))


def _pattern(form: str) -> str:
    whole = re.escape(form)
    return rf"(?<!\w){whole}(?!\w)" if len(form) < SHORT else whole
