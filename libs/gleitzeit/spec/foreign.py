"""What other engines call things, for those who write from memory: the word that stands for it here, or where it is."""

from collections.abc import Mapping
from typing import Final

Foreign = Mapping[str, str]
"""word -> a key of ours, or a sentence."""

NOTHING: Final[Foreign] = {}

_COMMAND = "a command is 'method: shell/exec' with 'params: {command: …}', Python is 'code: …'"
SECRETS: Final = "a provider reads keys from its own environment; '${env.NAME}' is read where you submit"
_BATCH = "it has a meaning only in a document with 'type: batch'"
_CLOCK = "'gz schedule put NAME FILE --cron …' lets the clock start a workflow"

OF_A_TASK: Final[Foreign] = {
    **dict.fromkeys(("if", "only_if", "run_if", "runIf"), "when"),
    **dict.fromkeys(("needs", "depends", "dependsOn", "dependOn", "upstream", "after", "requires"), "dependencies"),
    **dict.fromkeys(("with", "args", "arguments", "input", "op_kwargs"), "params"),
    **dict.fromkeys(("withItems", "with_items", "withParam", "with_param", "loop", "forEach", "items"), "for_each"),
    **dict.fromkeys(
        ("continue-on-error", "continue_on_error", "continueOn", "allow_failure", "allowFailure"), "on_error"
    ),
    **dict.fromkeys(("retries", "retryStrategy", "retry_policy", "retryPolicy"), "retry"),
    **dict.fromkeys(("timeout-minutes", "timeout_minutes", "timeout_seconds", "timeoutSeconds"), "timeout"),
    **dict.fromkeys(("finally", "trigger_rule", "triggerRule"), "always"),
    **dict.fromkeys(("onFailure", "on_fail"), "on_failure"),
    **dict.fromkeys(("uses", "action", "operator"), "method"),
    "strategy": "matrix",
    "model": "the model is one of its 'params'",
    "prompt": "the prompt is one of its 'params'",
    "messages": "the messages are among its 'params'",
    "wait": "'wait: false' is one of its 'params', beside 'workflow'",
    "callback": "the callback is one of its 'params', beside 'workflow'",
    "outputs": "its result is read as '${task.field}'; 'outputs' are of the workflow",
    "env": "'env' is of the workflow; a script's variables are 'params: {environment: {…}}'",
    **dict.fromkeys(("run", "command", "script", "bash"), _COMMAND),
}

OF_A_WORKFLOW: Final[Foreign] = {
    **dict.fromkeys(("steps", "jobs", "nodes", "stages", "activities"), "tasks"),
    **dict.fromkeys(("variables", "vars", "params", "arguments"), "inputs"),
    **dict.fromkeys(("finally", "onExit", "on_exit"), "always"),
    **dict.fromkeys(("errors", "onFailure", "on_fail"), "on_failure"),
    **dict.fromkeys(("parallelism", "max-parallel", "max_active_tasks"), "max_parallel"),
    **dict.fromkeys(("batch", "template", "protocol"), _BATCH),
    "type": "the only one that a document may have is 'type: batch', with 'batch' and 'template'",
    "secrets": SECRETS,
    "title": "name",
    "timeout-minutes": "timeout",
    "retry": "'defaults: {retry: …}' is for all tasks",
    **dict.fromkeys(("on", "schedule", "triggers", "cron", "schedule_interval"), _CLOCK),
}

FUNCTIONS: Final[Foreign] = {
    **dict.fromkeys(("len", "length", "count"), "size"),
    **dict.fromkeys(("lower", "toLower", "toLowerCase"), "lowerAscii"),
    **dict.fromkeys(("upper", "toUpper", "toUpperCase"), "upperAscii"),
    "strip": "trim",
    "str": "string",
    "float": "double",
    "max": "greatest",
    "min": "least",
    "defined": "has",
    "includes": "contains",
    "match": "matches",
    "always": "'always: true' lets a task run in any case",
    "failure": "'on_failure: true' lets a task run if something failed",
    "success": "without more a task runs if what it depends on has completed",
}
