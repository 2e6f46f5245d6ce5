"""An MCP server of the old era that does what servers must not do. Nothing of ours: the standard library alone."""

import json
import os
import sys
import time

calls = 0
version = 1
later: list[object] = []


def send(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: dict, text: str, **more: object) -> None:
    send({"id": request["id"], "result": {"content": [{"type": "text", "text": text}], **more}})


def tool(name: str, **more: object) -> dict:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    return {"name": name, "description": f"{name}, version {version}", "inputSchema": schema, **more}


def tools() -> list[dict]:
    names = ["count", "hang", "garbage", "flood", "large", "slow", "change", "fail", "log", "deaf", "sample", "roots"]
    harmless = {"annotations": {"readOnlyHint": True}}
    extra = [tool("new")] if version > 1 else []
    if "heavy" in sys.argv:
        extra = [tool("heavy", title="x" * (2 << 20))]
    if "odd" in sys.argv:
        odd = ["with space", "a/b", "ü", "a.b.c", "", "x" * 300]
        extra = [*map(tool, odd), {"name": "no schema"}, {"name": "bad schema", "inputSchema": {"type": "nonsense"}}]
    return [*map(tool, names), tool("die"), tool("die-once", **harmless), *extra]


def call(request: dict) -> None:
    global calls, version
    calls += 1
    name, arguments = request["params"]["name"], request["params"].get("arguments", {})
    token = request["params"].get("_meta", {}).get("progressToken")
    if name == "count":
        answer(request, f"{os.getpid()} {calls}")
    elif name == "die":
        os._exit(7)
    elif name == "die-once":
        marker = sys.argv[1]
        if os.path.exists(marker):
            answer(request, "alive")
        else:
            open(marker, "w").close()
            os._exit(7)
    elif name == "garbage":
        print("Starting up… {not json")
        print('{"jsonrpc": "2.0", "id": ')
        sys.stdout.buffer.write(b"\xff\xfe\x00\n")
        answer(request, "after garbage")
    elif name == "flood":
        end = time.monotonic() + arguments.get("x", 1)
        while time.monotonic() < end:
            send({"method": "notifications/message", "params": {"level": "info", "data": "x" * 200}})
        answer(request, "flooded")
    elif name == "large":
        answer(request, "x" * (arguments.get("x", 50) * 1024 * 1024))
    elif name == "slow":
        for step in range(arguments.get("x", 5)):
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": step + 1}})
            time.sleep(0.1)
        answer(request, "slow")
    elif name == "change":
        version += 1
        send({"method": "notifications/tools/list_changed"})
        answer(request, "changed")
    elif name == "fail":
        answer(request, "it went wrong", isError=True)
    elif name == "log":
        send({"method": "notifications/message", "params": {"level": "warning", "data": {"line": 1}}})
        answer(request, "logged")
    elif name == "sample":
        later.append(request)
        send({"id": "s1", "method": "sampling/createMessage", "params": {"messages": []}})
    elif name == "roots":
        later.append(request)
        send({"id": "r1", "method": "roots/list"})
    elif name == "deaf":
        time.sleep(3600)
    elif name == "hang":  # is never answered
        sys.stderr.write("hangs\n")
        sys.stderr.flush()


for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        about = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {"listChanged": True}}}
        send({"id": message["id"], "result": {**about, "serverInfo": {"name": "nasty", "version": "1"}}})
    elif method == "tools/list":
        send({"id": message["id"], "result": {"tools": tools()}})
    elif method == "tools/call":
        call(message)
    elif method is None and later:
        answer(later.pop(), json.dumps({key: message[key] for key in ("result", "error") if key in message}))
    elif method == "notifications/cancelled":
        sys.stderr.write(f"cancelled {message['params']['requestId']}\n")
        sys.stderr.flush()
    elif "id" in message:
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
