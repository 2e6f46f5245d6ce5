"""`gz template`: documents that the coordinator keeps."""

import asyncio
from collections.abc import Mapping

from gleitzeit.client import Prepared
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.templates import TemplateView
from gleitzeit.errors import DocumentError
from gleitzeit.process.reach import dismiss
from gleitzeit.spec.loading.load import load_object
from gz_cli import exits
from gz_cli.connect import connected
from gz_cli.documents.reading import prepared, say_problems
from gz_cli.following.waits import Wait, wait
from gz_cli.formats import Format
from gz_cli.launch import Reach
from gz_cli.starting.starts import put_submitted, say_warnings
from gz_cli.terminal.ink import first_line
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import fitted
from gz_cli.terminal.talk import put, say
from gz_cli.typed import Inputs, Source


def keep(reach: Reach, source: Source, name: str | None, output: Format) -> int:
    ready = prepared(source, warn=False)
    if ready is None:
        dismiss(reach)
        return exits.USAGE
    return asyncio.run(_keep(reach, ready, name, output))


async def _keep(reach: Reach, ready: Prepared, name: str | None, output: Format) -> int:
    async with connected(reach) as client:
        try:
            await client.bring(ready.files)
            kept = await client.templates.put(ready.definition, name=name)
        except DocumentError as error:
            say_problems(error, ready.document)
            return exits.USAGE
    say_warnings(ready, kept.warnings, ())
    if output is Format.TEXT:
        put(f"{kept.name}@{kept.version}" + ("" if kept.created else " says the same already"))
        say(f"`gz template run {kept.name}` runs it")
    else:
        put(f"{kept.name}@{kept.version}" if output is Format.ID else encode(kept, output))
    return exits.OK


async def listed(client: Coordinator, output: Format) -> int:
    found = await client.templates.list()
    if output is Format.ID:
        put("\n".join(one.name for one in found))
    elif output is not Format.TEXT:
        put(encode(found, output))
    elif found:
        rows = [(one.name, one.version, one.tasks_total, _inputs(one), first_line(one.description)) for one in found]
        put(fitted(("name", "version", "tasks", "inputs", "description"), rows))
    else:
        say("no templates; `gz template put FILE` stores one")
    return exits.OK


def _inputs(one: TemplateView) -> str:
    """The names of what a run may give; what may be left out in brackets."""
    schema = one.inputs if isinstance(one.inputs, dict) else {}
    required = schema.get("required", [])
    return ", ".join(name if name in required else f"[{name}]" for name in schema.get("properties", {}))


async def document(client: Coordinator, name: str, output: Format) -> int:
    """As YAML, if nothing else is wanted: so that it can be changed and put again."""
    found = await client.templates.get(name)
    if output is Format.ID:
        put(f"{found.name}@{found.version}")
    else:
        put(encode(found.definition, Format.YAML) if output is Format.TEXT else encode(found, output))
    return exits.OK


async def forget(client: Coordinator, name: str, output: Format) -> int:
    version = await client.templates.delete(name)
    if output is Format.TEXT:
        put(f"{name} is deleted, {version} version{'s' * (version != 1)}")
    else:
        put(name if output is Format.ID else encode({"name": name, "version": version}, output))
    return exits.OK


async def run(client: Coordinator, name: str, typed: Inputs, how: Wait, *, key: str | None, detach: bool) -> int:
    """The version whose types the inputs were read by is the one that is run."""
    inputs: Mapping[str, object] = typed.values
    if typed.texts:
        found = await client.templates.get(name)
        name, inputs = f"{found.name}@{found.version}", typed.by(found.inputs or {})
    try:
        submitted = await client.templates.run(name, inputs=inputs, idempotency_key=key)
    except DocumentError as error:
        stored = await client.templates.get(name)
        say_problems(error, load_object(stored.definition, name=f"{stored.name}@{stored.version}"))
        return exits.USAGE
    if not submitted.created:
        say(f"the same was submitted before, as {submitted.workflow_id}")
    for warning in submitted.warnings:
        say(f"warning: {warning}")
    if detach:
        put_submitted(submitted, how.output)
        return exits.OK
    return await wait(client, submitted.workflow_id, how)
