"""gz: from the command line to an exit code. Whatever goes wrong ends as one sentence on stderr."""

import gc
import io
import os
import signal
import sys

from gleitzeit import __version__

# The rest is imported in `run`: Ctrl-C in the meantime must not show a traceback.


OBJECTS = 50_000
"""Between collections: nearly all that importing allocates stays, and looking at it again and again is a tenth of a
short command."""


VERSION = ["--version"]


def run() -> None:
    """The console script."""
    _open_streams()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(OBJECTS)
    if _as_options(sys.argv[1:]) != VERSION:
        import gz_cli.app  # noqa: F401 - what takes its time

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = main(sys.argv[1:])
    _leave(code)


def _open_streams() -> None:
    """Those that were closed (`gz list >&-`): else the first socket would take their place, and a program that is
    started would print into it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[number]
        setattr(sys, name, os.fdopen(number, mode))
    os.close(number)


def main(arguments: list[str]) -> int:
    """The exit code. Usage errors have been told by typer; everything else is told here."""
    arguments = _with_output_file(_as_options(arguments))
    try:
        _require_text(arguments)
        if arguments == VERSION:  # nothing else is needed for it
            print(f"gz {__version__}")
        else:
            from gz_cli.app import app_for

            app_for(arguments)(arguments, prog_name="gz")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        from gz_cli.exits import BROKEN_PIPE

        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        import contextlib

        from gz_cli.exits import DEBUG, complaint
        from gz_cli.terminal.talk import complain

        if os.environ.get(DEBUG):
            import traceback

            traceback.print_exc()
        said = complaint(error)
        with contextlib.suppress(BrokenPipeError):  # nobody reads that, either
            complain(said)
        return said.code
    return 0


def _as_options(arguments: list[str]) -> list[str]:
    """`gz help run`, `gz version` and `gz list --json`, as other programs have them."""
    match arguments:
        case ["help", *words]:
            return [*words, "--help"]
        case ["version"]:
            return VERSION
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [word for at, one in enumerate(arguments) for word in (_JSON if one == "--json" and at < end else [one])]


_JSON = ["--output", "json"]


def _require_text(arguments: list[str]) -> None:
    """Raises UsageError for bytes that are no text in this locale, unless they name a file: nothing else could be done
    with them."""
    for word in arguments:
        if not word.isascii() and any("\ud800" <= one <= "\udfff" for one in word) and not os.path.lexists(word):
            from gz_cli.exits import UsageError

            encoding = sys.getfilesystemencoding().upper()
            raise UsageError(f"{os.fsencode(word)!r} is no text in {encoding}, which this shell's locale says")


def _with_output_file(arguments: list[str]) -> list[str]:
    """`run FILE --output result.json` was how earlier versions wrote a result to a file."""
    words = list(arguments)
    for at, word in enumerate(words[:-1]):
        if word == "--output" and {"run", "submit"} & set(words[:2]) and "." in words[at + 1]:
            words[at] = "--output-file"
    return words


def _leave(code: int) -> None:
    """Exit, quietly also where nobody reads what was printed (`gz list | head -1`)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        from gz_cli.exits import BROKEN_PIPE

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or BROKEN_PIPE
    sys.exit(code)
