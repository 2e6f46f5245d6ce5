"""What goes to stdout: values as text, JSON or YAML."""

import json
import re
import sys
from collections.abc import Iterable, Mapping

import msgspec

from gz_cli.formats import Format
from gz_cli.terminal.ink import first_line

PAYLOAD_KEYS = ("response", "result", "content", "output")
"""Where the value that people want stands in a task's result; the first that is there and not null."""


def encode(value: object, form: Format) -> str:
    """A value for machines (json, yaml), or as people read it (text: strings as they are, the rest as JSON)."""
    if form is Format.YAML:
        import yaml  # 15 ms that only this format needs

        dumped = yaml.safe_dump(plain(value), allow_unicode=_takes_all(), sort_keys=False, default_flow_style=False)
        return dumped.rstrip("\n")
    if form is Format.JSON or not isinstance(value, str):
        encoded = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        return encoded if _takes_all() else _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], encoded)
    return _ORDERS.sub("\N{REPLACEMENT CHARACTER}", value) if sys.stdout.isatty() else value


_ORDERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
"""To a terminal. What a model or a server answered gives it none."""
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")


def _takes_all() -> bool:
    """Whether stdout can write every character. Where it cannot, data has escapes, so that nothing of it is lost."""
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")


def plain(value: object) -> object:
    """Structs and raw JSON as dicts, lists and scalars."""
    return msgspec.json.decode(msgspec.json.encode(value))


def payload(result: object) -> object:
    """What people want of a task's result: the text of an answer, not its envelope."""
    if isinstance(result, Mapping):
        for key in PAYLOAD_KEYS:
            if result.get(key) not in (None, ""):
                return result[key]
        if "result" in result:  # what a script was to give, and gave nothing
            return result["result"]
    return result


def short(value: object, width: int = 60) -> str:
    """A value in one line of at most `width` characters."""
    words = one_line(value)
    return words if len(words) <= width else words[: width - 1] + "…"


def one_line(value: object) -> str:
    """The first line of a text, everything else as JSON."""
    return first_line(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def named_values(values: Mapping[str, object]) -> str:
    """One value alone, as it is; several under their names."""
    if len(values) == 1:
        return encode(next(iter(values.values())), Format.TEXT)
    return "\n".join(_named(name, encode(value, Format.TEXT)) for name, value in values.items())


def results_text(results: Mapping[str, object], outputs: object, last: Iterable[str]) -> str:
    """What a workflow has to say: its outputs, else what its last tasks (those that none waits for) answered."""
    if isinstance(outputs, Mapping) and outputs:
        return named_values({str(name): payload(value) for name, value in outputs.items()})
    return named_values({name: payload(results[name]) for name in last if name in results})


def outputs_as(form: str, outputs: object) -> str:
    """Outputs as json, yaml or markdown; "" for another form, or where there are none."""
    if not isinstance(outputs, Mapping) or not outputs:
        return ""
    if form in ("json", "yaml"):
        return encode(outputs, Format(form))
    if form != "markdown":
        return ""
    return "\n\n".join(f"## {name}\n\n{encode(payload(value), Format.TEXT)}" for name, value in outputs.items())


def _named(name: str, text: str) -> str:
    return f"{name}:\n{text}\n" if "\n" in text else f"{name}: {text}"
