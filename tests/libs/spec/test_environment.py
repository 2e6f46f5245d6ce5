from gleitzeit.spec.environment import resolve_env

ENVIRON = {"HOME": "/root", "TOKEN": "s3cret ${a.b} {{ a.b }}", "UNUSED": "x"}


def test_only_what_the_document_uses_is_carried() -> None:
    document = {"name": "n", "tasks": [{"params": {"a": "${env.HOME}/x ${TOKEN:-none} ${env.NOT_SET} $${env.UNUSED}"}}]}
    assert resolve_env(document, ENVIRON) == {**document, "env": {"HOME": "/root", "TOKEN": ENVIRON["TOKEN"]}}


def test_what_the_document_says_is_the_fallback() -> None:
    document = {"env": {"HOME": "/default", "MODE": "test"}, "a": "${env.MODE}"}
    assert resolve_env(document, ENVIRON)["env"] == {"HOME": "/root", "MODE": "test"}


def test_a_wrapped_workflow_is_completed_inside() -> None:
    assert resolve_env({"workflow": {"a": "${env.HOME}"}}, ENVIRON) == {
        "workflow": {"a": "${env.HOME}", "env": {"HOME": "/root"}}
    }


def test_a_document_without_variables_is_the_same() -> None:
    document = {"name": "n", "a": "${task.x} ${broken", "b": [1, None]}
    assert resolve_env(document, ENVIRON) is document


def test_what_makes_no_sense_is_left_to_the_check() -> None:
    document = {"env": 3, "a": "${env.HOME}"}
    assert resolve_env(document, ENVIRON) is document


def test_where_others_were_first_their_values_stay() -> None:
    document = {"env": {"HOME": "/sent"}, "a": "${env.HOME} ${env.TOKEN}"}
    assert resolve_env(document, ENVIRON, declared_wins=True)["env"] == {"HOME": "/sent", "TOKEN": ENVIRON["TOKEN"]}
    wrapped = resolve_env({"workflow": document}, ENVIRON, declared_wins=True)
    assert wrapped["workflow"]["env"]["HOME"] == "/sent"
