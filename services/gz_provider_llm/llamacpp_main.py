"""`gz-provider-llamacpp`: llm/v1 by a GGUF file, without any server to set up."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Final

from gleitzeit.errors import ConfigurationError
from gleitzeit.provider import Provider
from gleitzeit.provider.process import positive
from gz_provider_llm.backends.llamacpp import CONTEXT_TOKENS, PARALLEL, LlamaCpp, Settings, check
from gz_provider_llm.methods import build
from gz_provider_llm.options import default_idle_timeout, long_silence, parser_for, serve, settings_of

VARIABLE: Final = "GLEITZEIT_GGUF"
IDLE_TIMEOUT_SECONDS: Final = 300.0
"""A long prompt takes a processor its time."""


def provider(options: Namespace) -> Provider:
    """Raises ConfigurationError without a file, without xllamacpp, and for a file that is no model."""
    if options.model is None:
        raise ConfigurationError(f"no model: give --model FILE.gguf, or name the file by {VARIABLE}")
    file = options.model.expanduser().absolute()
    settings = Settings(
        file=file,
        alias=options.alias or file.stem,
        mmproj=options.mmproj and options.mmproj.expanduser().absolute(),
        context=options.context,
        parallel=options.capacity or PARALLEL,
        threads=options.threads,
        gpu_layers=options.gpu_layers,
        idle_timeout_seconds=options.idle_timeout,
        long_silence_seconds=long_silence(options, IDLE_TIMEOUT_SECONDS),
    )
    check(settings)
    return build(LlamaCpp(settings), settings_of(options))


def parser() -> ArgumentParser:
    described = parser_for("llamacpp", PARALLEL)
    described.set_defaults(idle_timeout=default_idle_timeout(IDLE_TIMEOUT_SECONDS))
    add = described.add_argument_group("llama.cpp").add_argument
    given = os.environ.get(VARIABLE)
    default = Path(given) if given else None
    add("--model", metavar="FILE", type=Path, default=default, help=f"a GGUF file (default: {VARIABLE})")
    add(
        "--mmproj", metavar="FILE", type=Path, help="the projector for images that belongs to the model, for llm/vision"
    )
    add("--alias", metavar="NAME", help="what tasks call the model (default: its file, without .gguf)")
    add(
        "--context", metavar="TOKENS", type=_count, default=CONTEXT_TOKENS,
        help="shared by the calls that run at once; 0: as much as the model can (default %(default)s)",
    )  # fmt: skip
    add("--threads", metavar="N", type=positive, help="for inference (default: one for each core)")
    add("--gpu-layers", metavar="N", type=_count, help="how much of the model is given to the GPU (default: what fits)")
    return described


def run() -> None:
    """The console script `gz-provider-llamacpp`."""
    serve("llamacpp", provider, parser().parse_args())


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


if __name__ == "__main__":
    run()
