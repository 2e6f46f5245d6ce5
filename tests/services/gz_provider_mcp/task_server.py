"""An MCP server whose tools answer with tasks, in the way of the era that is named. The standard library alone."""

import json
import sys

stateless = sys.argv[1] == "stateless"
TASKS = "io.modelcontextprotocol/tasks"
looks: dict[str, int] = {}
names: dict[str, str] = {}
answers: dict[str, object] = {}


def send(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def answer(request: dict, result: dict) -> None:
    send({"id": request["id"], "result": {"resultType": "complete", **result} if stateless else result})


def refuse(request: dict, code: int, message: str) -> None:
    send({"id": request["id"], "error": {"code": code, "message": message}})


def text(said: object) -> dict:
    return {"content": [{"type": "text", "text": str(said)}]}


def state(task: str) -> dict:
    about = {"taskId": task, "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"}
    about |= {"ttlMs": None, "pollIntervalMs": 20} if stateless else {"ttl": None, "pollInterval": 20}
    name, seen = names[task], looks.get(task, 0)
    if name == "hang" or seen < 2:
        return {**about, "status": "working", "statusMessage": f"look {min(seen, 1)}"}
    if name == "asks" and task not in answers:
        return {**about, "status": "input_required", **({"inputRequests": {"q": question()}} if stateless else {})}
    if name == "fails":
        error = {"error": {"code": -32050, "message": "it broke"}} if stateless else {}
        return {**about, "status": "failed", "statusMessage": "no good", **error}
    if name == "gone":
        return {**about, "status": "cancelled"}
    return {**about, "status": "completed", **({"result": text(answers.get(task, "done"))} if stateless else {})}


def question() -> dict:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    return {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": schema}}


def call(request: dict) -> None:
    params = request["params"]
    if stateless:
        said = params["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        if TASKS not in said.get("extensions", {}):
            refuse(request, -32021, "Missing required client capability")
            return
    elif "task" not in params:
        refuse(request, -32601, "Tool requires task-augmented execution")
        return
    task = f"t{len(names)}"
    names[task] = params["name"]
    answer(request, {**state(task), "resultType": "task"} if stateless else {"task": state(task)})


def result(request: dict) -> None:
    """Of the old era."""
    task = request["params"]["taskId"]
    if state(task)["status"] == "input_required":
        send({"id": f"ask {task}", **question()})
        waiting[f"ask {task}"] = request
    elif state(task)["status"] == "completed":
        answer(request, text(answers.get(task, "done")))
    else:
        refuse(request, -32050, "it broke" if names[task] == "fails" else "it was cancelled")


waiting: dict[str, dict] = {}
for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    about = {
        "tools": {},
        **({"extensions": {TASKS: {}}} if stateless else {"tasks": {"requests": {"tools": {"call": {}}}}}),
    }
    if method == "server/discover" and stateless:
        answer(message, {"supportedVersions": ["2026-07-28"], "capabilities": about})
    elif method == "initialize" and not stateless:
        info = {"name": "tasks", "version": "1"}
        answer(message, {"protocolVersion": "2025-11-25", "capabilities": about, "serverInfo": info})
    elif method == "tools/list":
        execution = {} if stateless else {"execution": {"taskSupport": "required"}}
        tools = [
            {"name": name, "inputSchema": {"type": "object"}, **execution}
            for name in ("later", "asks", "fails", "gone", "hang")
        ]
        answer(message, {"tools": tools})
    elif method == "tools/call":
        call(message)
    elif method == "tasks/get":
        answer(message, state(params["taskId"]))
        looks[params["taskId"]] = looks.get(params["taskId"], 0) + 1
    elif method == "tasks/update":
        [(_, given)] = params["inputResponses"].items()
        answers[params["taskId"]] = given["content"]["name"]
        answer(message, {})
    elif method == "tasks/result":
        result(message)
    elif method == "tasks/cancel":
        note(f"{names[params['taskId']]} was cancelled")
        answer(message, {} if stateless else state(params["taskId"]))
    elif method is None and message.get("id") in waiting:
        request = waiting.pop(message["id"])
        answers[request["params"]["taskId"]] = message["result"]["content"]["name"]
        result(request)
    elif "id" in message and method:
        refuse(message, -32601, "Method not found")
