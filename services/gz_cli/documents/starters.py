"""What `gz init` writes: one small document of each kind, to be changed. Each runs as it stands."""

import json
import re
from typing import Final

from gleitzeit.spec.loading.scalars import plain_scalar

_PLAIN: Final = re.compile(r"\w[\w .-]*")
"""A text that YAML reads as it stands."""

PYTHON: Final = """\
name: {name}
description: Numbers, worked on in two steps.

inputs:
  count: {{type: integer, default: 5, minimum: 1, description: How many numbers.}}

tasks:
  - id: numbers
    method: python/execute
    params:
      code: |
        result = [number ** 2 for number in range(1, ${{inputs.count}} + 1)]

  - id: total
    method: python/execute
    params:
      code: |
        result = sum(${{numbers.result}})      # a value, not text

outputs:
  numbers: ${{numbers.result}}
  total: ${{total.result}}
"""

LLM: Final = """\
name: {name}
description: A question to a model, and its answer in one sentence.

inputs:
  model: {{type: string, default: llama3.2}}
  question: {{type: string, default: Why is the sky blue?}}

tasks:
  - id: answer
    method: llm/chat
    params:
      model: ${{inputs.model}}
      messages:
        - {{role: system, content: You explain things to children.}}
        - {{role: user, content: "${{inputs.question}}"}}
      max_tokens: 500
    retry: 3

  - id: summary
    method: llm/chat
    params:
      model: ${{inputs.model}}
      prompt: "Sum this up in one sentence: ${{answer.response}}"

outputs:
  answer: ${{answer.response}}
  summary: ${{summary.response}}
"""

MIXED: Final = """\
name: {name}
description: Python prepares, a model writes, Python counts.

inputs:
  model: {{type: string, default: llama3.2}}
  topic: {{type: string, default: lighthouses}}

tasks:
  - id: facts
    method: python/execute
    params:
      code: |
        import json
        result = {{"topic": ${{inputs.topic}}, "points": ["history", "use", "a surprise"]}}

  - id: text
    method: llm/chat
    params:
      model: ${{inputs.model}}
      prompt: "Write three sentences about ${{facts.result.topic}}: ${{facts.result.points}}"
      max_tokens: 400
    retry: 3

  - id: words
    method: python/execute
    params:
      code: result = len(${{text.response}}.split())

outputs:
  text: ${{text.response}}
  words: ${{words.result}}
"""

HTTP: Final = """\
name: {name}
description: What an API answers, in parts.

inputs:
  url: {{type: string, default: "https://api.github.com/repos/python/cpython"}}

tasks:
  - id: ask
    method: http/get
    params:
      url: ${{inputs.url}}
      headers: {{Accept: application/json}}
      extract: {{name: $.full_name, stars: $.stargazers_count}}
      rate_limit: 30/m
    retry: {{max_attempts: 3, backoff: exponential}}
    cache: 10m

outputs:
  name: ${{ask.name}}
  stars: ${{ask.stars}}
"""

SHELL: Final = """\
name: {name}
description: Commands of this machine; run it with --allow-shell.

tasks:
  - id: files
    method: shell/exec
    params:
      command: [ls, -1]

  - id: count
    method: shell/pipe
    params:
      commands: [cat, wc -l]
      input: ${{files.stdout}}

outputs:
  lines: ${{count.output}}
"""

BATCH: Final = """\
name: {name}
description: The same for every file; a file that fails is a part of the result.

tasks:
  - id: files
    for_each: {{glob: "*.yaml"}}       # beside this document; ** goes down into folders
    max_parallel: 4
    on_item_error: collect
    method: python/execute
    params:
      code: |
        text = ${{item.content}}
        result = {{"file": ${{item.name}}, "lines": len(text.splitlines())}}

  - id: total
    method: python/execute
    params:
      code: result = sum(one["lines"] for one in ${{files}} if "error" not in one)

outputs:
  files: ${{files}}
  lines: ${{total.result}}
"""

FLOW: Final = """\
name: {name}
description: A decision, work on a list, and something that happens in any case.

inputs:
  words: {{type: array, default: [alpha, beta, gamma]}}

tasks:
  - id: lengths
    for_each: ${{inputs.words}}
    method: python/execute
    params:
      code: result = len(${{item}})

  - id: long
    when: lengths.all(one, one > 3)
    method: echo/echo
    params: {{message: all of them are long}}

  - id: short
    when: "!lengths.all(one, one > 3)"
    method: echo/echo
    params: {{message: some are short}}

always:
  - id: log
    method: echo/echo
    params: {{message: "it ${{workflow.status}}"}}

outputs:
  verdict: ${{long.response || short.response}}
"""

STARTERS: Final = {
    "python": PYTHON,
    "llm": LLM,
    "mixed": MIXED,
    "http": HTTP,
    "shell": SHELL,
    "batch": BATCH,
    "flow": FLOW,
}


def document(kind: str, name: str, schema: str | None) -> str:
    """`schema` is where an editor finds the JSON Schema, if it does."""
    is_plain = _PLAIN.fullmatch(name) is not None and plain_scalar(name) == name
    title = name if is_plain else json.dumps(name, ensure_ascii=False)
    first = f"# yaml-language-server: $schema={schema}\n" if schema is not None else ""
    return first + STARTERS[kind].format(name=title)
