"""What other engines call things, for those who write from memory: the word that stands for it here, or where it is."""

from collections.abc import Mapping
from typing import Final

Foreign = Mapping[str, str]
"""word -> a key of ours, or a sentence."""

NOTHING: Final[Foreign] = {}

_COMMAND = "a command is 'method: shell/exec' with 'params: {command: …}', Python is 'code: …'"
SECRETS: Final = (
    "'gz secret set NAME' keeps one where the providers run, and '${secrets.NAME}' in 'params' reads it there"
)
_BATCH = "it has a meaning only in a document with 'type: batch'"
_RETRIES = "'retry: {max_attempts, base_delay, …}' holds all about repetitions"
_ORDER = "what is to come first stands in a task's 'dependencies', or is referred to as '${task.field}'"
_WRAPPED = "what stands within it has its place here, at the top"
_RESULT = "its result is read as '${task.field}'"
_CLOCK = "'gz schedule put NAME FILE --cron …' lets the clock start a workflow"

OF_A_TASK: Final[Foreign] = {
    **dict.fromkeys(("if", "only_if", "run_if", "runIf"), "when"),
    **dict.fromkeys(
        ("needs", "depends", "dependsOn", "dependOn", "upstream", "after", "requires", "deps"), "dependencies"
    ),
    **dict.fromkeys(("run_after", "runAfter", "depends_upon"), "dependencies"),
    **dict.fromkeys(("task_id", "taskId", "taskReferenceName", "key"), "id"),
    **dict.fromkeys(("with", "args", "arguments", "input", "op_kwargs"), "params"),
    **dict.fromkeys(("withItems", "with_items", "withParam", "with_param", "loop", "items", "loop_over"), "for_each"),
    **dict.fromkeys(
        ("continue-on-error", "continue_on_error", "continueOn", "allow_failure", "allowFailure"), "on_error"
    ),
    **dict.fromkeys(("retries", "retryStrategy", "retry_policy", "retryPolicy"), "retry"),
    **dict.fromkeys(("timeout-minutes", "timeout_minutes", "timeout_seconds", "timeoutSeconds"), "timeout"),
    **dict.fromkeys(("start_to_close_timeout", "execution_timeout", "TimeoutSeconds"), "timeout"),
    **dict.fromkeys(("schedule_to_start_timeout", "task_queue_timeout"), "queue_timeout"),
    **dict.fromkeys(("retry_delay", "retry_backoff", "retries_delay", "retry_exponential_backoff"), _RETRIES),
    **dict.fromkeys(("finally", "trigger_rule", "triggerRule"), "always"),
    **dict.fromkeys(("onFailure", "on_fail"), "on_failure"),
    **dict.fromkeys(("uses", "action", "operator", "activity", "plugin"), "method"),
    **dict.fromkeys(("decisionCases", "choices", "branches"), "cases"),
    **dict.fromkeys(("defaultCase", "otherwise"), "default"),
    **dict.fromkeys(("expression", "evaluatorType", "choice"), "switch"),
    **dict.fromkeys(("catch", "Catch", "rescue"), "on_failure"),
    **dict.fromkeys(("compensate", "compensation", "rollback"), "undo"),
    **dict.fromkeys(("next", "Next", "goto", "then"), _ORDER),
    **dict.fromkeys(("register", "result", "output", "save_as"), _RESULT),
    **dict.fromkeys(("memoize", "cache_policy", "cache_key"), "cache"),
    **dict.fromkeys(("subflow", "sub_workflow", "flow", "uses_workflow"), "workflow"),
    "python_callable": "a function is 'method: python/execute' with 'params: {function: module.name, args: […]}'",
    "strategy": "matrix",
    "model": "the model is one of its 'params'",
    "prompt": "the prompt is one of its 'params'",
    "messages": "the messages are among its 'params'",
    "wait": "'wait: false' is one of its 'params', beside 'workflow'",
    "callback": "the callback is one of its 'params', beside 'workflow'",
    "outputs": f"{_RESULT}; 'outputs' are of the workflow",
    "env": "'env' is of the workflow; a script's variables are 'params: {environment: {…}}'",
    **dict.fromkeys(("run", "command", "script", "bash", "bash_command"), _COMMAND),
    **dict.fromkeys(("cmd", "cmds", "commands"), _COMMAND),
}

OF_A_WORKFLOW: Final[Foreign] = {
    **dict.fromkeys(("steps", "jobs", "nodes", "stages", "activities", "States", "states"), "tasks"),
    **dict.fromkeys(("modules", "ops", "actions", "do"), "tasks"),
    **dict.fromkeys(("Comment", "summary", "doc"), "description"),
    **dict.fromkeys(("dag_id", "workflow_name", "flow_name"), "name"),
    **dict.fromkeys(("outputParameters", "output_schema", "results"), "outputs"),
    **dict.fromkeys(("inputParameters", "input_schema", "params_schema"), "inputs"),
    **dict.fromkeys(("default_args", "default_task_args"), "defaults"),
    **dict.fromkeys(("StartAt", "start_at", "entrypoint", "entry_point", "edges", "connections"), _ORDER),
    **dict.fromkeys(("spec", "value", "flow", "pipeline", "dag"), _WRAPPED),
    **dict.fromkeys(("apiVersion", "kind", "schemaVersion"), "nothing needs to be said of its kind: leave it out"),
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
    **dict.fromkeys(("on", "schedule", "trigger", "triggers", "cron", "schedule_interval"), _CLOCK),
}

TYPES: Final[Foreign] = {
    "batch": "it is one of the whole document, beside 'batch' and 'template'",
    "template": "a task runs the template of a name by 'workflow: NAME'",
    "agent": "a task asks a model by 'method: llm/chat', or runs a template by 'workflow: NAME'",
    **dict.fromkeys(
        ("switch", "choice", "condition", "if", "decision", "branch"),
        "'switch' and 'cases' choose among tasks, 'when' decides on one",
    ),
    **dict.fromkeys(("map", "foreach", "for_each", "loop"), "'for_each: […]' makes one task for each item"),
    **dict.fromkeys(("parallel", "fork", "join", "dag"), "tasks that do not wait for each other run side by side"),
    **dict.fromkeys(("wait", "sleep", "delay"), "'method: timer/sleep' with 'params: {seconds: …}' waits"),
    **dict.fromkeys(("bash", "command", "script"), _COMMAND),
    **dict.fromkeys(("pass", "noop", "log"), "'method: echo/echo' answers what it is given"),
}
"""What `type` says of a task."""

OF_A_RETRY: Final[Foreign] = {
    **dict.fromkeys(("times", "max", "limit", "count", "attempts", "tries", "maximum_attempts"), "max_attempts"),
    "retries": "max_retries",
    **dict.fromkeys(
        ("interval", "initial_interval", "interval_seconds", "wait", "min_delay", "duration"), "base_delay"
    ),
    **dict.fromkeys(("max_interval", "maximum_interval", "max_backoff", "max_duration"), "max_delay"),
    **dict.fromkeys(("factor", "backoff_coefficient", "backoff_rate", "backoff_factor"), "backoff_multiplier"),
    "type": "backoff",
    **dict.fromkeys(
        ("on", "when", "errors", "error_equals", "retry_on", "non_retryable_error_types"),
        "an error says itself whether it is worth another try",
    ),
}

OF_CONCURRENCY: Final[Foreign] = {
    **dict.fromkeys(("group", "name", "id"), "key"),
    **dict.fromkeys(("max", "slots", "size", "count", "max_concurrent", "max_parallel"), "limit"),
    **dict.fromkeys(("on_limit", "strategy", "behavior", "policy", "collision_strategy"), "on_conflict"),
    "cancel_in_progress": "'on_conflict: cancel_running' ends what runs",
}

RESULTS: Final = frozenset({"needs", "steps", "tasks", "jobs", "task", "step", "outputs", "results", "nodes", "states"})
"""What stands before the name of a task where its result is read."""

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
