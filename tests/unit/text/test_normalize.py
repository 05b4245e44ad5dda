import unicodedata

import pytest

from yaongi.text.normalize import nfc


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
        ("ㅎㅏㄴ", "ㅎㅏㄴ"),  # typed letters stay letters
        ("ㅋㅋㅋ ㅠㅠ", "ㅋㅋㅋ ㅠㅠ"),
        ("①㎏！", "①㎏！"),  # NFKC would rewrite these
        ("cafe\u0301", "café"),
        ("\u200b\ufeff\u3000", "\u200b\ufeff\u3000"),  # cleaning is not ours
        ("\uf900", "\u8c48"),  # a compatibility hanja, which NFC unifies
        ("", ""),
    ],
)
def test_nfc_composes_and_leaves_the_rest(text, expected):
    assert nfc(text) == expected
    assert unicodedata.is_normalized("NFC", nfc(text))
