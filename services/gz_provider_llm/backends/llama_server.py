"""llama.cpp's own server in a process of its own, by the `xllamacpp` package: `python -m` with this module.

A process and not a thread: inference takes all the cores that it gets, a broken model file may end the process, and
what the C++ side holds is given back for certain only when its process ends. It speaks the OpenAI wire on 127.0.0.1,
announces its address as every service does, and ends when whoever started it is gone.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.ready import announce_ready

API_KEY = "GLEITZEIT_LLAMA_KEY"
"""The variable with the key that requests must bear; arguments can be read by every user of the machine."""

_QUIET, _TALKATIVE = 1, 3  # llama.cpp's verbosity: errors only; every request
_MEAN_POOLING = 1


def run() -> None:
    """Until SIGTERM, or the end of the parent. Exits with 2 for a model that cannot be loaded."""
    options = _parser().parse_args()
    try:
        asyncio.run(_serve(options))
    except RuntimeError:  # why, llama.cpp has said itself
        print(f"{options.model} cannot be loaded", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llama_server", description="Serve a GGUF file on the OpenAI wire.")
    add = parser.add_argument
    add("--model", metavar="FILE", type=Path, required=True)
    add("--mmproj", metavar="FILE", type=Path, help="the projector for images that belongs to the model")
    add("--alias", metavar="NAME", help="what the model is called (default: its file, without .gguf)")
    add("--context", metavar="TOKENS", type=int, default=0, help="for all requests at once (default: the model's)")
    add("--parallel", metavar="N", type=int, default=1, help="requests at once")
    add("--threads", metavar="N", type=int, help="for inference (default: one for each core)")
    add("--gpu-layers", metavar="N", type=int, help="default: as many as fit")
    add("--embedding", action="store_true", help="serve embeddings, and nothing else")
    add("--verbose", action="store_true")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    with Lifetime() as lifetime:
        # In a thread, because it may take minutes, in which our own end must be noticed.
        loading = asyncio.get_running_loop().run_in_executor(None, _start, options)
        end = asyncio.create_task(lifetime.drain.wait())
        await asyncio.wait((loading, end), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            server = await loading
            announce_ready(server.listening_address)
        await end
    sys.stderr.flush()
    os._exit(0)  # otherwise the C++ side would finish what runs, for which nobody waits


def _start(options: argparse.Namespace) -> Any:
    from xllamacpp import CommonParams, Server  # deferred: an extra, and 60 ms

    params = CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias or options.model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.api_keys = [os.environ.pop(API_KEY)] if API_KEY in os.environ else []
    params.verbosity = _TALKATIVE if options.verbose else _QUIET
    params.n_ctx = options.context
    params.n_parallel = options.parallel
    params.cpuparams.poll = params.cpuparams_batch.poll = 0  # who waits, sleeps: the cores have other work, too
    params.kv_unified = True  # a long request may use what the others leave
    if options.mmproj is not None:
        params.mmproj.path = str(options.mmproj)
    if options.threads is not None:
        params.cpuparams.n_threads = options.threads
    if options.gpu_layers is not None:
        params.n_gpu_layers = options.gpu_layers
    if options.embedding:
        from xllamacpp import llama_pooling_type

        params.embedding = True
        params.pooling_type = llama_pooling_type(_MEAN_POOLING)
    return Server(params)


if __name__ == "__main__":
    run()
