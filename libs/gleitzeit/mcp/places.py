"""Where our own configuration of MCP servers is, and what it comes to with everything else that says something."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gleitzeit.config import read_text
from gleitzeit.errors import ConfigurationError, DocumentError
from gleitzeit.mcp.servers import Configured, Variables, entries, parse_json, read_servers
from gleitzeit.spec.loading.load import load_text

VARIABLE = "GLEITZEIT_MCP_CONFIG"


def config_folder(environ: Mapping[str, str], home: Path) -> Path:
    named = environ.get("GLEITZEIT_CONFIG")
    return Path(named).expanduser().absolute().parent if named else home / ".gleitzeit"


def own_file(environ: Mapping[str, str], home: Path) -> Path:
    """What `gz mcp add` writes: ~/.gleitzeit/mcp.json, beside config.yaml, unless GLEITZEIT_MCP_CONFIG names it."""
    named = environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else config_folder(environ, home) / "mcp.json"


def read_file(file: Path, environ: Mapping[str, str], home: Path, *, must_exist: bool = True) -> Configured:
    """The servers of one file. Never raises: what is wrong is in `problems`."""
    variables = Variables(environ, home=home, folder=Path.cwd())
    try:
        document = parse_json(read_text(file, must_exist=must_exist), str(file))
    except ConfigurationError as error:
        return Configured((), (error.message,))
    if document and not entries(document) and not document.keys() & {"mcpServers", "servers"}:
        return Configured((), (f"{file} has neither `mcpServers` nor `servers`",))
    return read_servers(document, str(file), variables)


def configured(environ: Mapping[str, str], home: Path, files: Sequence[Path] = ()) -> Configured:
    """Ours, config.yaml's and those of `files`; of one name the last one counts. Never raises."""
    read = [_of_config_yaml(environ, home), read_file(own_file(environ, home), environ, home, must_exist=False)]
    read += [read_file(file, environ, home) for file in files]
    servers = {server.name: server for one in read for server in one.servers}
    return Configured(
        tuple(servers.values()),
        tuple(problem for one in read for problem in one.problems),
        tuple(warning for one in read for warning in one.warnings),
    )


def _of_config_yaml(environ: Mapping[str, str], home: Path) -> Configured:
    """`providers: {mcp: {servers: …}}`, or `mcp: {servers: …}`; a map by name, or a list."""
    file = Path(environ.get("GLEITZEIT_CONFIG") or config_folder(environ, home) / "config.yaml").expanduser()
    try:
        text = read_text(file, must_exist=False)
        value: Any = load_text(text, name=str(file)).value if b"mcp" in text else None
    except (ConfigurationError, DocumentError):
        return Configured(())  # it is told by whoever reads the rest of it
    document = value if isinstance(value, dict) else {}
    providers = document.get("providers")
    sections = [providers.get("mcp") if isinstance(providers, dict) else None, document.get("mcp")]
    section = next((one for one in sections if isinstance(one, dict) and one.get("enabled") is not False), None)
    if section is None:
        return Configured(())
    return read_servers(section, str(file), Variables(environ, home=home, folder=Path.cwd()))


def modified(environ: Mapping[str, str], home: Path, files: Sequence[Path] = ()) -> tuple[int, ...]:
    """Changes when one of the files does."""
    yaml = Path(environ.get("GLEITZEIT_CONFIG") or config_folder(environ, home) / "config.yaml").expanduser()
    return tuple(_stamp(file) for file in (own_file(environ, home), yaml, *files))


def _stamp(file: Path) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0
