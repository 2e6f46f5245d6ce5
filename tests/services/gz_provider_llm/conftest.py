import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for what is no test here, as `samples`

import tiny_model
from llama import API_KEY, LlamaServer
from ollama_front import OllamaFront


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file `tiny.gguf`."""
    return tiny_model.write_model(tmp_path_factory.mktemp("model") / f"{tiny_model.NAME}.gguf")


@pytest.fixture(scope="session")
def llama_server(tiny_gguf: Path) -> Iterator[LlamaServer]:
    """Real inference at `llama_server.url`: /v1/chat/completions, /v1/completions, /v1/messages, /v1/models."""
    server = LlamaServer(tiny_gguf, "--parallel", "4", "--context", "16384")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def embedding_server(tiny_gguf: Path) -> Iterator[LlamaServer]:
    """/v1/embeddings; vectors of 64 numbers."""
    server = LlamaServer(tiny_gguf, "--embedding", "--context", "4096")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def guarded_server(tiny_gguf: Path) -> Iterator[LlamaServer]:
    """Answers 401 to requests without API_KEY."""
    server = LlamaServer(tiny_gguf, api_key=API_KEY)
    yield server
    server.stop()


@pytest.fixture
def ollama(llama_server: LlamaServer, embedding_server: LlamaServer) -> Iterator[OllamaFront]:
    """Ollama's wire over those two."""
    front = OllamaFront(llama_server.url, embeddings=embedding_server.url)
    yield front
    front.stop()
