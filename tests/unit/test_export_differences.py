import pytest

from ollamake.ollama.differences import NEAR_TIE_NATS, apart, parameters_apart, parts_at_near_tie
from ollamake.ollama.server import Token

EXPECTED = {"stop": ["<|im_end|>", "\n"], "num_ctx": 2048, "temperature": 0.7, "min_p": 0.0}
SHOWN = 'temperature                    0.7\nstop    "\\n"\nnum_ctx   2048\nstop  "<|im_end|>"\nmin_p  0'


def token(text: str, *likeliest: tuple[str, float]) -> Token:
    return Token(text.encode(), tuple((other.encode(), logprob) for other, logprob in likeliest))


def test_equal_texts_are_not_apart() -> None:
    assert apart("same", "same") == ""


def test_the_first_difference_is_shown_with_what_stands_around_it() -> None:
    assert apart("x" * 50 + "one\n", "x" * 50 + "two\n") == (
        f"differs at character 50\n      expected: …'{'x' * 40}one\\n'\n      served:   …'{'x' * 40}two\\n'"
    )


def test_a_text_that_ends_early_differs_where_it_ends() -> None:
    assert apart("abc", "ab").startswith("differs at character 2\n      expected: 'abc'\n      served:   'ab'")


def test_parameters_are_equal_in_any_order_and_spelling_of_numbers() -> None:
    assert parameters_apart(EXPECTED, SHOWN) == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.7", "0.8", "temperature is 0.8 instead of 0.7"),
        ("num_ctx   2048\n", "", "num_ctx is missing instead of 2048"),
        ('stop    "\\n"\n', "", "stop is \"<|im_end|>\" instead of ['<|im_end|>', '\\n']"),
        ("min_p  0", "min_p  zero", "min_p is zero instead of 0.0"),
        ("min_p  0", "min_p  0\ntop_k  40", "top_k is set to 40"),
    ],
)
def test_a_changed_parameter_is_named(old: str, new: str, message: str) -> None:
    assert parameters_apart(EXPECTED, SHOWN.replace(old, new)) == f"parameters: {message}"


@pytest.mark.parametrize(("margin", "near"), [(0.0, True), (NEAR_TIE_NATS - 0.01, True), (NEAR_TIE_NATS + 0.01, False)])
def test_a_parting_is_near_or_not_by_the_margin(margin: float, near: bool) -> None:
    served = [token("ls", ("ls", -0.1)), token(" -a", (" -a", -1.0), (" -l", -1.0 - margin))]
    assert parts_at_near_tie("ls -l", served) is near


def test_a_token_that_was_not_among_the_likeliest_is_no_near_tie() -> None:
    assert not parts_at_near_tie("rm -r", [token("ls", ("ls", -0.1), ("cat", -0.2))])


def test_an_answer_that_ends_a_little_later_is_a_near_tie() -> None:
    assert parts_at_near_tie("ls", [token("ls", ("ls", -0.1)), token(" -a", (" -a", -0.9), ("", -1.0))])


def test_an_answer_that_ends_a_little_earlier_is_a_near_tie() -> None:
    assert parts_at_near_tie("ls -a", [token("ls", ("ls", -0.1)), token("", ("", -0.9), (" -a", -1.0))])


def test_without_log_probabilities_nothing_is_a_near_tie() -> None:
    assert not parts_at_near_tie("ls -l", [token("ls"), token(" -a")])
    assert not parts_at_near_tie("ls -l", [])


def test_a_word_that_is_one_token_here_and_two_there_is_a_near_tie() -> None:
    served = [token("Gra", ("Gra", -0.9), ("Grav", -1.0)), token("vity", ("vity", -0.01), ("v", -5.9))]
    assert parts_at_near_tie("Gravitational", served)
    far = [token("Gra", ("Gra", -0.1), ("Grav", -1.2)), served[1]]
    assert not parts_at_near_tie("Gravitational", far)


def test_a_near_tie_earlier_in_the_answer_does_not_excuse_a_later_parting() -> None:
    start = token("ls", ("ls", -0.1), ("l", -0.2))
    assert not parts_at_near_tie("ls -la", [start, token(" rm -rf /", (" rm -rf /", -0.0001), (" -la", -20.0))])
    longer = token("ls", ("ls", -0.1), ("ls -", -0.2))
    wrong = token("x", ("x", -0.0001), ("a", -20.0))
    assert not parts_at_near_tie("ls -la", [longer, token(" -l", (" -l", -0.1)), wrong])


def test_half_a_character_is_compared_by_its_bytes() -> None:
    smile, wink = "😀".encode(), "😉".encode()
    served = [Token(smile[:3], ((smile[:3], -0.1),)), Token(wink[3:], ((wink[3:], -0.5), (smile[3:], -0.6)))]
    assert parts_at_near_tie("😀", served)
