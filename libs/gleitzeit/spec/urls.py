"""URLs, and what was to be one, as everybody may see them."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

_SECRET_KEY = re.compile(r"[?&;][^=&;#]*(?:pass|pwd|key|token|secret|sig|auth|credential)[^=&;#]*=", re.IGNORECASE)
_SIMPLE_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.%]+\](:\d{1,5})?")
HIDDEN = "***"
ESCAPES = "in a name or a password '/', '@', ':', '?', '#' and '%' are written %2F, %40, %3A, %3F, %23 and %25"


def shown(url: str) -> str:
    """Without whatever may be a password or a key, also where the URL is not well formed: then rather too little is
    shown than too much. A password with an unescaped `/` in it goes to the last `@`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if scheme == "sqlite":
        return url
    query = _SECRET_KEY.search(rest)
    if query is not None:  # what follows may belong to it, if it was not escaped
        rest = rest[: query.end()] + HIDDEN
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, behind = rest.rpartition("@")
    if at and not _is_path_of_web(scheme, authority, user):
        rest = f"{HIDDEN}@{behind}"
    elif separator and authority and not _SIMPLE_HOST.fullmatch(authority):
        rest = HIDDEN  # `user:password` without a host, or a host that is none
    return f"{scheme}{separator}{rest}"


def _is_path_of_web(scheme: str, authority: str, before_at: str) -> bool:
    """`https://host.example/@name/…`, as many web sites have it."""
    plain = "." in authority and _SIMPLE_HOST.fullmatch(authority) is not None
    return scheme in ("http", "https") and before_at == f"{authority}/" and plain


def is_ambiguous(url: str) -> bool:
    """Whether an `@` stands behind the place where it ends a password: something before it was not escaped."""
    rest = url.partition("://")[2]
    return "@" in rest[len(re.split(r"[/?#]", rest, maxsplit=1)[0]) :] or rest.count("@") > 1


def is_address(url: str, schemes: Collection[str]) -> bool:
    """Whether it has one of the schemes, a host, and a port that is one, if any."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not is_ambiguous(url)


def not_understood(what: str, url: str, error: ValueError) -> str:
    """A sentence. What a parser says quotes what it did not understand, which may be a piece of a password."""
    why = str(error) if shown(url) == url else ESCAPES
    return f"the URL of {what} {shown(url)} cannot be understood: {why}"
