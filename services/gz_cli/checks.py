"""`gz validate` and `gz graph`: documents, and nothing that runs."""

from collections.abc import Sequence
from pathlib import Path

from gleitzeit.client import Client, Prepared
from gleitzeit.schemas import Catalogue, builtin
from gleitzeit.spec.problems import from_wire, render
from gz_cli import exits
from gz_cli.documents import prepared, summary
from gz_cli.formats import GraphFormat
from gz_cli.graph import draw
from gz_cli.talk import put, say
from gz_cli.typed import Source


def validate(files: Sequence[Path], state: Path) -> int:
    """All problems of all documents on stderr, a line for each good one on stdout. What is remembered in the state
    folder of the tools of MCP servers is known."""
    good = [_is_good(_read(file), state) for file in files]
    return exits.OK if all(good) else exits.USAGE


def _read(file: Path) -> Source | None:
    """None for what cannot be read, which is said: the other files are looked at all the same."""
    try:
        return Source(file)
    except OSError as error:
        say(exits.of_file(error))
        return None


def _is_good(source: Source | None, state: Path) -> bool:
    ready = prepared(source, catalogue=_catalogue(source, state)) if source is not None else None
    if ready is None or ready.checked is None:
        return False
    _put_good(ready)
    return True


def _catalogue(source: Source, state: Path) -> Catalogue | None:
    """None: what ships with us."""
    if b"mcp" not in source.content:
        return None
    from gleitzeit.mcp.memory import Memory, memory_file  # what other documents need not wait for
    from gleitzeit.mcp.tools import methods_of_servers

    return builtin().with_methods(methods_of_servers(Memory(memory_file(state)).servers))


async def validate_online(client: Client, files: Sequence[Path]) -> int:
    """As `validate`; of a document without errors the coordinator has the say, which knows its providers' methods."""
    good = [await _is_good_there(client, _read(file)) for file in files]
    return exits.OK if all(good) else exits.USAGE


async def _is_good_there(client: Client, source: Source | None) -> bool:
    ready = prepared(source, warn=False) if source is not None else None
    if ready is None or ready.checked is None:
        return False
    found = from_wire((await client.validate(ready.definition)).problems)
    if found:
        say(render(found, ready.document))
        wrong = sum(problem.severity == "error" for problem in found)
        say(summary(wrong, len(found) - wrong))
        if wrong:
            return False
    _put_good(ready)
    return True


def _put_good(ready: Prepared) -> None:
    assert ready.checked is not None
    number = len(ready.checked.tasks)
    put(f"{ready.document.name}: ok, {number:,} task{'s' * (number != 1)}")


def graph(source: Source, form: GraphFormat) -> int:
    ready = prepared(source)
    if ready is None or ready.checked is None:
        return exits.USAGE
    put(draw(ready.checked, form))
    return exits.OK
