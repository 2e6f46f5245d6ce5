"""`${secrets.NAME}`: a task has it, and nothing that is written, sent or shown."""

import subprocess
import sys
from pathlib import Path

import support

SECRET = 'sw0rdfish-ünd-"more"'
DOCUMENT = """
name: secret
tasks:
  - {id: liar, method: python/execute, params: {code: "result = '$' + '{secrets.KEY}'"}}
  - id: reads
    method: python/execute
    params:
      environment: {KEY: "${secrets.KEY}"}
      code: |
        import os
        print('the key is', os.environ['KEY'])
        key = ${secrets.KEY}
        result = {'length': len(key), 'same': key == os.environ['KEY'], 'key': key, 'lie': ${liar.result}}
  - id: fails
    method: python/execute
    params: {code: "raise ValueError(${secrets.KEY})"}
    on_error: skip
  - {id: tells, method: echo/echo, for_each: [1, 2], params: {message: "${item} Bearer ${secrets.KEY}"}}
outputs: {reads: "${reads.result}", tells: "${tells.response}"}
"""


def test_nobody_but_the_task_sees_it(stack: support.Stack, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text(DOCUMENT)
    command = [sys.executable, "-m", "gz_cli", "secret", "set", "KEY", "--state", str(stack.state)]
    subprocess.run(command, input=SECRET.encode(), check=True)
    assert stack.url
    ran = support.gz("run", str(tmp_path / "secret.yaml"), "-o", "json", state=stack.state)
    assert ran.returncode == 0, ran.stderr
    assert f'"length": {len(SECRET)}' in ran.stdout
    assert '"same": true' in ran.stdout
    assert '"lie": "${secrets.KEY}"' in ran.stdout
    assert '"1 Bearer ***"' in ran.stdout
    shown = [ran.stdout, ran.stderr, *(support.gz_here(*words, "secret", state=stack.state).stdout for words in
             (["get"], ["history", "-o", "json"], ["result"]))]  # fmt: skip
    assert not [text for text in shown if "sw0rdfish" in text]
    assert stack.stop() == 0
    kept = [file for file in stack.state.rglob("*") if file.is_file() and file.parent.name != "secrets"]
    assert {file.name for file in kept} >= {"journal.db"}
    assert not [file for file in [*kept, stack.log] if b"sw0rdfish" in file.read_bytes()]
