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
        if arguments == VERSION:  # nothing else is needed for it
            print(f"gz {__version__}")
        else:
            from gz_cli.app import app_for

            app_for(arguments)(arguments, prog_name="gz")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        from gz_cli.exits import DEBUG, complaint
        from gz_cli.terminal.talk import complain

        if os.environ.get(DEBUG):
            import traceback

            traceback.print_exc()
        said = complaint(error)
        complain(said)
        return said.code
    return 0


def _as_options(arguments: list[str]) -> list[str]:
    """`gz help run` and `gz version`, as other programs have them."""
    match arguments:
        case ["help", *words]:
            return [*words, "--help"]
        case ["version"]:
            return VERSION
    return arguments


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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
