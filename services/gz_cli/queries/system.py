"""The commands that ask about the system: each prints one answer on stdout and returns an exit code."""

from collections.abc import Sequence

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import CoordinatorRow, ProviderView, SystemStatus
from gleitzeit.model.events import WORKFLOW_FINAL
from gleitzeit.spec.durations import how_soon
from gleitzeit.spec.urls import shown
from gz_cli import exits
from gz_cli.formats import Format
from gz_cli.terminal.durations import duration
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import fitted, pairs
from gz_cli.terminal.talk import put, say

WHAT_TO_DO = "`gz journal check` says what is damaged; its document can be submitted again"


async def status(client: Coordinator, output: Format) -> int:
    found = await client.status()
    if output is Format.ID:
        put(found.instance)
    else:
        put(_words(found) if output is Format.TEXT else encode(found, output))
    return exits.OK


async def providers(client: Coordinator, output: Format, name: str = "") -> int:
    """All of them, or those of this name or instance. Raises ProviderNotFound."""
    listed = await client.provider_list()
    found = [one for one in listed.providers if name in ("", one.name, one.instance)]
    if name and not found:
        await client.provider(name)  # which says what there is, and what may be meant
    _show_providers(found, output)
    there = {one.name for one in listed.providers}
    for gone in (one for one in listed.drained if one not in there and not name):
        say(f"{gone} is drained, though none is there: one that starts gets no calls until `gz drain {gone} --undo`")
    if found and listed.coordinators > 1:
        say(f"running counts the calls of {shown(client.url)} alone, one of {listed.coordinators} coordinators")
    return exits.OK


async def drain(client: Coordinator, text: str, output: Format, *, undo: bool) -> int:
    """`text` is a name or an instance. Raises ProviderNotFound."""
    of_instance = next((one.name for one in await client.providers() if one.instance == text != one.name), None)
    if of_instance is None:
        drained = await client.drain(text, undo=undo)
    else:
        drained = await client.drain(of_instance, text, undo=undo)
    if drained.instances or output is not Format.TEXT:
        _show_providers(drained.instances, output)
    else:
        say(f"{text} is no longer drained; none of that name is there")
    return exits.OK


def _show_providers(found: Sequence[ProviderView], output: Format) -> None:
    if output is Format.ID:
        put("\n".join(provider.instance for provider in found))
    elif output is not Format.TEXT:
        put(encode(found, output))
    elif found:
        head = ("name", "status", "protocols", "methods", "running", "capacity", "paid once", "from", "url")
        put(
            "\n".join(
                [
                    fitted(head, [_provider_row(provider) for provider in found]),
                    *_circuit_words(found),
                    *_place_words(found),
                ]
            )
        )
    else:
        say("no providers; `gz up` starts some")


async def call(client: Coordinator, method: str, params: object, timeout_seconds: float | None, output: Format) -> int:
    """One of the coordinator's own methods; its whole answer."""
    answer = await client.call(method, params, timeout_seconds=timeout_seconds)
    put(encode(answer, Format.JSON if output in (Format.TEXT, Format.ID) else output))
    return exits.OK


def _provider_row(one: ProviderView) -> tuple[object, ...]:
    kept = "yes" if one.calls else "no"
    protocols, methods = ", ".join(one.protocols), len(one.methods)
    return (one.name, one.status, protocols, methods, one.running, one.capacity, kept, one.source, one.url)


def _circuit_words(found: Sequence[ProviderView]) -> list[str]:
    """A line for each method that is left alone for a while."""
    lines = []
    for one in found:
        for circuit in one.circuits:
            when = how_soon(circuit.retry_after_seconds) if circuit.state == "open" else "now"
            failed = f"{circuit.failures} failures in a row, tried again {when}"
            lines.append(f"circuit {circuit.state.replace('_', ' ')}: {circuit.method} at {one.name} ({failed})")
    return lines


def _place_words(found: Sequence[ProviderView]) -> list[str]:
    """A line for each whose capacity other coordinators use, too."""
    return [
        f"places at {one.name}: {one.places.ours} of {one.capacity} are this coordinator's, given out by"
        f" {one.places.given_by}"
        for one in found
        if one.places is not None and one.places.given_by and one.places.ours < (one.capacity or 0)
    ]


def _shards_words(row: CoordinatorRow, status: SystemStatus) -> str:
    here = ", this one" if row.instance == status.instance else ""
    return f"{row.shards} at {row.url or 'a coordinator that has just come'} ({row.instance}{here})"


def _words(status: SystemStatus) -> str:
    nats = status.nats
    active = {name: number for name, number in status.workflows.items() if number and name not in WORKFLOW_FINAL}
    workflows = ", ".join(f"{number:,} {name}" for name, number in active.items())
    head = pairs(
        [
            ("coordinator", status.url + (" (embedded)" if status.embedded else "")),
            ("version", status.version),
            ("process", str(status.pid)),
            ("up", duration(status.uptime_seconds) + (", draining" if status.draining else "")),
            ("journal", status.journal),
            (
                "nats",
                None if nats is None or not nats.url else nats.url + ("" if nats.connected else " (not connected)"),
            ),
            ("providers", status.providers),
            ("workflows", workflows or "none active; `gz list` shows all"),
            ("tasks", f"{status.queued:,} queued, {status.running:,} running"),
            *(("shards", _shards_words(row, status)) for row in status.coordinators),
        ]
    )
    advice = [WHAT_TO_DO] if any("is quarantined" in warning for warning in status.warnings) else []
    return "\n".join([head, *(f"warning: {warning}" for warning in status.warnings), *advice])
