"""`gz init` and `gz schema`: a document to begin with, and what an editor must know of documents."""

from pathlib import Path
from shlex import quote

import msgspec

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.spec.loading.scalars import in_curly_quotes
from gz_cli import exits
from gz_cli.documents import editor, starters
from gz_cli.exits import UsageError
from gz_cli.terminal.talk import put, say


def init(name: str, kind: str, state: Path, *, force: bool) -> int:
    """Write NAME.yaml, and the schema that its first line names, unless the state folder can hold none. Raises
    UsageError."""
    file = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    title = file.stem if file.suffix else ""
    if not any(one.isalnum() for one in title) or not title.isprintable() or title != title.strip():
        raise UsageError(f"{name!r} is no name: it needs a letter or a digit, and no space around it")
    if in_curly_quotes(title):
        raise UsageError(f"{name!r} is no name: {title[0]} and {title[-1]} would be letters of it; quotes are \" or '")
    if file.exists() and not force:
        raise UsageError(f"{file} is there already; --force writes over it")
    schema = (state / editor.FILE).absolute()
    named: str | None = schema.as_uri()
    try:
        if not schema.exists():
            editor.write(editor.schema(), schema)
    except OSError as error:
        named = None
        say(f"warning: the editor is not told how to complete it: {exits.of_file(error)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(starters.document(kind, title, named), encoding="utf-8")
    allow = " --allow-shell" if kind == "shell" else ""
    model = ", with another model by -p model=NAME (`gz models` lists them)" if kind in ("llm", "mixed") else ""
    say(f"{file} is written; `gz run {quote(str(file))}{allow}` runs it{model}")
    put(str(file))
    return exits.OK


def schema(state: Path, *, save: bool) -> int:
    """Of what ships with us."""
    return _tell(editor.schema(), state, save=save)


async def schema_online(client: Coordinator, state: Path, *, save: bool) -> int:
    """With the methods that are alive."""
    return _tell(editor.schema(await editor.alive(client)), state, save=save)


def _tell(content: dict[str, object], state: Path, *, save: bool) -> int:
    if not save:
        put(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())
        return exits.OK
    file = state / editor.FILE
    editor.write(content, file)
    say(f"first line of a document: # yaml-language-server: $schema={file.absolute().as_uri()}")
    put(str(file))
    return exits.OK
