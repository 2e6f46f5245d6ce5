"""Which program serves a provider that a stack is to start. Light: names are looked at before anything is imported."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gleitzeit.errors import ConfigurationError
from gleitzeit.schemas.words import near

MODULES = {
    "echo": "gz_provider_echo",
    "python": "gz_provider_python",
    "http": "gz_provider_http",
    "shell": "gz_provider_shell",
    "mcp": "gz_provider_mcp",
    "validation": "gz_provider_validation",
    "ollama": "gz_provider_llm.ollama_main",
    "openai": "gz_provider_llm.openai_main",
    "anthropic": "gz_provider_llm.anthropic_main",
    "llamacpp": "gz_provider_llm.llamacpp_main",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def command_of(provider: str, environ: Mapping[str, str]) -> Sequence[str]:
    """The beginning of its command line. Raises ConfigurationError where there is no program for it."""
    if provider in MODULES:
        return (sys.executable, "-m", MODULES[provider])
    program = f"gz-provider-{provider}"
    folders = (environ.get("PATH", os.defpath), str(Path(sys.executable).parent))
    found = shutil.which(program, path=os.pathsep.join(folders)) if _NAME.fullmatch(provider) else None
    if found is None:
        known, meant = ", ".join(MODULES), near(provider, MODULES)
        did_you = f"; did you mean {meant!r}?" if meant else ""
        raise ConfigurationError(
            f"no provider {provider!r}: there is no {program} on PATH; built in are {known}{did_you}"
        )
    return (found,)


def require_all(providers: Iterable[str], environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError for the first that there is no program for."""
    for provider in providers:
        command_of(provider, environ)
