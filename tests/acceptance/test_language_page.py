"""examples/README.md: every block is good, what it says that a block gives is what comes out, and no key is missing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jsonschema_rs
import pytest
import support

from gleitzeit.client import prepare
from gleitzeit.schemas import definition_schema
from gleitzeit.spec.check import WORKFLOW_KEYS
from gleitzeit.spec.loading.load import load_text
from gleitzeit.spec.tasks.tasks import TASK_KEYS
from gleitzeit.transport import connect

PAGE = Path(__file__).resolve().parents[2] / "examples" / "README.md"
TEXT = PAGE.read_text(encoding="utf-8")
ELSEWHERE = frozenset({"foreach", "providers", "target_workflow", "target_workflows", "payload", "signal_names"})
"""Keys that the page need not show: another spelling, a word for information, or said by `gz protocols signal/v1`."""
EDITOR = jsonschema_rs.Draft7Validator(definition_schema(), offline=True)


class Block(NamedTuple):
    name: str
    text: str
    gives: str


def blocks() -> Iterator[Block]:
    for found in re.finditer(r"(?:<!-- gives (?P<gives>.*?) -->\n)?```yaml\n(?P<text>.*?)```", TEXT, re.DOTALL):
        name = re.search(r"^name: ([\w ]+?) *(#.*)?$", found["text"], re.MULTILINE)
        assert name is not None, found["text"]
        yield Block(name[1], found["text"], found["gives"] or "")


BLOCKS = list(blocks())


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_is_good(block: Block) -> None:
    document = load_text(block.text)
    ready = prepare(document, folder=PAGE.parent, environ={})
    assert ready.checked is not None, ready.rendered()
    if "unresolved" not in block.text:
        assert ready.problems == (), ready.rendered()
    assert [error.message for error in EDITOR.iter_errors(document.value)] == []


def test_every_key_is_on_the_page() -> None:
    missing = {key for key in WORKFLOW_KEYS | TASK_KEYS if not re.search(rf"\b{key}\b", TEXT)}
    assert missing <= ELSEWHERE


def test_every_example_is_listed() -> None:
    files = {path.name for path in PAGE.parent.glob("*.yaml")}
    assert {name for name in files if f"({name})" not in TEXT} == set()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = support.Stack(tmp_path_factory.mktemp("language") / "state", "--provider", "echo,python,validation")
    yield stack.url
    assert stack.stop() == 0


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.gives], ids=lambda block: block.name)
async def test_a_block_gives_what_the_page_says(url: str, block: Block) -> None:
    connection = await connect(url)
    definition = load_text(block.text).value
    workflow_id = (await connection.call("workflow.submit", {"definition": definition}))["workflow_id"]
    view = await support.finished(url, workflow_id)
    assert view["status"] == "completed", json.dumps(view, indent=1)
    result = await connection.call("workflow.result", {"workflow_id": workflow_id})
    await connection.close()
    assert result["outputs"] == json.loads(block.gives)
