"""What nobody else may see, as it is given: typed unseen, or from a file or stdin; never on the command line."""

import getpass
import sys
from pathlib import Path

from gz_cli.exits import UsageError, of_file
from gz_cli.typed import STDIN, Source

MOST_BYTES = 1 << 20


def given(what: str, prompt: str, file: Path | None) -> str:
    """The whole of it, without the end of its last line. `what` it is stands in the complaints. Raises UsageError."""
    text = getpass.getpass(f"{prompt}: ") if file is None and sys.stdin.isatty() else _read(what, file)
    if not text.strip():
        raise UsageError(f"there is no {what}: it is read from --file, typed, or read from stdin")
    return text


def _read(what: str, file: Path | None) -> str:
    try:
        content = Source(file if file is not None else Path(STDIN)).content
        if len(content) > MOST_BYTES:
            raise UsageError(f"that is no {what}: it has more than {MOST_BYTES:,} bytes")
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError(f"a {what} is a text in UTF-8") from None
    except OSError as error:
        raise UsageError(of_file(error)) from None
