"""A command as an author writes it, in words, by the rules that a POSIX shell has for quotes. No shell sees it."""

import re
from typing import Final

_FOR_A_SHELL: Final = ("|", "||", "&", "&&", ";", "(", ")")
_REDIRECTION: Final = re.compile(r"(?:\d*|&)>>?(?!=)|<{1,3}[^<>]*$")
_PIECE: Final = re.compile(
    r"""
    (?P<space> [ \t\r\n]+ )
  | (?P<joint> \\\n )
  | ' (?P<single> [^']* ) '
  | " (?P<double> (?: [^"\\] | \\. )* ) "
  | \\ (?P<escaped> . )
  | (?P<bare> [^ \t\r\n'"\\]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED: Final = "\0"
"""Stands for a quoted piece where only what is not quoted counts."""


def split(line: str) -> list[str]:
    """Raises ValueError, with a message for the author, for an open quote and for what only a shell understands."""
    words: list[str] = []
    bare: list[str] = []
    within, at = False, 0
    while at < len(line):
        piece = _PIECE.match(line, at)
        if piece is None:
            what = "a backslash has nothing behind it" if line[at] == "\\" else "No closing quotation"
            raise ValueError(f"the command cannot be split into words: {what}")
        at = piece.end()
        if piece["space"] or piece["joint"]:
            within = within and not piece["space"]
            continue
        if not within:
            words.append("")
            bare.append("")
            within = True
        words[-1] += _meant(piece)
        bare[-1] += piece["bare"] or _QUOTED
    _check(words, bare)
    return words


def _meant(piece: re.Match[str]) -> str:
    if piece["double"] is not None:
        return re.sub(r'\\(["\\])', r"\1", piece["double"].replace("\\\n", ""))
    return piece["single"] or piece["escaped"] or piece["bare"] or ""


def _check(words: list[str], bare: list[str]) -> None:
    for number, (word, shown) in enumerate(zip(bare, words, strict=True), 1):
        if word in _FOR_A_SHELL or _REDIRECTION.match(word) or (word.endswith(";") and number < len(words)):
            message = f"{shown!r} means something to a shell only: say shell: true, or use shell/pipe"
            raise ValueError(message)
