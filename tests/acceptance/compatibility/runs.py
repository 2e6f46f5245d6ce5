"""Documents that are run for real, and what comes out: the row of the table, the document, its outputs.

A task that fails is `error.<task>` with a part of its message.
"""

from typing import Any, NamedTuple


class Runs(NamedTuple):
    row: str
    document: str
    outputs: dict[str, Any]


LLM = "id: llm, method: echo/echo, params: {message: hello}"

RUNS = [
    # ------------------------------------------------------------------------------------- 3 results of methods
    Runs(
        "result.echo",
        f"name: n\ntasks: [{{{LLM}}}]\noutputs: {{a: llm.response, b: llm.echoed, c: llm.message, d: llm.content, e: '${{llm}}'}}",
        {"a": "hello", "b": "hello", "c": "hello", "d": "hello"},
    ),
    Runs(
        "result.python",
        """
        name: n
        tasks:
          - {id: a, method: python/execute, params: {code: "print('said')\\nresult = {'n': 3, 'items': [{'name': 'x'}]}"}}
        outputs:
          all: a
          result: a.result
          n: a.n
          nested: a.result.n
          twice: a.result.result.n
          item: "${a.result.items[0].name}"
          dotted: "${a.items.0.name}"
          output: a.output
          stdout: a.stdout
          success: a.success
          code: a.exit_code
          text: "n is ${a.result.n} of ${a.result.items}"
          status: a.status
        """,
        {
            "all": {"n": 3, "items": [{"name": "x"}]},
            "result": {"n": 3, "items": [{"name": "x"}]},
            "n": 3,
            "nested": 3,
            "twice": 3,
            "item": "x",
            "dotted": "x",
            "output": "said\n",
            "stdout": "said\n",
            "success": True,
            "code": 0,
            "text": 'n is 3 of [{"name":"x"}]',
            "status": "completed",
        },
    ),
    Runs(
        "script.conventions",
        """
        name: n
        tasks:
          - {id: printed, method: python/execute, params: {code: "print('{\\"a\\": 1}')"}}
          - {id: text, method: python/execute, params: {code: "print('one')\\nprint('two')"}}
          - {id: returned, method: python/execute, params: {code: "return {'x': 1}"}}
          - {id: locals, method: python/execute, params: {code: "result = 'context' in locals()", context: {a: 1}}}
          - {id: args, method: python/execute, params: {code: "result = args['a'] + context['b']", args: {a: 1}, context: {b: 2}}}
        outputs: {printed: printed.result, text: text.result, returned: returned.result, locals: locals.result, args: args.result}
        """,
        {"printed": {"a": 1}, "text": "one\ntwo", "returned": {"x": 1}, "locals": True, "args": 3},
    ),
    Runs(
        "script.context",
        """
        name: n
        tasks:
          - {id: first, name: First One, method: python/execute, params: {code: "result = 5"}}
          - id: second
            method: python/execute
            dependencies: [first]
            params:
              code: |
                result = [context['first']['result'], context['First One']['result'], inputs.get('first')]
          - {id: third, method: python/execute, dependencies: [first], params: {code: "result = context", context: {mine: 1}}}
          - {id: fourth, method: python/execute, dependencies: [first], code: "result = workflow.get_task_result('first')"}
          - {id: fifth, method: python/execute, code: "workflow.get_task_result('first')", on_error: skip}
          - id: sixth
            type: workflow
            workflow:
              name: child
              tasks: [{id: own, method: python/execute, params: {code: "result = inputs.get('text')"}}]
              outputs: {own: own.result}
            inputs: {text: passed}
        outputs: {second: second.result, third: third.result, fourth: fourth.result, sixth: sixth.own}
        """,
        {
            "second": [5, 5, 5],
            "third": {"mine": 1},
            "fourth": 5,
            "sixth": "passed",
            "error.fifth": "one of the task's dependencies",
        },
    ),
    Runs(
        "code.references",
        """
        name: n
        tasks:
          - {id: gen, method: python/execute, params: {code: "result = {'items': [1, 2], 'text': 'a \\"\\"\\" b'}"}}
          - id: use
            method: python/execute
            params:
              code: |
                items = ${gen.items}
                analysis = '''${gen.result.text}'''
                result = [sum(items), analysis]
        outputs: {use: use.result}
        """,
        {"use": [3, 'a """ b']},
    ),
    Runs(
        "method.python.function",
        "name: n\ntasks: [{id: a, method: python/execute, params: {function: math.sqrt, args: [16]}}]\noutputs: {a: a.result}",
        {"a": 4.0},
    ),
    Runs(
        "method.python.eval",
        "name: n\ntasks: [{id: a, method: python/eval, params: {expression: 'x * 2', context: {x: 4}}}]\noutputs: {a: a.result}",
        {"a": 8},
    ),
    # ------------------------------------------------------------------------------------- 4 references
    Runs(
        "reference.builtin",
        """
        name: my flow
        parameters: {text: hi, deep: {x: [1]}}
        config: {level: 3}
        tasks:
          - id: a
            method: echo/echo
            params:
              message: ["${workflow.name}", "${parameters.text}", "${input.text}", "${inputs.deep.x[0]}", "${config.level}",
                        "${text}", "${workflow.variables.text}", "${REQUEST_ID == WORKFLOW_ID}"]
        outputs: {a: a.response}
        """,
        {"a": ["my flow", "hi", "hi", 1, 3, "hi", "hi", True]},
    ),
    Runs(
        "reference.mustache",
        """
        name: n
        tasks:
          - {id: a, method: python/execute, params: {code: "result = {'x': 1}"}}
          - {id: b, method: echo/echo, params: {message: ["{{ inputs.a.x }}", "{{a.result}}", "{{ other.thing }}"]}}
        outputs: {b: b.response}
        """,
        {"b": [1, {"x": 1}, "{{ other.thing }}"]},
    ),
    Runs(
        "reference.expressions",
        """
        name: n
        tasks:
          - {id: a, method: python/execute, params: {code: "result = {'count': 3, 'empty': '', 'score': 0.9}"}}
          - id: b
            method: echo/echo
            params: {message: ["${a.count * 2}", "${a.empty || 'default'}", "${a.result.score > 0.8}"]}
        outputs: {b: b.response}
        """,
        {"b": [6, "default", True]},
    ),
    Runs(
        "reference.metadata",
        """
        name: n
        tasks:
          - {id: a, method: echo/delay, params: {delay: 0.01}}
          - {id: b, method: echo/echo, params: {message: ["${a.status}", "${a.metadata.attempts}"]}}
        outputs: {b: b.response}
        """,
        {"b": ["completed", 1]},
    ),
    Runs(
        "reference.escape",
        "name: n\ntasks: [{id: a, method: echo/echo, params: {message: 'as $${x} is'}}]\noutputs: {a: a.response}",
        {"a": "as ${x} is"},
    ),
    Runs(
        "reference.once",
        """
        name: n
        tasks:
          - {id: a, method: echo/echo, params: {message: "$${b.x}"}}
          - {id: b, method: echo/echo, params: {message: "said ${a.response}"}}
        outputs: {b: b.response}
        """,
        {"b": "said ${b.x}"},
    ),
    Runs(
        "reference.keep",
        """
        name: n
        unresolved: keep
        tasks:
          - {id: a, method: python/execute, params: {code: "result = {'x': 1}"}}
          - {id: b, method: echo/echo, params: {message: ["${a.x}", "${a.y}", "text ${nothing.z}"]}}
        outputs: {b: b.response}
        """,
        {"b": [1, "${a.y}", "text ${nothing.z}"]},
    ),
    Runs(
        "reference.missing",
        """
        name: n
        error_policy: continue
        tasks:
          - {id: a, method: python/execute, params: {code: "result = {'x': 1, 'z': 2}"}}
          - {id: b, method: echo/echo, params: {message: "${a.result.y}"}}
        """,
        {"error.b": "there is no 'y'"},
    ),
    # ------------------------------------------------------------------------------------- failures
    Runs(
        "ruling.23",
        "name: n\ntasks: [{id: a, method: python/execute, params: {code: \"print('x')\\nraise ValueError('no')\"}}]",
        {"error.a": "no"},
    ),
    Runs(
        "method.echo.error",
        "name: n\ntasks: [{id: a, method: echo/error, params: {type: value, message: no}}]",
        {"error.a": "no"},
    ),
    Runs(
        "ruling.8",
        """
        name: n
        tasks:
          - {id: bad, method: echo/error, params: {type: value, message: no}}
          - {id: after, method: echo/echo, dependencies: [bad]}
          - {id: other, method: echo/echo, params: {message: went on}}
        """,
        {"error.bad": "no", "status.after": "skipped", "status.other": "completed"},
    ),
    Runs(
        "task.on_error",
        """
        name: n
        tasks:
          - {id: bad, method: echo/error, params: {type: value, message: no}, on_error: skip}
          - {id: after, method: echo/echo, params: {message: "${bad.response}"}}
        outputs: {a: after.response}
        """,
        {"a": None, "status.after": "completed"},
    ),
    Runs(
        "task.timeout",
        "name: n\ntasks: [{id: a, method: echo/delay, params: {delay: 5}, timeout: 0.1}]",
        {"error.a": "100 ms"},
    ),
    Runs(
        "shape.legacy",
        """
        {"id": "w", "name": "n", "error_strategy": "stop", "status": "pending", "task_results": {}, "tasks": [
          {"id": "a-1", "name": "One", "task_type": "python", "parameters": {"code": "result = 2"}, "status": "pending"},
          {"id": "b-2", "task_type": "function", "parameters": {"function_name": "math.pow", "args": [3, "${task_a-1_result}"]},
           "dependencies": ["a-1"], "max_retries": 3}],
         "output": {"format": "json", "fields": [{"power": "${b-2.result}"}]}}
        """,
        {"power": 9.0},
    ),
    Runs(
        "shape.legacy",
        """
        {"name": "n", "error_strategy": "continue", "tasks": {
          "a": {"task_type": "function", "parameters": {"function_name": "math.pow", "args": [2, 3]}},
          "b": {"task_type": "function", "parameters": {"function": "json.dumps", "kwargs": {"obj": "${task_a_result}"}}},
          "c": {"task_type": "function", "parameters": {"function_name": "operator.pow", "args": {"a": 1}}}},
         "outputs": {"b": "b.result"}}
        """,
        {"status.b": "completed", "error.c": "pow"},
    ),
    Runs(
        "method.workflow",
        """
        name: n
        tasks:
          - id: begin
            method: workflow/execute_async
            params:
              workflow_ref: {name: c, tasks: [{id: x, method: echo/echo, params: {message: hi}}], outputs: {said: x.response}}
              callback: {signal: finished}
          - {id: wait, type: signal, signal_action: wait, signal_name: finished, timeout: 30}
        outputs: {status: wait.payload.status, said: wait.payload.outputs.said, same: "${wait.sender == begin.workflow_id}"}
        """,
        {"status": "completed", "said": "hi", "same": True},
    ),
    Runs(
        "signals",
        """
        name: n
        tasks:
          - {id: send, type: signal, signal_action: send, signal_name: ready, payload: {status: go}}
          - {id: later, method: timer/sleep, params: {seconds: 0.05}, dependencies: [send]}
          - {id: wait, type: signal, signal_action: wait, signal_name: ready, timeout: 30, dependencies: [later]}
        outputs: {payload: wait.payload}
        """,
        {"payload": {"status": "go"}},
    ),
    Runs(
        "signals",
        """
        name: n
        tasks:
          - {id: send, method: signal/send, params: {signal_name: a, payload: 1}}
          - {id: any, method: signal/wait_any, params: {signal_names: [b, a]}}
        outputs: {payload: any.payload}
        """,
        {"payload": 1},
    ),
]
