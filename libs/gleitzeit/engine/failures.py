"""What strangers say of a failure, bounded: it is journaled with every attempt, sent to watchers, and read by people.

An error that made its event larger than a message would never reach those who wait for it, and one page of them would
fit into no frame.
"""

import msgspec
from msgspec import Raw

from gleitzeit.model import events as ev

MESSAGE_CHARACTERS = 16_384
DATA_BYTES = 128 << 10
FIELD_CHARACTERS = 16_384
"""Of a text in data that is too large."""
SHOWN_MESSAGE_CHARACTERS = 2_048
"""In a page with a thousand others, and so on."""
SHOWN_DATA_BYTES = 4_096
SHOWN_FIELD_CHARACTERS = 1_024
_json = msgspec.json.Encoder().encode


def bounded(message: str, data: Raw | None) -> tuple[str, Raw | None]:
    """As it is kept. `data` must be JSON that can be read."""
    kept = None if data is None else _smaller(data, DATA_BYTES, FIELD_CHARACTERS)
    return beginning(message, MESSAGE_CHARACTERS), kept


def shown(error: ev.Failure) -> ev.Failure:
    """As it stands in a page."""
    return msgspec.structs.replace(
        error,
        message=beginning(error.message, SHOWN_MESSAGE_CHARACTERS),
        data=_smaller(error.data, SHOWN_DATA_BYTES, SHOWN_FIELD_CHARACTERS),
    )


def beginning(message: str, characters: int = SHOWN_MESSAGE_CHARACTERS) -> str:
    left_out = len(message) - characters
    return message if left_out <= 0 else f"{message[:characters]}… ({left_out:,} characters more)"


def _smaller(data: Raw, limit: int, characters: int) -> Raw:
    """Its small members first: they say what to do about the error. Of a long text its end, where the reason is."""
    if len(data) <= limit:
        return data
    try:
        members = msgspec.json.decode(data, type=dict[str, Raw])
    except msgspec.MsgspecError:
        return _omitted(data)
    kept: dict[str, Raw] = {}
    room = limit - len("{}")
    for name, value in sorted(members.items(), key=lambda member: len(member[1])):
        short = _shorter(value, characters)
        room -= len(_json(name)) + len(short) + len(":,")
        if room < 0:
            break
        kept[name] = short
    return Raw(_json(kept))


def _shorter(value: Raw, characters: int) -> Raw:
    if len(value) <= characters:
        return value
    try:
        text = msgspec.json.decode(value, type=str)
    except msgspec.MsgspecError:
        return _omitted(value)
    return Raw(_json(text if len(text) <= characters else f"…{text[-characters:]}"))


def _omitted(value: Raw) -> Raw:
    return Raw(b'{"$omitted_bytes":%d}' % len(value))
