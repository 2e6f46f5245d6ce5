"""`gz validate` and `gz graph`: documents, and nothing that runs."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gleitzeit.client import Client, Prepared
from gleitzeit.errors import ConnectionLost, DocumentError, Unauthorized
from gleitzeit.process.absent import NotRunning
from gleitzeit.process.reach import Reach, Target, running
from gleitzeit.schemas import Catalogue, builtin, compile_schema, explain
from gleitzeit.spec.load import load_text
from gleitzeit.spec.problems import Problem, from_wire, render
from gleitzeit.spec.subworkflows import templates_in
from gz_cli import editor, exits, schema_words
from gz_cli.documents import prepared, summary
from gz_cli.durations import counted
from gz_cli.formats import GraphFormat
from gz_cli.graph import draw
from gz_cli.output import short
from gz_cli.talk import put, say
from gz_cli.typed import Source

LONGEST = 40
"""Characters of a default that are told."""


def validate(files: Sequence[Path], state: Path, target: Callable[[], Target], *, by_schema: bool = False) -> int:
    """All problems of all documents on stderr, a line for each good one on stdout. What is remembered in the state
    folder of the tools of MCP servers is known; of templates a coordinator is asked, if one is at hand. `by_schema`:
    they must also be what editors take for good."""
    sources = [_read(file) for file in files]
    asks = [source is not None and _names_templates(source) for source in sources]
    reach = _at_hand(target()) if any(asks) else None
    told = [
        _good_asked(reach, source, by_schema=by_schema) if ask and reach is not None
        else _good(source, state, by_schema=by_schema)
        for source, ask in zip(sources, asks, strict=True)
    ]  # fmt: skip
    return _told(told)


def _told(checked: Sequence[Prepared | None]) -> int:
    """The exit code. Of a document that is good, and the only one, its inputs are told, too."""
    if len(checked) == 1 and (ready := checked[0]) is not None and ready.checked is not None:
        schema = msgspec.json.decode(ready.checked.inputs)
        for name, about, needed in schema_words.properties(schema):
            default = _as_typed(about["default"]) if "default" in about else "…"
            say(f"  -p {name}={default}  {schema_words.about(about, needed=needed)}".rstrip())
    return exits.OK if all(checked) else exits.USAGE


def _as_typed(value: object) -> str:
    """For a shell; of what is long only the beginning."""
    whole = isinstance(value, str) and len(value) <= LONGEST and "\n" not in value
    return shlex.quote(str(value) if whole else short(value, LONGEST))


def _names_templates(source: Source) -> bool:
    """Whether only a coordinator can know all that the document runs."""
    if not any(word in source.content for word in (b"workflow", b"template", b"agent")):
        return False
    try:
        return any(templates_in(load_text(source.content, lenient=True).value))
    except DocumentError:
        return False  # which will be said


def _at_hand(target: Target) -> Reach | None:
    try:
        return running(target)
    except NotRunning:
        return None


def _good_asked(reach: Reach, source: Source | None, *, by_schema: bool) -> Prepared | None:
    """By the coordinator; without it, if it does not answer."""
    import asyncio  # what other documents need not wait for

    from gz_cli.connect import connected

    async def asked() -> Prepared | None:
        async with connected(reach) as client:
            return await _good_there(client, source, by_schema=by_schema)

    try:
        return asyncio.run(asked())
    except (ConnectionLost, Unauthorized) as error:
        say(f"the coordinator cannot be asked: {error.message}")
        return _good(source, reach.target.state, by_schema=by_schema)


def _read(file: Path) -> Source | None:
    """None for what cannot be read, which is said: the other files are looked at all the same."""
    try:
        return Source(file)
    except OSError as error:
        say(exits.of_file(error))
        return None


def _good(source: Source | None, state: Path, *, by_schema: bool) -> Prepared | None:
    ready = prepared(source, catalogue=_catalogue(source, state)) if source is not None else None
    if ready is None or ready.checked is None or (by_schema and not _fits_schema(ready)):
        return None
    _put_good(ready)
    return ready


def _fits_schema(ready: Prepared) -> bool:
    """Whether an editor would mark nothing."""
    content = editor.schema()
    found = [Problem(one.path, one.message) for one in explain(compile_schema(content), ready.document.value, content)]
    if found:
        say(render(found, ready.document))
        say(summary(len(found), 0))
    return not found


def _catalogue(source: Source, state: Path) -> Catalogue | None:
    """None: what ships with us."""
    if b"mcp" not in source.content:
        return None
    from gleitzeit.mcp.memory import Memory, memory_file  # what other documents need not wait for
    from gleitzeit.mcp.tools import methods_of_servers

    return builtin().with_methods(methods_of_servers(Memory(memory_file(state)).servers))


async def validate_online(client: Client, files: Sequence[Path], *, by_schema: bool = False) -> int:
    """As `validate`; of a document without errors the coordinator has the say, which knows its providers' methods."""
    return _told([await _good_there(client, _read(file), by_schema=by_schema) for file in files])


async def _good_there(client: Client, source: Source | None, *, by_schema: bool) -> Prepared | None:
    ready = prepared(source, warn=False) if source is not None else None
    if ready is None or ready.checked is None:
        return None
    found = from_wire((await client.validate(ready.definition)).problems)
    if found:
        say(render(found, ready.document))
        wrong = sum(problem.severity == "error" for problem in found)
        say(summary(wrong, len(found) - wrong))
        if wrong:
            return None
    if by_schema and not _fits_schema(ready):
        return None
    _put_good(ready)
    return ready


def _put_good(ready: Prepared) -> None:
    assert ready.checked is not None
    put(f"{ready.document.name}: ok, {counted(len(ready.checked.tasks))}")


def graph(source: Source, form: GraphFormat) -> int:
    ready = prepared(source)
    if ready is None or ready.checked is None:
        return exits.USAGE
    put(draw(ready.checked, form))
    return exits.OK
