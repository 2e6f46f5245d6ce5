from gz_cli.choices import clearer


def test_a_word_that_is_no_choice_is_told_with_the_one_that_was_meant() -> None:
    said = "Value error, 'pythn' is not one of 'python', 'llm'."
    assert clearer(said) == "'pythn' is not one of 'python', 'llm'; did you mean 'python'?"
    assert clearer("Value error, 'zzz' is not one of 'python', 'llm'.") == "'zzz' is not one of 'python', 'llm'."
    assert clearer("'x' is not a valid int range.") == "'x' is no whole number."
    assert clearer("'x' is not a valid integer.") == "'x' is not a valid integer."
