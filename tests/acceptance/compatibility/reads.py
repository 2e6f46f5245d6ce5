"""What people wrote, and what it is read as. One entry: the row of the table, a document, and parts of its normal form.

A document without `tasks` is one task. Paths into the normal form are dotted; `None` is what is left out of it.
"""

from typing import Any, NamedTuple


class Reads(NamedTuple):
    row: str
    document: str
    becomes: dict[str, Any]


class Refused(NamedTuple):
    """`said` is a part of the error, `suggestion` the word that was meant."""

    row: str
    document: str
    said: str
    suggestion: str = ""


ECHO = "{id: a, method: echo/echo, params: {message: x}}"
TASK = "tasks.0."

READS = [
    # ------------------------------------------------------------------------------------------------ 1 shapes
    Reads("shape.normal", f"name: n\ntasks: [{ECHO}]", {"name": "n", "tasks.0.id": "a", "tasks.0.method": "echo/echo"}),
    Reads("shape.normal", '{"name": "n", "tasks": [{"id": "a", "method": "echo/echo"}]}', {"tasks.0.id": "a"}),
    Reads("shape.wrapped", f"workflow:\n  name: n\n  tasks: [{ECHO}]", {"name": "n", "tasks.0.id": "a"}),
    Reads(
        "shape.legacy",
        """
        id: w-1
        name: Directory
        error_strategy: stop
        status: pending
        completed_tasks: []
        task_results: {}
        created_at: "2025-08-11T08:10:14"
        max_parallel: 10
        tasks:
          - {id: l-1, name: List, task_type: python, parameters: {code: "result = 1"}, dependencies: [], status: pending,
             workflow_id: w-1, created_at: x, max_retries: 3, timeout: 300, priority: normal}
          - id: l-2
            task_type: llm_generate
            parameters: {prompt: "Listing: ${task_l-1_result}", model: m, max_tokens: 300}
            dependencies: [l-1]
        """,
        {
            "error_policy": "fail_fast",
            "max_parallel": 10,
            "tasks.0.method": "python/execute",
            "tasks.0.retry.max_attempts": 4,
            "tasks.0.timeout_seconds": 300.0,
            "tasks.1.method": "llm/generate",
            "tasks.1.params.prompt": "Listing: ${l-1.result}",
            "tasks.1.dependencies": ["l-1"],
        },
    ),
    Reads(
        "shape.legacy",
        "name: n\nerror_strategy: continue\ntasks:\n  a: {task_type: function, parameters: {function_name: math.sqrt, args: [4]}}",
        {"error_policy": "continue", "tasks.0.id": "a", "tasks.0.params": {"function": "math.sqrt", "args": [4]}},
    ),
    Reads(
        "shape.legacy",
        """
        name: n
        tasks:
          - {id: a, task_type: mcp_function, parameters: {server: fs, function: read, arguments: {path: /x}}}
          - {id: b, task_type: llm_chat, parameters: {prompt: hi, system_prompt: Be kind.}}
          - {id: c, task_type: http_request, parameters: {url: "http://x/"}}
        """,
        {"tasks.0.method": "mcp/tool.fs.read", "tasks.1.params.system": "Be kind.", "tasks.2.method": "http/request"},
    ),
    Reads(
        "shape.template",
        '{"name": "n", "version": "1.0.0", "parameters": {"query": "q", "most": 5}, "tasks": [{"id": "a", '
        '"protocol": "echo/v1", "method": "echo", "params": {"message": ["${query}", "${most}"]}}]}',
        {"parameters": {"query": "q", "most": 5}, "tasks.0.references": True, "version": "1.0.0"},
    ),
    # ------------------------------------------------------------------------------------------------ 1 workflow keys
    Reads("workflow.id", f"id: w\nname: n\ntasks: [{ECHO}]", {"name": "n", "metadata.id": "w"}),
    Reads("workflow.name", f"name: n\ntasks: [{ECHO}]", {"name": "n"}),
    Reads("workflow.description", f"name: n\ndescription: d\ntasks: [{ECHO}]", {"description": "d"}),
    Reads("workflow.version", f"name: n\nversion: 1.0\ntasks: [{ECHO}]", {"version": "1.0"}),
    Reads(
        "workflow.metadata", f"name: n\nmetadata: {{author: x, tags: [a]}}\ntasks: [{ECHO}]", {"metadata.author": "x"}
    ),
    Reads("workflow.tags", f"name: n\ntags: [a, b]\ntasks: [{ECHO}]", {"tags": ["a", "b"]}),
    Reads("workflow.priority", f"name: n\npriority: high\ntasks: [{ECHO}]", {"priority": 3, "tasks.0.priority": 3}),
    Reads("workflow.priority", f"name: n\npriority: 4\ntasks: [{ECHO}]", {"priority": 4}),
    Reads("workflow.timeout", f"name: n\ntimeout: 86400\ntasks: [{ECHO}]", {"timeout_seconds": 86400.0}),
    Reads("workflow.max_parallel", f"name: n\nmax_parallel: 3\ntasks: [{ECHO}]", {"max_parallel": 3}),
    Reads("workflow.max_parallel", f"name: n\nmax_parallel_tasks: 3\ntasks: [{ECHO}]", {"max_parallel": 3}),
    Reads("workflow.wait", f"name: n\nwait_for_completion: true\ntasks: [{ECHO}]", {"wait_for_completion": True}),
    Reads(
        "workflow.providers",
        f"name: n\nproviders: ['mcp://x']\ntasks: [{ECHO}]",
        {"metadata.required_providers": ["mcp://x"]},
    ),
    Reads(
        "workflow.providers",
        f"name: n\nproviders: {{ollama_pool: {{instances: [a], load_balancing: round_robin}}}}\ntasks: [{ECHO}]",
        {"metadata.required_providers.ollama_pool.instances": ["a"]},
    ),
    Reads(
        "workflow.parameters",
        "name: n\nparameters: {x: 1}\ntasks: [{id: a, method: echo/echo, params: {message: '${parameters.x}'}}]",
        {"parameters": {"x": 1}},
    ),
    Reads(
        "workflow.config",
        f"name: n\nconfig: {{timeout: 5m, max_parallel: 2, continue_on_error: true}}\ntasks: [{ECHO}]",
        {"timeout_seconds": 300.0, "max_parallel": 2, "error_policy": "continue"},
    ),
    Reads(
        "workflow.config",
        f"name: n\nconfig: {{continue_on_error: false}}\ntasks: [{ECHO}]",
        {"error_policy": "fail_fast"},
    ),
    *(
        Reads("workflow.error_policy", f"name: n\nerror_policy: {written}\ntasks: [{ECHO}]", {"error_policy": read})
        for written, read in (
            ("continue", "continue"),
            ("fail_fast", "fail_fast"),
            ("continue_on_error", "continue"),
            ("retry", None),
            ("retry_failed", None),
        )
    ),
    Reads("workflow.error_policy", f"name: n\nerror_policy: retry\ntasks: [{ECHO}]", {"tasks.0.retry.max_attempts": 3}),
    Reads("workflow.error_strategy", f"name: n\nerror_strategy: stop\ntasks: [{ECHO}]", {"error_policy": "fail_fast"}),
    Reads("workflow.execution_mode", f"name: n\nexecution_mode: sequential\ntasks: [{ECHO}]", {"max_parallel": 1}),
    Reads("workflow.execution_mode", f"name: n\nexecution_mode: parallel\ntasks: [{ECHO}]", {"max_parallel": None}),
    Reads(
        "workflow.outputs",
        f"name: n\noutputs: {{one: a.response, two: '${{a.message}}'}}\ntasks: [{ECHO}]",
        {"outputs": {"one": "${a.response}", "two": "${a.message}"}},
    ),
    Reads(
        "workflow.output",
        f"name: n\noutput: {{format: markdown, fields: [{{one: '${{a.response}}'}}, {{two: x}}]}}\ntasks: [{ECHO}]".replace(
            "two: x", "two: '${a.message}'"
        ),
        {"outputs": {"one": "${a.response}", "two": "${a.message}"}, "metadata.output_format": "markdown"},
    ),
    # ------------------------------------------------------------------------------------------------ 1 task keys
    Reads("task.id", "method: echo/echo", {"tasks.0.id": "task-1"}),
    Reads("task.name", "{name: Load Data, method: echo/echo}", {"tasks.0.id": "Load Data"}),
    Reads(
        "task.name",
        """
        name: n
        tasks:
          - {id: load, name: Load Data, method: python/execute, params: {code: "result = 1"}}
          - {id: b, method: echo/echo, params: {message: "${Load Data.result}"}}
          - {id: c, method: echo/echo, dependencies: [Load Data]}
        """,
        {"tasks.1.dependencies": ["load"], "tasks.2.dependencies": ["load"]},
    ),
    Reads("task.description", "{id: a, description: d, method: echo/echo}", {TASK + "description": "d"}),
    Reads(
        "task.protocol",
        "{id: a, protocol: llm/v1, method: llm/chat, params: {prompt: x}}",
        {TASK + "method": "llm/chat"},
    ),
    Reads("task.protocol", "{id: a, protocol: echo/v1, method: echo}", {TASK + "method": "echo/echo"}),
    Reads("task.protocol", "{id: a, protocol: mcp/fs/v1, method: read}", {TASK + "method": "mcp/tool.fs.read"}),
    Reads("task.method", "{id: a, method: execute, params: {code: 'result = 1'}}", {TASK + "method": "python/execute"}),
    Reads("task.method", "{id: a, protocol: llm/v1, method: chat, params: {prompt: x}}", {TASK + "method": "llm/chat"}),
    Reads(
        "task.method",
        "{id: a, protocol: llm/v1, method: generate, params: {prompt: x}}",
        {TASK + "method": "llm/generate"},
    ),
    Reads("task.method", "{id: a, protocol: echo/v1, method: ping}", {TASK + "method": "echo/ping"}),
    Reads("task.method", "{id: a, protocol: mcp/v1, method: tools/list}", {TASK + "method": "mcp/tools/list"}),
    Reads(
        "task.method",
        "{id: a, protocol: mcp/v1, method: tool.add, params: {a: 1, b: 2}}",
        {TASK + "method": "mcp/tool.add"},
    ),
    Reads(
        "task.method", "{id: a, method: python/v1, params: {code: 'result = 1'}}", {TASK + "method": "python/execute"}
    ),
    Reads("task.params", "{id: a, method: echo/echo, parameters: {message: x}}", {TASK + "params.message": "x"}),
    Reads(
        "task.params",
        "{id: a, method: echo/delay, params: {seconds: 1}, parameters: {seconds: 2, message: x}}",
        {TASK + "params": {"seconds": 1, "message": "x"}},
    ),
    Reads(
        "task.dependencies",
        f"name: n\ntasks: [{ECHO}, {{id: b, method: echo/echo, dependencies: [a]}}, "
        "{id: c, method: echo/echo, depends_on: a}, {id: d, method: echo/echo, dependencies: [a], depends_on: [b]}]",
        {"tasks.1.dependencies": ["a"], "tasks.2.dependencies": ["a"], "tasks.3.dependencies": ["a", "b"]},
    ),
    *(
        Reads("task.priority", f"{{id: a, method: echo/echo, priority: {written}}}", {TASK + "priority": read})
        for written, read in (
            ("low", 1),
            ("normal", None),
            ("high", 3),
            ("urgent", 4),
            ("critical", 4),
            ("bulk", 1),
            (1, 1),
            (3, 3),
            (4, 4),
        )
    ),
    Reads("task.timeout", "{id: a, method: echo/echo, timeout: 3600}", {TASK + "timeout_seconds": 3600.0}),
    Reads(
        "task.timeout",
        "{id: a, method: python/execute, params: {code: 'result = 1', timeout: 5}}",
        {TASK + "params.timeout": 5},
    ),
    Reads(
        "task.retry",
        "{id: a, method: echo/echo, retry: {max_attempts: 10, backoff: fixed, base_delay: 2.0, max_delay: 60, jitter: false}}",
        {
            TASK + "retry": {
                "max_attempts": 10,
                "backoff": "fixed",
                "base_delay_seconds": 2.0,
                "max_delay_seconds": 60.0,
                "jitter": False,
            }
        },
    ),
    Reads("task.retry", "{id: a, method: echo/echo, retry: {}}", {TASK + "retry": {"max_attempts": 3}}),
    Reads(
        "task.retry",
        "{id: a, method: echo/echo, retry: {max_attempts: 2, delay: 3}}",
        {TASK + "retry.base_delay_seconds": 3.0},
    ),
    Reads(
        "task.retry",
        "{id: a, method: echo/echo, retry: {max_attempts: 2, initial_delay: 3}}",
        {TASK + "retry.base_delay_seconds": 3.0},
    ),
    Reads(
        "task.retry",
        "{id: a, method: echo/echo, retry: {initial_delay: 3, exponential_backoff: false}}",
        {TASK + "retry.backoff": "fixed", TASK + "retry.base_delay_seconds": 3.0},
    ),
    Reads(
        "task.retry_config",
        "{id: a, method: echo/echo, retry_config: {max_attempts: 4, backoff_strategy: linear, base_delay: 2, jitter: true}}",
        {TASK + "retry": {"max_attempts": 4, "backoff": "linear", "base_delay_seconds": 2.0}},
    ),
    Reads(
        "task.retry_config",
        "{id: a, method: echo/echo, retry_config: {initial_delay: 2, backoff_multiplier: 3}}",
        {TASK + "retry.multiplier": 3.0},
    ),
    Reads("task.max_retries", "{id: a, method: echo/echo, max_retries: 2}", {TASK + "retry.max_attempts": 3}),
    Reads("task.max_retries", "{id: a, method: echo/echo, max_retries: 0}", {TASK + "retry": {}}),
    Reads("task.on_error", "{id: a, method: echo/echo, on_error: skip}", {TASK + "on_error": "skip"}),
    Reads("task.on_error", "{id: a, method: echo/echo, on_error: retry}", {TASK + "retry.max_attempts": 3}),
    Reads("task.on_error", "{id: a, method: echo/echo, on_error: fail}", {TASK + "on_error": None}),
    Reads(
        "task.tags",
        "{id: a, method: echo/echo, tags: [x], metadata: {y: 1}}",
        {TASK + "tags": ["x"], TASK + "metadata.y": 1},
    ),
    Reads("task.type", "{id: a, type: llm, params: {prompt: x}}", {TASK + "method": "llm/chat"}),
    Reads("task.type", "{id: a, type: llm, provider: ollama, params: {prompt: x}}", {TASK + "provider": "ollama"}),
    Reads("task.type", "{id: a, type: python, code: 'result = 1'}", {TASK + "method": "python/execute"}),
    Reads(
        "task.type",
        "{id: a, type: mcp, provider: mcp, params: {tool: add, a: 25, b: 17}}",
        {TASK + "method": "mcp/tool.add", TASK + "params": {"a": 25, "b": 17}, TASK + "provider": None},
    ),
    Reads("task.type", "{id: a, type: http, params: {url: 'http://x/'}}", {TASK + "method": "http/request"}),
    Reads("task.type", "{id: a, type: shell, params: {command: ls}}", {TASK + "method": "shell/exec"}),
    Reads("task.type", "{id: a, type: signal, signal_name: s}", {TASK + "method": "signal/wait"}),
    Reads(
        "task.task_type",
        "{id: a, task_type: llm_vision, parameters: {prompt: x, image_path: /x.png}}",
        {TASK + "method": "llm/vision"},
    ),
    Reads("task.code", "{id: a, type: python, code: 'result = 1'}", {TASK + "params.code": "result = 1"}),
    Reads(
        "task.signals",
        "{id: a, type: signal, signal_action: wait, signal_name: s, timeout: 5}",
        {TASK + "method": "signal/wait"},
    ),
    Reads(
        "task.signals",
        "{id: a, type: signal, signal_action: wait_any, signal_names: [s, t]}",
        {TASK + "method": "signal/wait_any"},
    ),
    Reads(
        "task.signals",
        "{id: a, type: signal, signal_action: wait_all, signal_names: [s, t]}",
        {TASK + "method": "signal/wait_all"},
    ),
    Reads(
        "task.signals",
        "{id: a, type: signal, signal_action: send, signal_name: s, payload: {x: 1}, target_workflows: [w]}",
        {TASK + "method": "signal/send", TASK + "params.payload": {"x": 1}},
    ),
    Reads(
        "task.signals",
        "{id: a, type: signal, signal_action: broadcast, signal_name: s}",
        {TASK + "method": "signal/broadcast"},
    ),
    Reads(
        "task.signals",
        "{id: a, type: signal, params: {signal_action: wait_any, signal_names: [s, t]}}",
        {TASK + "method": "signal/wait_any", TASK + "params": {"signal_names": ["s", "t"]}},
    ),
    Reads(
        "task.signals",
        "{id: a, method: signal/v1, params: {signal_action: wait, signal_name: s}}",
        {TASK + "method": "signal/wait"},
    ),
    Reads(
        "task.workflow",
        f"{{id: a, type: workflow, workflow: {{name: c, tasks: [{ECHO}]}}}}",
        {TASK + "method": "workflow/run", TASK + "workflow.name": "c"},
    ),
    Reads(
        "method.workflow",
        f"{{id: a, method: workflow/execute, params: {{workflow: {{name: c, tasks: [{ECHO}]}}, inputs: {{x: 1}}}}}}",
        {TASK + "method": "workflow/run", TASK + "workflow.name": "c"},
    ),
    Reads(
        "method.workflow",
        f"{{id: a, method: workflow/execute_async, params: {{workflow: {{name: c, tasks: [{ECHO}]}}}}}}",
        {TASK + "method": "workflow/run"},
    ),
    *(
        Reads(
            "task.conditions",
            f"name: n\ntasks: [{{id: t, method: python/execute, code: 'result = 1'}}, {{id: b, method: echo/echo, {condition}}}]",
            {"tasks.1.when": read, "tasks.1.dependencies": ["t"]},
        )
        for condition, read in (
            ("conditions: ['${t.result.x} == true']", "${t.result.x} == true"),
            ("condition: '${t.result.score > 0.8}'", "(${t.result.score} > 0.8)"),
            ("when: '{{ inputs.t.valid and inputs.t.passed }}'", "( ${inputs.t.valid} and ${inputs.t.passed} )"),
            ("when: t.result.score > 0.8", "${t.result.score} > 0.8"),
        )
    ),
    Reads(
        "task.validation_behavior",
        "name: n\ntasks: [{id: t, method: validation/assert, params: {assertions: ['1 > 2']}}, "
        "{id: b, method: echo/echo, dependencies: [t], validation_behavior: continue}]",
        {"tasks.1.trigger": "always", "tasks.1.dependencies": ["t"]},
    ),
    # ------------------------------------------------------------------------------------------------ 3 methods
    *(
        Reads(f"method.{row}", f"{{id: a, method: {written}, params: {params}}}", {TASK + "method": read})
        for row, written, params, read in (
            ("llm.chat", "llm/chat", "{prompt: x}", "llm/chat"),
            ("llm.generate", "llm/complete", "{prompt: x}", "llm/generate"),
            ("llm.generate", "llm/generate", "{prompt: x}", "llm/generate"),
            ("llm.generate", "ollama/generate", "{prompt: x}", "llm/generate"),
            ("llm.vision", "llm/vision", "{prompt: x, image_path: /x.png}", "llm/vision"),
            ("llm.embed", "llm/embed", "{text: x}", "llm/embeddings"),
            ("llm.embed", "llm/embeddings", "{input: x}", "llm/embeddings"),
            ("llm.list_models", "llm/list_models", "{}", "llm/models"),
            ("python.execute", "python/exec", "{code: 'result = 1'}", "python/execute"),
            ("python.execute", "python/execute", "{file: /x.py}", "python/execute"),
            ("python.execute", "python/execute", "{file_path: /x.py, context: {a: 1}}", "python/execute"),
            ("python.execute", "python/execute", "{function: math.sqrt, args: [4], kwargs: {}}", "python/execute"),
            ("python.execute", "python/execute", "{code: 'result = 1', args: {a: 1}}", "python/execute"),
            ("python.eval", "python/eval", "{expression: 1 + 1, context: {}, allow_eval: true}", "python/eval"),
            ("python.validate", "python/validate", "{code: 'x = 1'}", "python/validate"),
            ("python.register", "python/register", "{name: f, type: lambda, lambda: 'lambda x: x'}", "python/register"),
            ("python.register", "python/list", "{}", "python/list"),
            ("python.register", "python/info", "{}", "python/info"),
            ("mcp", "mcp/tool.add", "{a: 1, b: 2}", "mcp/tool.add"),
            ("mcp", "mcp/tool.fs.read", "{path: x}", "mcp/tool.fs.read"),
            ("mcp", "mcp/tool.gh.create_issue", "{arguments: {title: x}}", "mcp/tool.gh.create_issue"),
            ("mcp", "mcp/tools/list", "{}", "mcp/tools/list"),
            ("mcp", "mcp/resources/read", "{uri: x}", "mcp/resources/read"),
            ("mcp", "mcp/prompts/list", "{}", "mcp/prompts/list"),
            ("mcp", "mcp/servers", "{}", "mcp/servers"),
            ("mcp", "mcp/ping", "{}", "mcp/ping"),
            ("echo", "echo/echo", "{message: x}", "echo/echo"),
            ("echo", "echo/timestamp", "{}", "echo/timestamp"),
            ("echo", "echo/delay", "{delay: 1}", "echo/delay"),
            ("echo", "echo/error", "{type: value, message: x}", "echo/error"),
            ("signal", "signal/wait", "{signal_name: s}", "signal/wait"),
            ("http", "http/get", "{url: 'http://x/', expected_status: [200, 404], rate_limit: 5}", "http/get"),
            ("http", "http/post", "{url: 'http://x/', json: {a: 1}, auth: {type: bearer, token: t}}", "http/post"),
            ("http", "http/put", "{url: 'http://x/', data: x, response_type: text}", "http/put"),
            ("http", "http/patch", "{url: 'http://x/', headers: {a: b}, timeout: 5}", "http/patch"),
            ("http", "http/delete", "{url: 'http://x/', params: {a: 1}, extract: {x: $.a}}", "http/delete"),
            (
                "shell",
                "shell/exec",
                "{command: ls, args: [-l], env: {A: b}, capture_output: true, timeout: 5}",
                "shell/exec",
            ),
            (
                "validation",
                "validation/evaluate",
                "{conditions: [{name: a, expression: x > 1}], mode: any, on_failure: block, context: {x: 1}}",
                "validation/evaluate",
            ),
            ("validation", "validation/assert", "{assertions: [x > 1], context: {x: 2}}", "validation/assert"),
            (
                "validation",
                "validation/gate",
                "{rules: [{name: r, condition: x > 1}], context: {x: 2}}",
                "validation/gate",
            ),
            ("shell", "shell/pipe", "{commands: [ls, wc]}", "shell/pipe"),
            ("shell", "shell/batch", "{commands: [ls, wc], stop_on_error: false}", "shell/batch"),
        )
    ),
    *(
        Reads(
            "method.mcp", f"{{id: a, protocol: mcp/v1, method: {written}, params: {params}}}", {TASK + "method": read}
        )
        for written, params, read in (
            ("list_tools", "{}", "mcp/tools/list"),
            ("tools/call", "{name: add, arguments: {a: 1, b: 2}}", "mcp/tool.add"),
            ("resources/list", "{}", "mcp/resources/list"),
            ("resource.x", "{}", "mcp/resources/read"),
            ("prompt.x", "{}", "mcp/prompts/get"),
            ("server_info", "{}", "mcp/server_info"),
            ("ping", "{}", "mcp/ping"),
        )
    ),
    *(
        Reads("method.mcp", f"{{id: a, method: {written}, params: {params}}}", {TASK + "method": read})
        for written, params, read in (
            ("tools/call", "{name: add, arguments: {a: 1, b: 2}}", "mcp/tool.add"),
            ("tools/call", "{name: '${inputs.x}', arguments: {a: 1}}", "mcp/tools/call"),
            ("tools/list", "{}", "mcp/tools/list"),
            ("resources/read", "{uri: 'file:///x'}", "mcp/resources/read"),
            ("prompts/get", "{name: x}", "mcp/prompts/get"),
        )
    ),
    Reads(
        "method.llm.chat",
        "{id: a, method: llm/chat, params: {model: m, messages: [{role: system, content: x}, {role: user, content: y}], "
        "temperature: 0.7, max_tokens: 500, file_path: /x.txt, timeout: 60, session_id: s, top_p: 0.9, top_k: 40, "
        "repeat_penalty: 1.1, seed: 1, num_ctx: 4096, options: {mirostat: 1}, load_balancing_strategy: least_loaded, "
        "instance_tags: [gpu], require_gpu: true}}",
        {TASK + "params.num_ctx": 4096, TASK + "params.load_balancing_strategy": "least_loaded"},
    ),
    *(
        Reads(
            "method.template",
            document,
            {TASK + "method": "llm/chat", TASK + "params": {"prompt": "hi", "session_id": "s"}},
        )
        for document in (
            "{id: a, method: agent/chat, params: {message: hi, session_id: s}}",
            "{id: a, protocol: template/v1, method: chat, parameters: {message: hi, session_id: s}}",
        )
    ),
    *(
        Reads(
            "method.template", document, {TASK + "method": "workflow/run", TASK + "params": {"inputs": {"topic": "x"}}}
        )
        for document in (
            "{id: a, method: template/research, params: {topic: x}}",
            "{id: a, type: agent, method: analyze, params: {topic: x}}",
        )
    ),
    # ------------------------------------------------------------------------------------------------ 8 rulings
    Reads("ruling.4", "{id: a, method: echo/echo, priority: 3}", {TASK + "priority": 3}),
    Reads(
        "ruling.22",
        """
        name: n
        tasks:
          - {id: a, method: python/execute, params: {code: "result = 1"}}
          - {id: b, method: echo/echo, dependencies: [a]}
          - {id: c, method: echo/echo, dependencies: [b], params: {message: "${a.result}"}}
        """,
        {"tasks.2.dependencies": ["b", "a"]},
    ),
]

REFUSED = [
    Refused("validation", "name: n\ntasks: []", "at least one task"),
    Refused("validation", f"name: n\ntasks: [{ECHO}, {ECHO}]", "is there twice"),
    Refused("validation", "{id: a, method: echo/echo, dependencies: [b]}", "there is no task 'b'"),
    Refused(
        "validation",
        "name: n\ntasks: [{id: a, method: echo/echo, dependencies: [b]}, {id: b, method: echo/echo, dependencies: [a]}]",
        "wait for each other",
    ),
    Refused("validation", "{id: a, method: echo/nothing}", "has no method 'echo/nothing'", "echo/ping"),
    Refused("validation", "{id: a, method: echo/echo, params: {mesage: x}}", "mesage", "message"),
    Refused(
        "ruling.20",
        f"name: n\ntasks: [{ECHO.replace('id: a', 'id: first-task')}, "
        "{id: b, method: echo/echo, params: {message: '${first_task.response}'}}]",
        "there is no task 'first_task'",
        "first-task",
    ),
    Refused("method.template", "{id: a, type: agent}", "method: llm/chat"),
    Refused("task.task_type", "{id: a, task_type: file_process}", "llm_generate, llm_chat"),
    Refused(
        "reference.builtin", "{id: a, method: echo/echo, params: {message: '${SENDER_WORKFLOW_ID}'}}", "${wait.sender}"
    ),
    Refused(
        "reference.none", "{id: a, method: echo/echo, params: {message: '${nothing.x}'}}", "there is no task 'nothing'"
    ),
]
