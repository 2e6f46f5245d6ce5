"""What is said to a person, on stderr; stdout is for data."""

import sys

from gz_cli.exits import Complaint
from gz_cli.terminal.ink import Ink, clean
from gz_cli.terminal.screen import has_colour


def say(text: str) -> None:
    """Words that may have several lines; none of them may move the cursor."""
    for line in text.splitlines():
        print(clean(line), file=sys.stderr)
    sys.stderr.flush()


def complain(complaint: Complaint) -> None:
    """`gz: what happened`, and below it what to do."""
    ink = Ink(colour=has_colour(sys.stderr))
    first, *rest = complaint.sentence.splitlines() or [""]
    print(ink.line([("gz: ", "red"), (first, "")]), file=sys.stderr)
    say("\n".join([*rest, complaint.advice]))


def put(text: str) -> None:
    """Data, to stdout."""
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    sys.stdout.flush()
