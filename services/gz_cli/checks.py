"""`gz validate` and `gz graph`: documents, and nothing that runs."""

from collections.abc import Sequence

from gleitzeit.client import Client
from gleitzeit.spec.problems import from_wire, located, render
from gz_cli import exits
from gz_cli.documents import prepared, summary
from gz_cli.formats import GraphFormat
from gz_cli.graph import draw
from gz_cli.talk import put, say
from gz_cli.typed import Source


def validate(sources: Sequence[Source]) -> int:
    """All problems of all documents on stderr, a line for each good one on stdout."""
    good = [_is_good(source) for source in sources]
    return exits.OK if all(good) else exits.USAGE


def _is_good(source: Source) -> bool:
    ready = prepared(source)
    if ready is None or ready.checked is None:
        return False
    put(f"{source.name}: ok, {_tasks(len(ready.checked.tasks))}")
    return True


async def validate_online(client: Client, sources: Sequence[Source]) -> int:
    """As `validate`; a document that is good here is also shown to the coordinator, which knows more methods."""
    good = [await _is_good_there(client, source) for source in sources]
    return exits.OK if all(good) else exits.USAGE


async def _is_good_there(client: Client, source: Source) -> bool:
    ready = prepared(source)
    if ready is None or ready.checked is None:
        return False
    found = from_wire((await client.validate(ready.definition)).problems)
    new = [problem for problem in located(found, ready.document) if problem not in ready.problems]
    if new:
        say(render(new, ready.document))
        wrong = sum(problem.severity == "error" for problem in new)
        say(summary(wrong, len(new) - wrong))
        if wrong:
            return False
    put(f"{source.name}: ok, {_tasks(len(ready.checked.tasks))}")
    return True


def _tasks(number: int) -> str:
    return f"{number:,} task{'s' * (number != 1)}"


def graph(source: Source, form: GraphFormat) -> int:
    ready = prepared(source)
    if ready is None or ready.checked is None:
        return exits.USAGE
    put(draw(ready.checked, form))
    return exits.OK
