"""What `ps` must not show: a URL with a password travels to a child in its environment, not on its command line."""

import os
import re
from collections.abc import Sequence

_VARIABLES = {"--nats": "GLEITZEIT_PRIVATE_NATS", "--journal": "GLEITZEIT_PRIVATE_JOURNAL"}
_VARIABLES["--journal-fallback"] = "GLEITZEIT_PRIVATE_JOURNAL_FALLBACK"
_PASSWORD = re.compile(r"(^|,)[a-z0-9+.-]+://[^/@,]*@|[?&](ssl)?password=")


def concealed(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line without options whose URL holds a password, and the variables that stand for them."""
    shown: list[str] = []
    hidden: dict[str, str] = {}
    words = iter(command)
    for word in words:
        value = next(words, None) if word in _VARIABLES else None
        if value is not None and _PASSWORD.search(value):
            hidden[_VARIABLES[word]] = value
        else:
            shown += [word] if value is None else [word, value]
    return shown, hidden


def revealed(option: str) -> str | None:
    """In the child: the default of the option. Our own children do not inherit it."""
    return os.environ.pop(_VARIABLES[option], None)
