"""Every workflow in examples/ runs as it stands; those with a model, on a real one of random weights."""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import support

sys.path.insert(0, str(Path(__file__).parents[1] / "services" / "gz_provider_llm"))

import tiny_model
from llama import LlamaServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[support.Stack]:
    """With a model behind it that answers to every name, as one who has an OpenAI-compatible server has it."""
    folder = tmp_path_factory.mktemp("examples")
    llama = LlamaServer(tiny_model.write_model(folder / "tiny.gguf"), "--parallel", "3", "--context", "24576")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", llama.url)
        environment.delenv("OPENAI_API_KEY", raising=False)
        running = support.Stack(folder / "state", "--provider", "echo,python,mcp,openai")
        assert running.url
    yield running
    assert running.stop() == 0
    llama.stop()


def run(stack: support.Stack, name: str, *arguments: str) -> dict[str, Any]:
    """What `gz run` answers, as JSON. From the top of the checkout, as the words in the examples have it."""
    ran = support.gz("run", f"examples/{name}", "-q", "-o", "json", *arguments, state=stack.state, cwd=EXAMPLES.parent)
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def hello(stack: support.Stack) -> None:
    assert run(stack, "hello.yaml", "-p", "name=Ada")["outputs"] == {"greeting": "Hello, Ada!"}


def diamond(stack: support.Stack) -> None:
    numbers = range(1, 101)
    expected = sum(numbers) ** 2 - sum(number**2 for number in numbers)
    assert run(stack, "diamond.yaml")["outputs"] == {"difference": expected}


def batch_of_files(stack: support.Stack) -> None:
    answer = run(stack, "batch_of_files.yaml")
    scripts = sorted(path.name for path in (EXAMPLES / "scripts").glob("*.py"))
    assert [one["content"]["file"] for one in answer["results"].values()] == scripts
    assert answer["summary"]["successful"] == len(scripts)


def references(stack: support.Stack) -> None:
    sentence = run(stack, "references.yaml")["outputs"]["sentence"]
    assert sentence.startswith("Graz: 15.7 °C on average, noon (12:00) was warmer. Written as ${measure")


def retry(stack: support.Stack) -> None:
    assert run(stack, "retry.yaml")["outputs"] == {"answer": "answered at attempt 3"}


def signal_and_timer(stack: support.Stack) -> None:
    submitted = support.gz("submit", str(EXAMPLES / "signal_and_timer.yaml"), "-o", "id", state=stack.state)
    workflow_id = submitted.stdout.strip()
    sent = support.gz("signal", workflow_id, "approved", "--payload", '{"by": "Ada"}', state=stack.state)
    assert sent.returncode == 0, sent.stderr
    assert support.gz("watch", workflow_id, state=stack.state).returncode == 0
    result = support.gz("result", workflow_id, "-o", "json", state=stack.state)
    assert json.loads(result.stdout)["outputs"] == {"answer": "Approved by Ada"}


def standard_library_report(stack: support.Stack) -> None:
    assert run(stack, "standard_library_report.yaml")["outputs"]["report"].startswith("#")


def typed_inputs(stack: support.Stack) -> None:
    arguments = ("-p", "title=1.10", "-p", "copies=2", "-p", "style=loud")
    assert run(stack, "typed_inputs.yaml", *arguments)["outputs"] == {"printed": "1.10 / 1.10"}


def approval(stack: support.Stack) -> None:
    submitted = support.gz("submit", str(EXAMPLES / "approval.yaml"), "-o", "id", state=stack.state)
    workflow_id = submitted.stdout.strip()
    wrong = support.gz("approve", workflow_id, "-p", "percent=50", state=stack.state)
    assert wrong.returncode == 2
    assert "'percent'" in wrong.stderr
    answered = support.gz("approve", workflow_id, "-p", "percent=20", "--by", "Ada", state=stack.state)
    assert answered.returncode == 0, answered.stderr
    assert support.gz("watch", workflow_id, state=stack.state).returncode == 0
    again = support.gz("approve", workflow_id, "discount", state=stack.state)
    assert again.returncode == 2
    assert "was approved before by Ada" in again.stderr
    result = support.gz("result", workflow_id, "-o", "json", state=stack.state)
    assert json.loads(result.stdout)["outputs"] == {"offer": "ACME gets 20 % off, says Ada"}


def child_workflows(stack: support.Stack) -> None:
    assert run(stack, "child_workflows.yaml")["outputs"] == {"said": "Hello, Ada!", "letters": 11}


def for_each_workflow(stack: support.Stack) -> None:
    report = run(stack, "for_each_workflow.yaml")["outputs"]["report"]
    assert (report["said"], report["letters"]) == (["Hello, Ada!", "Hello, Grace!"], 24)
    assert report["failed"] == ["input 'name' must not be empty"]


def concurrency(stack: support.Stack) -> None:
    """Three at once run one after the other; another stage does not wait for them."""

    def submit(*words: str) -> str:
        file = str(EXAMPLES / "concurrency.yaml")
        return support.gz_here("submit", file, "-o", "id", *words, state=stack.state).stdout.strip()

    first, *others = (submit("-p", f"version={number}") for number in (1, 2, 3))
    aside = submit("-p", "stage=production")
    views = {}
    for workflow_id in (first, *others, aside):
        assert support.gz_here("watch", workflow_id, state=stack.state).returncode == 0
        views[workflow_id] = json.loads(support.gz_here("get", workflow_id, "-o", "json", state=stack.state).stdout)
    for before, after in pairwise((first, *others)):
        assert views[before]["completed_at"] <= min(task["started_at"] for task in views[after]["tasks"])
    assert views[first]["outputs"] == {"done": ["1 is on a", "1 is on b"]}


def schedule(stack: support.Stack) -> None:
    def gz(*words: str) -> Any:
        ran = support.gz_here("schedule", *words, "-o", "json", state=stack.state)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    when = ("--cron", "30 8 * * MON-FRI", "--timezone", "Europe/Berlin", "-p", "city=Graz")
    assert gz("put", "morning", str(EXAMPLES / "schedule.yaml"), *when)["name"] == "morning"
    assert gz("get", "morning")["next"]
    workflow_id = gz("trigger", "morning")["workflow_id"]
    assert support.gz_here("watch", workflow_id, state=stack.state).returncode == 0
    result = support.gz_here("result", workflow_id, "-o", "json", state=stack.state)
    assert json.loads(result.stdout)["outputs"]["report"].startswith("Graz, 7 °C, as of 20")
    assert gz("delete", "morning")


def signals(stack: support.Stack) -> None:
    assert run(stack, "signals.yaml")["outputs"] == {"dinner": "4 plates, 2 bottles"}


def for_each(stack: support.Stack) -> None:
    assert run(stack, "for_each.yaml")["outputs"] == {
        "lengths": [3, 5, 5, 3, 5],
        "first": "the",
        "sizes": ["small red", "small blue", "large blue"],
        "long": ["quick has 5 letters", "brown has 5 letters", "jumps has 5 letters"],
    }


def conditions(stack: support.Stack) -> None:
    good, bad = run(stack, "conditions.yaml"), run(stack, "conditions.yaml", "-p", "score=0.5", "-p", "kind=other")
    assert good["outputs"] == {"report": "published; money back", "took": "billing"}
    assert bad["outputs"] == {"report": "revised, 50.0 %; somebody will call you", "took": "default"}


def until(stack: support.Stack) -> None:
    assert run(stack, "until.yaml")["outputs"] == {"rounds": 6}


def undo_and_always(stack: support.Stack) -> None:
    """It fails, as it says."""
    ran = support.gz("run", "examples/undo_and_always.yaml", "-q", "-o", "json", state=stack.state, cwd=EXAMPLES.parent)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"]["message"] == "the card was declined"
    events = support.gz("history", "@latest", "-o", "json", state=stack.state).stdout
    told = [text for text in ("cancelled hotel Adler", "cancelled flight LH 123", "it failed: the card was declined")]
    assert sorted(told, key=events.index) == told


def mcp_tools(stack: support.Stack) -> None:
    outputs = run(stack, "mcp_tools.yaml")["outputs"]
    assert outputs["total"] == 47.5
    assert outputs["line"] == "Shirts: 2 × 17.5 + 12.5 = 47.5"
    assert outputs["tools"].split() == ["echo", "add", "multiply", "concat"]


def llm_chain(stack: support.Stack) -> None:
    answer = run(stack, "llm_chain.yaml", "-p", "model=tiny")
    results, outputs = answer["results"], answer["outputs"]
    assert len(results["outline"]["content"].split()) > 100
    assert (outputs["text"], outputs["title"]) == (results["text"]["response"], results["title"]["response"])
    again = run(stack, "llm_chain.yaml", "-p", "model=tiny")["results"]
    took = "timings_ms"  # never the same for two calls
    assert again["outline"][took] == results["outline"][took], "it comes from the cache"
    assert again["text"][took] != results["text"][took]


def llm_drafts_and_judge(stack: support.Stack) -> None:
    answer = run(stack, "llm_drafts_and_judge.yaml", "-p", "model=tiny")
    results, outputs = answer["results"], answer["outputs"]
    verdict = results["judge"]["json"]
    assert verdict["reason"] == outputs["reason"]
    assert results[verdict["best"]]["response"] == outputs["winner"]


def llm_extraction(stack: support.Stack) -> None:
    answer = run(stack, "llm_extraction.yaml", "-p", "model=tiny")
    order, invoice = answer["results"]["extract"]["json"], answer["outputs"]["invoice"]
    assert order["items"]
    assert [line["product"] for line in invoice["lines"]] == [item["product"] for item in order["items"]]
    assert invoice["total_euros"] == sum(item["quantity"] * item["euros_each"] for item in order["items"])


def llm_folder_summaries(stack: support.Stack) -> None:
    answer = run(stack, "llm_folder_summaries.yaml", "-p", "model=tiny")
    summaries = answer["results"]["summaries"]["result"]
    assert list(summaries) == [f"scripts/{path.name}" for path in sorted((EXAMPLES / "scripts").glob("*.py"))]
    for path, summary in summaries.items():
        assert summary["status"] == "success"
        assert f"{path}\n{summary['content'].strip()}" in answer["outputs"]["files"]
    assert answer["outputs"]["overview"]
    assert answer["results"]["summaries"]["usage"]["total_tokens"] > 1000, "it counts for the budget"


def llm_vision(stack: support.Stack) -> None:
    """This model is blind: the picture gets as far as its server, and so do all that are to be tried in turn."""
    ran = support.gz("run", str(EXAMPLES / "llm_vision.yaml"), "-p", "model=tiny", state=stack.state)
    assert ran.returncode == 1
    assert "image input is not supported" in ran.stderr
    for other in ("llama3.2-vision", "gpt-4o-mini", "claude-haiku-4-5"):
        assert other in ran.stderr


CHECKS: dict[str, Callable[[support.Stack], None]] = {
    f"{check.__name__}.yaml": check
    for check in (
        *(hello, diamond, batch_of_files, references, retry, signal_and_timer, standard_library_report, typed_inputs),
        *(approval, child_workflows, signals, mcp_tools),
        *(for_each_workflow, concurrency, schedule),
        *(for_each, conditions, until, undo_and_always),
        *(llm_chain, llm_drafts_and_judge, llm_extraction, llm_folder_summaries, llm_vision),
    )
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_an_example(stack: support.Stack, name: str) -> None:
    CHECKS[name](stack)
