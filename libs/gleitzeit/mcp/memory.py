"""What tools looked like when they were last accepted: a definition that has changed since is reported, or refused.

`<state folder>/mcp/tools.json`, written as a whole. It also tells `gz validate` what tools take, when nothing runs.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct


class Definition(Struct, frozen=True):
    """Of a tool, as its server gave it. `before` is the sha256 that it replaced, "" if it is the first one."""

    sha256: str
    definition: Raw
    before: str = ""


class Change(Struct, frozen=True):
    tool: str
    before: str
    now: str

    @property
    def words(self) -> str:
        return f"the definition of {self.tool} has changed: sha256 {self.before[:12]}… is now {self.now[:12]}…"


Known = dict[str, Definition]
"""The tools of one server, by name."""


def memory_file(state: Path) -> Path:
    return state / "mcp" / "tools.json"


def digest(definition: Raw) -> str:
    """sha256 of the definition whatever the order of its keys."""
    value: Any = msgspec.json.decode(definition)
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


class Memory:
    """Reads the file once; `write` after changes. A file that cannot be read is begun anew."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._servers: dict[str, Known] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._servers = msgspec.json.decode(file.read_bytes(), type=dict[str, Known])

    @property
    def servers(self) -> Mapping[str, Known]:
        return self._servers

    def tools(self, server: str) -> Known:
        return self._servers.get(server, {})

    def changes(self, server: str, tools: Mapping[str, Raw]) -> list[Change]:
        """What is different from what is remembered. A tool that is new is no change."""
        known = self.tools(server)
        compared = [(name, known[name].sha256, digest(raw)) for name, raw in tools.items() if name in known]
        return [Change(name, before, now) for name, before, now in compared if before != now]

    def accept(self, server: str, tools: Mapping[str, Raw], *, keep: Iterable[str] = ()) -> bool:
        """Remember these and no others, but `keep` what is remembered of some. Whether anything is different now."""
        known, kept = self.tools(server), frozenset(keep)
        accepted: Known = {}
        for name, raw in tools.items():
            before = known.get(name)
            now = digest(raw)
            if before is not None and (name in kept or before.sha256 == now):
                accepted[name] = before
            else:
                accepted[name] = Definition(now, raw.copy(), before.sha256 if before is not None else "")
        self._servers[server] = accepted
        return {name: one.sha256 for name, one in accepted.items()} != {name: one.sha256 for name, one in known.items()}

    def forget(self, server: str) -> None:
        self._servers.pop(server, None)

    def write(self) -> None:
        """Raises OSError."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(self._servers))
        draft.replace(self._file)
