from gleitzeit.schemas import near


def test_the_nearest_word_is_found_whatever_its_case() -> None:
    assert near("mesage", ["message", "method"]) == "message"
    assert near("MESSAGE", ["Message"]) == "Message"


def test_quotes_around_a_word_are_no_part_of_it() -> None:
    for word in ("“a”", "‘a’", "'a'", '"a', "`a`", "«a»"):
        assert near(word, ["a", "b"]) == "a"
    assert near("“”", ["a"]) == ""


def test_a_word_that_is_near_to_nothing_has_none() -> None:
    assert near("zebra", ["message", "method"]) == ""
    assert near("x", []) == ""


def test_among_very_many_words_one_that_begins_alike_is_found() -> None:
    assert near("task-31415", {f"task-{n}": None for n in range(50_000) if n != 31415}).startswith("task-")
