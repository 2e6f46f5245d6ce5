"""Where a script is."""

import os
from collections.abc import Iterable
from pathlib import Path

EXAMPLES = Path("examples/scripts")
"""Documents of earlier versions name their scripts without a directory."""


class ScriptNotFound(Exception):
    """The message lists every place that was looked at."""


def find_file(name: str, folders: Iterable[Path]) -> Path:
    """The file of that name: where it says, if it is absolute, else in the first of `folders` that has it."""
    path = Path(os.path.expanduser(name))
    places = [path] if path.is_absolute() else list(dict.fromkeys(folder / path for folder in folders))
    for place in places:
        if place.is_file():
            return place.absolute()
    looked = "\n".join(f"  {place.absolute()}" for place in places)
    raise ScriptNotFound(f"there is no script {name}; looked at\n{looked}")
