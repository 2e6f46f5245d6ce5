"""Which provider a machine has, and what is said where it has none."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from gleitzeit.client import models
from gleitzeit.model.definition import Alternative, Definition, TaskDefinition
from gleitzeit.process.absent import NoModel
from gleitzeit.process.reach import Reach, Target
from gleitzeit.process.state import Address, lock_state, model_settings, publish_address
from gz_cli import exits

NOBODY = {"OLLAMA_HOST": "127.0.0.1:1"}
TARGET = Target(Path("/nowhere"))


@pytest.fixture
def ollama() -> Iterator[str]:
    """host:port of a server that answers as Ollama does."""

    class Version(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {"/api/version": b'{"version":"0.12.0"}', "/api/tags": b'{"models":[{"name":"llama3.2:latest"}]}'}
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Version) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_taken_first(ollama: str) -> None:
    keys = {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "y"}
    assert models.choose({**keys, "OLLAMA_HOST": ollama})[0] == "ollama"
    assert models.choose({**keys, **NOBODY})[0] == "openai"
    assert models.choose({**NOBODY, "ANTHROPIC_API_KEY": "y"})[0] == "anthropic"
    assert models.choose({**NOBODY, "OPENAI_BASE_URL": "http://127.0.0.1:8000"})[0] == "openai"


@pytest.mark.parametrize(
    ("model", "inputs", "providers"),
    [
        ("llama3.2", {}, ("ollama",)),
        ("llama3.2:latest", {}, ("ollama",)),
        ("gpt-4o-mini", {}, ("ollama", "openai")),
        (["llama3.2", "gpt-4o-mini"], {}, ("ollama", "openai")),
        ("${parameters.model}", {}, ("ollama",)),
        ("${inputs.model}", {"model": "gpt-4o-mini"}, ("ollama", "openai")),
        ("${other.model}", {}, ("ollama",)),
        (None, {}, ("ollama",)),
    ],
)
def test_what_ollama_has_not_another_may_have(
    ollama: str, monkeypatch: pytest.MonkeyPatch, model: object, inputs: dict[str, object], providers: tuple[str, ...]
) -> None:
    monkeypatch.setattr(models, "started", Reach)
    task = TaskDefinition("a", "llm/chat", params=Raw(msgspec.json.encode({"model": model})))
    definition = Definition("c", (task,), parameters=Raw(b'{"model":"llama3.2"}'))
    keys = {"OPENAI_API_KEY": "x", "OLLAMA_HOST": ollama}
    found = models.with_model(Reach(TARGET), definition, keys, inputs)
    assert found.target.providers == ("echo", "python", *providers)
    del keys["OPENAI_API_KEY"]
    if "openai" not in providers or isinstance(model, list):  # it has one of the list
        alone = models.with_model(Reach(TARGET), definition, keys, inputs)
        assert alone.target.providers == ("echo", "python", "ollama")
    else:
        with pytest.raises(NoModel, match=r"has no gpt-4o-mini; it has llama3\.2") as caught:
            models.with_model(Reach(TARGET), definition, keys, inputs)
        assert "export OPENAI_API_KEY" in caught.value.ways
        assert "ollama pull" not in caught.value.ways, "which has no such model to give"


def test_how_to_get_what_ollama_has_not(ollama: str) -> None:
    asked = Raw(b'{"model":["llava","gpt-4o-mini"]}')
    with pytest.raises(NoModel, match="has no gpt-4o-mini, llava") as caught:
        models.with_model(Reach(TARGET), chat(params=asked), {"OLLAMA_HOST": ollama})
    assert "ollama pull llava\n  export OPENAI_API_KEY" in caught.value.ways
    with pytest.raises(NoModel) as caught:
        models.with_model(Reach(TARGET), chat(params=Raw(b'{"model":"llava:7b"}')), {"OLLAMA_HOST": ollama})
    assert caught.value.ways == "Get it with:\n\n  ollama pull llava:7b"


@pytest.mark.parametrize(
    ("named", "more", "providers"),
    [
        (["claude-haiku-4-5"], {}, ("anthropic",)),
        (["gpt-4o-mini"], {}, ("openai",)),
        (["gpt-4o-mini", "claude-haiku-4-5"], {}, ("openai", "anthropic")),
        (["claude-haiku-4-5"], {"OPENAI_BASE_URL": "http://127.0.0.1:4000"}, ("openai", "anthropic")),
        ([None], {}, ("openai",)),
    ],
)
def test_of_two_keys_that_of_the_model(
    monkeypatch: pytest.MonkeyPatch, ollama: str, named: list[str], more: dict[str, str], providers: tuple[str, ...]
) -> None:
    monkeypatch.setattr(models, "started", Reach)
    tasks = [TaskDefinition(f"t{n}", "llm/chat", Raw(msgspec.json.encode({"model": m}))) for n, m in enumerate(named)]
    keys = {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "y", **more}
    alone = models.with_model(Reach(TARGET), Definition("c", tuple(tasks)), {**keys, **NOBODY})
    assert alone.target.providers == ("echo", "python", *providers)
    tasks.append(TaskDefinition("local", "llm/chat", Raw(b'{"model":"llama3.2"}')))
    beside = models.with_model(Reach(TARGET), Definition("c", tuple(tasks)), {**keys, "OLLAMA_HOST": ollama})
    wanted = providers if named != [None] else ()
    assert beside.target.providers == ("echo", "python", "ollama", *wanted)


def test_the_models_of_a_fallback_are_wanted_too() -> None:
    fallback = (Alternative("gpt-4o-mini", "llm/chat", Raw(b'{"model":"gpt-4o-mini"}')), Alternative("e", "echo/echo"))
    task = TaskDefinition("a", "llm/chat", Raw(b'{"model":"llama3.2"}'), fallback=fallback)
    assert models.models_of(Definition("c", (task,)), {}) == {"llama3.2:latest", "gpt-4o-mini:latest"}


def test_a_model_file_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {**NOBODY, "GLEITZEIT_GGUF": "m.gguf"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert models.choose(environ)[0] == "llamacpp"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found, why = models.choose(environ)
    assert found is None
    assert "`llamacpp` is not installed" in why


@pytest.mark.parametrize("more", [{"pull": True}, {"model": "${first.response}"}, {"model": None}])
def test_a_model_that_ollama_may_come_to_have(
    ollama: str, monkeypatch: pytest.MonkeyPatch, more: dict[str, object]
) -> None:
    monkeypatch.setattr(models, "started", Reach)
    asked = [{"model": "other"}, {"model": "another", **more}]
    tasks = (TaskDefinition(f"t{n}", "llm/chat", Raw(msgspec.json.encode(one))) for n, one in enumerate(asked))
    found = models.with_model(Reach(TARGET), Definition("c", tuple(tasks)), {"OLLAMA_HOST": ollama})
    assert found.target.providers == ("echo", "python", "ollama")


@pytest.mark.parametrize(
    ("named", "providers", "beside_ollama"),
    [
        (["tiny"], ("llamacpp",), ("ollama", "llamacpp")),
        (["tiny", "gpt-4o-mini"], ("openai", "llamacpp"), ("ollama", "openai", "llamacpp")),
        (["gpt-4o-mini"], ("openai",), ("ollama", "openai")),
    ],
)
def test_a_model_that_is_called_like_our_file_is_that_one(
    ollama: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: list[str],
    providers: tuple[str, ...],
    beside_ollama: tuple[str, ...],
) -> None:
    """Though there is a key, too, as many people have one in their environment."""
    monkeypatch.setattr(models, "started", Reach)
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF...")
    tasks = (TaskDefinition(f"t{n}", "llm/chat", Raw(msgspec.json.encode({"model": m}))) for n, m in enumerate(named))
    definition = Definition("c", tuple(tasks))
    environ = {**NOBODY, "OPENAI_API_KEY": "x", "GLEITZEIT_GGUF": str(tmp_path / "tiny.gguf")}
    alone = models.with_model(Reach(TARGET), definition, environ)
    assert alone.target.providers == ("echo", "python", *providers)
    beside = models.with_model(Reach(TARGET), definition, {**environ, "OLLAMA_HOST": ollama})
    assert beside.target.providers == ("echo", "python", *beside_ollama)


def test_a_file_with_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "started", Reach)
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF...")
    environ = {**NOBODY, "GLEITZEIT_GGUF": str(tmp_path / "tiny.gguf")}
    with pytest.raises(NoModel, match="names has tiny, not llama3") as caught:
        models.with_model(Reach(TARGET), chat(params=Raw(b'{"model":"llama3"}')), environ)
    assert "-p model=tiny" in caught.value.ways
    for asked in (b'{"model":["llama3","tiny"]}', b'{"model":"${first.response}"}', b"{}"):
        found = models.with_model(Reach(TARGET), chat(params=Raw(asked)), environ)
        assert found.target.providers == ("echo", "python", "llamacpp")


@pytest.mark.parametrize(
    ("providers", "environ", "why"),
    [
        (("llamacpp",), {"GLEITZEIT_GGUF": "/nowhere/m.gguf"}, "cannot read the model /nowhere/m.gguf: No such file"),
        (("llamacpp",), {"GLEITZEIT_GGUF": __file__}, "is no GGUF file"),
        (("llamacpp",), {}, "GLEITZEIT_GGUF is not set"),
        (("openai",), {}, "OPENAI_API_KEY is not set"),
        (("anthropic", "ollama"), NOBODY, "no Ollama answers at http://127.0.0.1:1; ANTHROPIC_API_KEY is not set"),
        ((), {**NOBODY, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1?key=secret"}, "nobody answers at http://127.0.0.1:1"),
        ((), {**NOBODY, "GLEITZEIT_GGUF": "/nowhere/m.gguf"}, "cannot read the model"),
    ],
)
def test_why_a_provider_would_be_of_no_use(
    monkeypatch: pytest.MonkeyPatch, providers: tuple[str, ...], environ: dict[str, str], why: str
) -> None:
    """It is said at once: nothing is started for it."""
    monkeypatch.setattr(models, "started", Reach)
    definition = chat(params=Raw(b'{"model":"m"}'))
    with pytest.raises(NoModel) as caught:
        models.with_model(Reach(TARGET.with_providers((*TARGET.providers, *providers))), definition, environ)
    assert all(part in caught.value.message for part in why.split("; "))
    assert "secret" not in caught.value.message


def test_one_that_may_be_of_use_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "started", Reach)
    target = TARGET.with_providers(("echo", "ollama", "of-somebody-else"))
    assert models.with_model(Reach(target), chat(), NOBODY).target is target


def chat(**more: object) -> Definition:
    return Definition("c", (TaskDefinition("a", "llm/chat", **more),))  # type: ignore[arg-type]


def test_nothing_is_started_where_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(models, "started", lambda target: begun.append(target.providers) or Reach(target))
    with pytest.raises(NoModel) as caught:
        models.with_model(Reach(TARGET), chat(), NOBODY)
    complaint = exits.complaint(caught.value)
    assert complaint.code == exits.USAGE
    assert "llm/chat" in complaint.sentence
    for way in ("ollama pull", "export OPENAI_API_KEY=", "export GLEITZEIT_GGUF="):
        assert way in complaint.advice
    assert begun == []


KEY = {**NOBODY, "OPENAI_API_KEY": "x"}
WITH_OPENAI = ("echo", "python", "openai")


def embedded(**more: object) -> Address:
    fitting = {"providers": WITH_OPENAI, "settings": model_settings(KEY)} | more
    return Address("ws://127.0.0.1:1/", os.getpid(), embedded=True, **fitting)  # type: ignore[arg-type]


def test_an_embedded_stack_that_has_what_the_document_needs_is_joined() -> None:
    found = Reach(TARGET, embedded())
    assert models.with_model(found, chat(), KEY) == replace(found, target=TARGET.with_providers(WITH_OPENAI))
    none = models.with_model(found, chat(), NOBODY)
    assert replace(none, no_model="") == found, "it may have a model that is not at hand here"
    assert "OPENAI_API_KEY" in none.no_model
    lasting = Reach(TARGET, Address("ws://127.0.0.1:1/", 1))
    assert models.with_model(lasting, chat(), KEY) == lasting


UNFIT = [
    embedded(providers=("echo", "python")),
    embedded(failures=("provider-openai cannot start",)),
    embedded(settings=model_settings({**KEY, "OPENAI_API_KEY": "another"})),
]


@pytest.mark.parametrize("address", UNFIT, ids=["no provider", "a failure", "another key"])
def test_one_that_does_not_suit_has_a_successor(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "started", Reach)
    found = models.with_model(Reach(TARGET, address), chat(), KEY)
    assert found == Reach(TARGET.with_providers(WITH_OPENAI)), "nothing of it was to be seen any more"


@pytest.mark.parametrize("address", UNFIT, ids=["no provider", "a failure", "another key"])
def test_or_is_joined_where_others_use_it(address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "OUTLIVE_SECONDS", 0.0)
    lock = lock_state(tmp_path)
    publish_address(tmp_path, address)
    found = models.with_model(Reach(replace(TARGET, state=tmp_path), address), chat(), KEY)
    lock.release()
    assert found.address == address
    assert ("other keys" in found.note) == (address is UNFIT[2])


@pytest.mark.parametrize(
    ("asked", "url", "note"),
    [
        ((), None, ""),
        (("echo",), None, ""),
        (("echo", "shell"), None, "shell is not started: a stack runs here already, with echo; `gz down` ends it"),
        (
            ("a", "b"),
            "ws://u:secret@h/",
            "a, b are not started: the coordinator at ws://***@h/ has the providers that it has",
        ),
    ],
)
def test_providers_that_a_stack_that_runs_has_not(asked: tuple[str, ...], url: str | None, note: str) -> None:
    lasting = Address(url or "ws://127.0.0.1:1/", 1, providers=() if url else ("echo",))
    found = models.with_model(Reach(replace(TARGET, asked=asked, url=url), lasting), chat(), NOBODY)
    assert found.note == note


def test_the_settings_of_models() -> None:
    assert model_settings({"PATH": "a", "OPENAI_API_KEY": ""}) == model_settings({})
    assert model_settings({"GLEITZEIT_GGUF": "m"}) == model_settings({"GLEITZEIT_GGUF": os.path.abspath("m")})
    different = ({}, {"OPENAI_API_KEY": "a"}, {"OPENAI_API_KEY": "b"}, {"OLLAMA_HOST": "a"}, {"GLEITZEIT_LLM_RPM": "1"})
    assert len({model_settings(environ) for environ in different}) == 5


def test_what_a_stack_is_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(models, "started", lambda target: begun.append(target.providers) or Reach(target))
    key = {**NOBODY, "OPENAI_API_KEY": "x"}
    other = (Alternative("x", "llm/chat", provider="anthropic"),)
    models.with_model(Reach(TARGET), Definition("c", (TaskDefinition("a", "echo/echo"),)), NOBODY)
    models.with_model(Reach(TARGET), chat(), key)
    models.with_model(Reach(TARGET), chat(provider="anthropic"), {**key, "ANTHROPIC_API_KEY": "y"})
    models.with_model(Reach(TARGET), chat(fallback=other), key)
    models.with_model(Reach(TARGET.with_providers(("echo", "mine"))), chat(), NOBODY)
    assert begun == [
        ("echo", "python"),
        ("echo", "python", "openai"),
        ("echo", "python", "anthropic"),
        ("echo", "python", "anthropic", "openai"),
        ("echo", "mine"),
    ]
