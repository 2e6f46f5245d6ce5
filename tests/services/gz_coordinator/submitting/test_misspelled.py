"""What was misspelled is answered with what was meant, wherever the id of something is taken."""

from typing import Any

import pytest
from tests.services.gz_coordinator.room import room

from gleitzeit import errors

DEFINITION: dict[str, Any] = {
    "name": "Chain",
    "tasks": [
        {"id": "numbers", "method": "echo/echo", "params": {"message": "hi"}},
        {"id": "person", "method": "approval/ask", "dependencies": ["numbers"]},
    ],
}


async def test_it_is_answered_with_what_was_meant() -> None:
    async with room() as there:
        submitted = await there.call("workflow.submit", {"definition": DEFINITION})
        await there.call("template.put", {"name": "nightly", "definition": DEFINITION})
        await there.call("schedule.put", {"name": "nightly", "definition": DEFINITION, "every": "1h"})
        of = {"workflow_id": submitted["workflow_id"]}
        for method, params, meant in (
            ("task.get", {**of, "task_id": "nubmers"}, "numbers"),
            ("task.retry", {**of, "task_id": "nubmers"}, "numbers"),
            ("task.complete", {**of, "task_id": "persn", "approved": True}, "person"),
            ("workflow.retry", {**of, "task_id": "nubmers"}, "numbers"),
            ("workflow.explain", {**of, "task_id": "nubmers"}, "numbers"),
            ("workflow.get", {**of, "items_of": "nubmers"}, "numbers"),
            ("protocol.get", {"protocol": "ecko/v1"}, "echo/v1"),
            ("template.get", {"name": "nigtly"}, "nightly"),
            ("schedule.get", {"name": "nigtly"}, "nightly"),
        ):
            with pytest.raises(errors.GleitzeitError, match=f"did you mean '{meant}'") as caught:
                await there.call(method, params)
            assert (caught.value.data or {})["suggestion"] == meant, method
