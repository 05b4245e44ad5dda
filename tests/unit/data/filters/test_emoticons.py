import pytest

from yaongi.data.filters.emoticons import Emoticons


@pytest.mark.parametrize(
    ("keep", "text", "squashed"),
    [
        (2, "ㅋㅋㅋㅋㅋ 웃겨 ㅠㅠㅠ!!!!", "ㅋㅋ 웃겨 ㅠㅠ!!"),
        (3, "ㅋㅋㅋㅋㅋ 웃겨 ㅠㅠㅠ", "ㅋㅋㅋ 웃겨 ㅠㅠㅠ"),
        (1, "ㅎㅎ", "ㅎ"),
        (2, "와아아아아 === ... 100000", "와아아아아 === ... 100000"),
        (2, "예제:\n~~~~~\n  ^^^^ 1\n좋아~~~~", "예제:\n~~~~~\n  ^^^^ 1\n좋아~~"),
    ],
)
def test_runs_become_short(keep, text, squashed):
    assert Emoticons(keep=keep).clean(text).text == squashed
