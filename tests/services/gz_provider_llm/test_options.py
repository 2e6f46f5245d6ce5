"""The processes: where a key comes from, where it never shows, and how a start goes wrong."""

import asyncio
import os
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_server import Answer, answer, fake_server, sse, stream
from samples import STOP, chunk, end, ending, text

from gleitzeit.errors import ConfigurationError, GleitzeitError
from gleitzeit.process.children import Child, start_child
from gleitzeit.transport import connect
from gz_provider_llm import anthropic_main, ollama_main, openai_main
from gz_provider_llm.options import api_key, key_hint, long_silence, rates_of, server_hint, settings_of
from gz_provider_llm.transport.http import LONG_SILENCE_SECONDS

KEY = "sk-very-secret"
OPENAI_SAYS = stream(sse(chunk(content="hi"), end("stop")))
ANTHROPIC_SAYS = stream(sse(*text("hi"), ending("end_turn"), STOP))


def environment(**added: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "ANTHROPIC", "GLEITZEIT"))
    }
    return {**kept, **added}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)


def key(*arguments: str) -> str:
    return api_key(openai_main.parser().parse_args(list(arguments)))


def test_a_key_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert key() == ""
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("OTHER", "sk-other")
    assert key() == KEY
    assert key("--api-key-env", "OTHER") == "sk-other"
    (tmp_path / "key").write_text("sk-file\n")
    assert key("--api-key-file", str(tmp_path / "key")) == "sk-file"


def test_where_to_look_for_a_key_that_is_not_accepted(tmp_path: Path) -> None:
    def hint(*arguments: str) -> str:
        return key_hint(openai_main.parser().parse_args(list(arguments)))

    assert hint() == "The key comes from the environment variable OPENAI_API_KEY, which holds none"
    (tmp_path / "key").write_text(KEY)
    assert hint("--api-key-file", str(tmp_path / "key")) == f"The key comes from {tmp_path / 'key'}"


def test_where_to_look_for_a_url_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    default = openai_main.parser().parse_args([]).url
    assert server_hint(default, "OPENAI_BASE_URL") == "Is the server running, and is OPENAI_BASE_URL right?"
    assert server_hint("http://127.0.0.1:2", "OPENAI_BASE_URL") == "Is the server running, and is --url right?"


@pytest.mark.parametrize("content", [None, "", "two words", "\x00", b"\xff"])
def test_a_file_that_holds_no_key(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as caught:
        key("--api-key-file", str(file))
    assert "two words" not in caught.value.message


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/api/v3/", "http://127.0.0.1:8000/api/v3/"),
        ("http://127.0.0.1:8000?api-version=1", "http://127.0.0.1:8000/v1?api-version=1"),
        ("http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000/v1"),
        ("http://h/deployments/d/chat/completions?api-version=1", "http://h/deployments/d?api-version=1"),
    ],
)
def test_the_url(monkeypatch: pytest.MonkeyPatch, variable: str, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", variable)
    assert openai_main._api_url(openai_main.parser().parse_args([]).url) == url


@pytest.mark.parametrize(
    "url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/messages"]
)
def test_the_url_of_a_server_that_speaks_as_anthropic(url: str) -> None:
    assert anthropic_main._api_url(url) == "http://h:1"


@pytest.mark.parametrize(
    ("url", "key", "headers"),
    [
        ("https://api.openai.com/v1", "k", {"authorization": "Bearer k"}),
        ("https://x.openai.azure.com/openai/v1", "k", {"authorization": "Bearer k"}),
        ("https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21", "k", {"api-key": "k"}),
        ("https://x.openai.azure.com/openai/deployments/d?api-version=1", "eyJx", {"authorization": "Bearer eyJx"}),
        ("http://127.0.0.1:8000/v1", "", {}),
    ],
)
def test_how_the_key_is_shown(url: str, key: str, headers: dict[str, str]) -> None:
    assert openai_main._headers(url, key) == headers


@pytest.mark.parametrize("main", [openai_main, anthropic_main])
def test_the_makers_themselves_want_a_key(main: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"set \w+_API_KEY, or give --api-key-file"):
        main.provider(main.parser().parse_args([]))
    main.provider(main.parser().parse_args(["--url", "http://127.0.0.1:1"]))


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    default = settings_of(openai_main.parser().parse_args([]))
    assert (default.default_models, default.requests_per_minute, default.tokens_per_minute) == ({}, None, None)
    monkeypatch.setenv("GLEITZEIT_DEFAULT_MODEL", "m")
    made = settings_of(openai_main.parser().parse_args(["--rpm", "3", "--tpm", "500"]))
    assert made.default_models == {"chat": "m"}
    assert (made.requests_per_minute, made.tokens_per_minute) == ({"": 3}, {"": 500})


def test_how_long_a_silence_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = openai_main.parser().parse_args
    assert (long_silence(parse([])), long_silence(parse(["--idle-timeout", "5"]))) == (LONG_SILENCE_SECONDS, 0)
    assert long_silence(ollama_main.parser().parse_args([]), ollama_main.IDLE_TIMEOUT_SECONDS) == LONG_SILENCE_SECONDS
    monkeypatch.setenv("GLEITZEIT_LLM_IDLE_TIMEOUT", "5")
    assert long_silence(openai_main.parser().parse_args([])) == 0


def test_limits_by_provider_and_model() -> None:
    assert rates_of("60, openai=500,meta/llama=x=5", "openai") == {"": 500, "meta/llama=x": 5}
    assert rates_of("60,openai=500", "ollama") == {"": 60, "openai": 500}
    for wrong in ("=5", "a=0", "5,", "a=b"):
        with pytest.raises(ArgumentTypeError):
            rates_of(wrong, "openai")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x"])
@pytest.mark.parametrize("option", ["--rpm", "--tpm", "--idle-timeout"])
def test_options_are_checked(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        openai_main.parser().parse_args([f"{option}={value}"])
    assert "above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("openai_main", [], "gz-provider-openai: no key for OpenAI: set OPENAI_API_KEY"),
        ("anthropic_main", [], "gz-provider-anthropic: no key for Anthropic: set ANTHROPIC_API_KEY"),
        ("openai_main", ["--url", "example.org"], "begins with http://"),
    ],
)
def test_a_start_that_cannot_be(module: str, options: list[str], message: str) -> None:
    command = [sys.executable, "-m", f"gz_provider_llm.{module}", *options]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def command_line(pid: int) -> str:
    """As everybody on this machine can read it; empty where there is no /proc."""
    file = Path(f"/proc/{pid}/cmdline")
    return file.read_text() if file.exists() else ""


@asynccontextmanager
async def running(module: str, variable: str, script: Answer, log: Path) -> AsyncIterator[tuple[Child, Any]]:
    """The process with a key, at the highest level of logs."""
    async with fake_server(script, answer(401, {"error": {"message": f"bad key {KEY}"}})) as server:
        child = await start_child(
            "llm",
            [
                sys.executable,
                "-m",
                f"gz_provider_llm.{module}",
                "--url",
                server.url,
                "--any-model",
                "--log-level",
                "debug",
            ],
            environ=environment(**{variable: KEY}),
            log=log,
        )
        try:
            yield child, server
        finally:
            await child.stop(5)


@pytest.mark.parametrize(
    ("module", "variable", "script", "header", "value"),
    [
        ("openai_main", "OPENAI_API_KEY", OPENAI_SAYS, "authorization", f"bearer {KEY}"),
        ("anthropic_main", "ANTHROPIC_API_KEY", ANTHROPIC_SAYS, "x-api-key", KEY),
    ],
)
async def test_a_key_shows_nowhere(
    tmp_path: Path, module: str, variable: str, script: Answer, header: str, value: str
) -> None:
    log = tmp_path / "log"
    async with running(module, variable, script, log) as (child, server):
        connection = await connect(await asyncio.wait_for(child.ready, 20))
        shown = [await connection.call("rpc.discover")]
        shown.append(await connection.call("llm/chat", {"model": "m", "prompt": "hello"}))
        assert shown[1]["content"] == "hi"
        hint = rf"bad key \*\*\*\. The key comes from the environment variable {variable}$"
        with pytest.raises(GleitzeitError, match=hint) as caught:
            await connection.call("llm/chat", {"model": "m", "prompt": "hello"})
        shown.append(caught.value.data)
        await connection.close()
        assert server.asked[0].headers[header] == value
        shown.append(command_line(child.pid))
    written = log.read_text()
    assert "HTTP Request" in written  # the libraries below speak, too
    assert KEY not in written
    assert KEY not in msgspec.json.encode(shown).decode()
