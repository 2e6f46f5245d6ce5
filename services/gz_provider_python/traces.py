"""What a user is shown of an exception: their own lines, and none of the machinery around them."""

import linecache
import sysconfig
import traceback
from collections.abc import Iterator

MOST_CHARACTERS = 16_384
"""Of each text of a failure: it is journaled, and read by people."""

_PATHS = sysconfig.get_paths()
_FOREIGN = (*(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen ")
_OWN_PACKAGE = __name__.rpartition(".")[0]


def remember_source(filename: str, source: str) -> None:
    """Let tracebacks show lines of a script that is in no file."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def describe(error: BaseException) -> str:
    """`ValueError: the message`, as the last line of a traceback has it."""
    return "".join(traceback.format_exception_only(error)).strip()


def trimmed(error: BaseException, *, limit_lines: int = 200) -> str:
    """The traceback of `error` and of what caused it, with the frames of the library and of ourselves left out."""
    told = traceback.TracebackException.from_exception(error, compact=True, limit=None)
    for part in _chain(told):
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if _is_own(frame)])
    lines = "".join(told.format()).splitlines()
    if len(lines) > limit_lines:
        half = limit_lines // 2
        lines[half:-half] = [f"  … {len(lines) - limit_lines} lines left out …"]
    return "\n".join(lines)


def bounded(text: str) -> str:
    """Without surrogates, which are no Unicode, and of a very long text the beginning and the end."""
    if len(text) > MOST_CHARACTERS:
        half = MOST_CHARACTERS // 2
        text = f"{text[:half]} … {len(text) - 2 * half:,} characters left out … {text[-half:]}"
    return text.encode(errors="backslashreplace").decode()


def last_line(error: BaseException) -> int:
    """The line number where the author's code was when it failed; 0 if none of theirs ran."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame)]
    return (frames[-1].lineno or 0) if frames else 0


def _is_own(frame: traceback.FrameSummary) -> bool:
    if frame.filename.startswith(_FOREIGN):
        return False
    return f"/{_OWN_PACKAGE}/" not in frame.filename and "/gleitzeit/spec/" not in frame.filename


def _chain(error: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    while error is not None:
        yield error
        for member in error.exceptions or ():
            yield from _chain(member)
        error = error.__cause__ or error.__context__
