"""`gz validate` and `gz graph`: documents, and nothing that runs."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.client import Prepared
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.errors import ConnectionLost, DocumentError, Unauthorized
from gleitzeit.process.absent import NotRunning
from gleitzeit.process.reach import Reach, Target, running
from gleitzeit.schemas import Catalogue, builtin, compile_schema, explain
from gleitzeit.spec.files.subworkflows import templates_in
from gleitzeit.spec.loading.load import Document, load_text
from gleitzeit.spec.problems import Problem, from_wire, show_path
from gz_cli import exits
from gz_cli.documents import editor, schema_words
from gz_cli.documents.reading import Checked, checked, prepared, say_found, with_problems
from gz_cli.drawing.graph import draw
from gz_cli.formats import Format, GraphFormat
from gz_cli.terminal.durations import counted
from gz_cli.terminal.output import encode, short
from gz_cli.terminal.talk import put, say
from gz_cli.typed import Source

LONGEST = 40
"""Characters of a default that are told."""


def validate(
    files: Sequence[Path], state: Path, target: Callable[[], Target], output: Format, *, by_schema: bool = False
) -> int:
    """All problems of all documents. What is remembered in the state folder of the tools of MCP servers is known; of
    templates a coordinator is asked, if one is at hand. `by_schema`: they must also be what editors take for good."""
    sources = [_read(file) for file in files]
    asks = [isinstance(source, Source) and _names_templates(source) for source in sources]
    reach = _at_hand(target()) if any(asks) else None
    return _told(
        (
            _good_asked(reach, source, by_schema=by_schema)
            if ask and reach is not None
            else _good(source, state, by_schema=by_schema)
            for source, ask in zip(sources, asks, strict=True)
        ),
        output,
    )


class Finding(Struct, frozen=True):
    """`line` and `column` count from 1; None: it has no place in the text, only its `path`."""

    file: str
    line: int | None
    column: int | None
    level: str
    message: str
    hint: str | None
    path: str


def _told(found: Iterable[Checked], output: Format) -> int:
    """The exit code. As text, problems go to stderr and a line for each good document to stdout; of one that is the
    only one, its inputs are told, too. As an id, the names of the good ones."""
    told = []
    for one in found:
        told.append(one)
        if output is Format.TEXT:
            say_found(one)
        if output in (Format.TEXT, Format.ID) and one.ready is not None:
            put(one.document.name if output is Format.ID else f"{one.document.name}: ok, {_tasks(one)}")
    if output is Format.TEXT and len(told) == 1 and told[0].ready is not None:
        _say_inputs(told[0].ready)
    elif output in (Format.JSON, Format.YAML):
        put(encode([_finding(one.document.name, problem) for one in told for problem in one.problems], output))
    return exits.OK if all(one.ready is not None for one in told) else exits.USAGE


def _tasks(good: Checked) -> str:
    assert good.ready is not None
    assert good.ready.checked is not None
    return counted(len(good.ready.checked.tasks))


def _finding(file: str, problem: Problem) -> Finding:
    hint, where = problem.suggestion or None, show_path(problem.path)
    return Finding(file, problem.line or None, problem.column or None, problem.severity, problem.message, hint, where)


def _say_inputs(ready: Prepared) -> None:
    assert ready.checked is not None
    schema = msgspec.json.decode(ready.checked.inputs)
    for name, about, needed in schema_words.properties(schema):
        default = _as_typed(about["default"]) if "default" in about else "…"
        say(f"  -p {name}={default}  {schema_words.about(about, needed=needed)}".rstrip())


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


def _good_asked(reach: Reach, source: Source | Checked, *, by_schema: bool) -> Checked:
    """By the coordinator; without it, if it does not answer."""
    import asyncio  # what other documents need not wait for

    from gz_cli.connect import connected

    async def asked() -> Checked:
        async with connected(reach) as client:
            return await _good_there(client, source, by_schema=by_schema)

    try:
        return asyncio.run(asked())
    except (ConnectionLost, Unauthorized) as error:
        say(f"the coordinator cannot be asked: {error.message}")
        return _good(source, reach.target.state, by_schema=by_schema)


def _read(file: Path) -> Source | Checked:
    """That a file cannot be read is a finding: the other files are looked at all the same."""
    try:
        return Source(file)
    except OSError as error:
        unread = Problem((), error.strerror or str(error))
        return Checked(Document(str(file), "", None), (unread,), None)


def _good(source: Source | Checked, state: Path, *, by_schema: bool) -> Checked:
    if isinstance(source, Checked):
        return source
    found = checked(source, catalogue=_catalogue(source, state))
    return _by_schema(found) if by_schema else found


def _by_schema(found: Checked) -> Checked:
    """What can be run, but an editor would mark, is not good."""
    if found.ready is None:
        return found
    content = editor.schema()
    marked = [Problem(one.path, one.message) for one in explain(compile_schema(content), found.document.value, content)]
    return with_problems(found, marked)


def _catalogue(source: Source, state: Path) -> Catalogue | None:
    """None: what ships with us."""
    if b"mcp" not in source.content:
        return None
    from gleitzeit.mcp.memory import Memory, memory_file  # what other documents need not wait for
    from gleitzeit.mcp.tools import methods_of_servers

    return builtin().with_methods(methods_of_servers(Memory(memory_file(state)).servers))


async def validate_online(
    client: Coordinator, files: Sequence[Path], output: Format, *, by_schema: bool = False
) -> int:
    """As `validate`; of a document without errors the coordinator has the say, which knows its providers' methods."""
    return _told([await _good_there(client, _read(file), by_schema=by_schema) for file in files], output)


async def _good_there(client: Coordinator, source: Source | Checked, *, by_schema: bool) -> Checked:
    found = checked(source) if isinstance(source, Source) else source
    if found.ready is None:
        return found
    said = from_wire((await client.validate(found.ready.definition)).problems)
    found = with_problems(replace(found, problems=found.ready.of_files), said)
    return _by_schema(found) if by_schema else found


def graph(source: Source, form: GraphFormat) -> int:
    ready = prepared(source)
    if ready is None or ready.checked is None:
        return exits.USAGE
    put(draw(ready.checked, form))
    return exits.OK
