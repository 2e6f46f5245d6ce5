"""Which of several servers of Ollama is asked."""

import pytest

from gz_provider_llm.backends.ollama_instances import Held, Instance, Instances, slots_from
from gz_provider_llm.errors import ModelNotFound, ServerError, Unreachable
from gz_provider_llm.transport.http import Http


def test_calls_at_once() -> None:
    assert [slots_from({"OLLAMA_NUM_PARALLEL": n}) for n in ("", "0", "4", "x")] == [1, 1, 4, 1]


async def instance(port: int, *models: str, loaded: str = "", running: int = 0) -> Instance:
    made = Instance(Http(f"http://127.0.0.1:{port}"), slots=2)
    made.models = {name: Held(name) for name in models}
    made.loaded = {loaded} - {""}
    made.running = running
    return made


async def order(*instances: Instance) -> list[str]:
    return [chosen.name.rpartition(":")[2] for chosen in Instances(instances).candidates("a")]


async def test_the_one_that_has_it_loaded_comes_first() -> None:
    cold = await instance(1, "a:latest", "b:latest", loaded="b:latest")
    without = await instance(2, "b:latest", loaded="a:latest")
    warm = await instance(3, "a:latest", loaded="a:latest", running=1)
    assert await order(cold, without, warm) == ["3", "1"]


async def test_a_full_one_comes_after_one_that_is_free_and_the_shorter_queue_first() -> None:
    warm = await instance(1, "a:latest", loaded="a:latest", running=2)
    cold = await instance(2, "a:latest", running=1)
    idle = await instance(3, "a:latest")
    assert await order(warm, cold, idle) == ["3", "2", "1"]
    cold.running = idle.running = 3
    assert await order(warm, cold, idle) == ["1", "2", "3"]


async def test_a_strategy_of_the_task_s_own() -> None:
    warm = await instance(1, "a:latest", loaded="a:latest", running=2)
    cold = await instance(2, "a:latest", running=1)
    idle = await instance(3, "a:latest")
    instances = Instances([warm, cold, idle])

    def best(strategy: str) -> Instance:
        return instances.candidates("a", strategy)[0]

    assert best("least_loaded") is idle
    assert best("model_affinity") is warm, "though it is full"
    turns = []
    for _ in range(6):
        instances.begin(chosen := best("round_robin"))
        turns.append(chosen)
    assert turns[:3] == turns[3:]
    assert {id(one) for one in turns[:3]} == {id(warm), id(cold), id(idle)}


async def test_none_has_it_or_none_is_there() -> None:
    one, other = await instance(1, "b:latest"), await instance(2, "c:7b")
    both = Instances([one, other])
    with pytest.raises(ModelNotFound, match=r"no model a; there are: b:latest, c:7b.*: ollama pull a$") as caught:
        both.candidates("a")
    assert caught.value.data == {"model": "a", "models": ["b:latest", "c:7b"], "hint": "ollama pull a"}
    one.fail(ServerError("one is ill"))
    with pytest.raises(ModelNotFound, match="there are: c:7b"):
        both.candidates("a")
    other.fail(ServerError("other is ill"))
    with pytest.raises(Unreachable, match=r"no Ollama answers at http://127.0.0.1:1, http://127.0.0.1:2"):
        both.candidates("a")
