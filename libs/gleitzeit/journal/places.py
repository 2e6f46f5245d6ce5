"""The URL of a journal, as it may be shown."""

from urllib.parse import parse_qsl, urlsplit, urlunsplit

_SECRET = ("password", "passfile", "sslpassword")


def shown(url: str) -> str:
    """Without a password, wherever it stands in it."""
    scheme, colon, rest = url.partition(":")
    if not colon or not rest.startswith("//") or scheme == "sqlite":
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{scheme}:…"
    user, at, host = parts.netloc.rpartition("@")
    if ":" in user:
        user = f"{user.partition(':')[0]}:…"
    query = "&".join(f"{k}={'…' if k in _SECRET else v}" for k, v in parse_qsl(parts.query))
    return urlunsplit((parts.scheme, f"{user}{at}{host}", parts.path, query, parts.fragment))
