from gleitzeit.spec.names import index_names


def test_ids_and_names_mean_tasks() -> None:
    index = index_names([("a", "Load Data"), ("b", ""), ("c", "c")])
    assert index.ids == {"a": "a", "b": "b", "c": "c", "Load Data": "a"}
    assert index.ambiguous == frozenset()


def test_an_id_goes_before_a_name() -> None:
    assert index_names([("a", "b"), ("b", "")]).ids["b"] == "b"


def test_a_name_of_two_tasks_means_neither() -> None:
    index = index_names([("a", "x"), ("b", "x"), ("c", "y")])
    assert "x" not in index.ids
    assert index.ambiguous == {"x"}


def test_a_reserved_word_is_no_name_for_references() -> None:
    assert "config" not in index_names([("a", "config")]).ids
