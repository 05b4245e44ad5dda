"""A small tokenizer for tests that need no model (and so no torch), texts and conversations."""

import functools

from yaongi.text.bytelevel import DEFAULT_REGEX
from yaongi.text.tokenizer import Tokenizer

TEXTS = [
    "동해물과 백두산이 마르고 닳도록 하느님이 보우하사 우리나라 만세.",
    "무궁화 삼천리 화려강산 대한 사람 대한으로 길이 보전하세.",
    "남산 위에 저 소나무 철갑을 두른 듯 바람서리 불변함은 우리 기상일세.",
    "가을 하늘 공활한데 높고 구름 없이 밝은 달은 우리 가슴 일편단심일세.",
    "이 기상과 이 맘으로 충성을 다하여 괴로우나 즐거우나 나라 사랑하세.",
    "안녕하세요! 오늘은 2024년 3월 15일입니다. 가격은 1,234,567원이에요 ㅋㅋㅋ",
    "The quick brown fox jumps over the lazy dog. It's 3:45 pm; they'll come, WE'RE told.",
    "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(add(i, i))\n",
    "<|im_start|>user <|im_end|> <think>hm</think>",
] * 3

HARD_TEXTS = [
    "가각 나는 밥을 먹었다. 갉 뷁 쀍!",
    "漢字와 한글 混用, 日本語も。",
    "ㅋㅋㅋ ㅠㅠ ㄱㄴㄷ ㅎㅎ!!! ~~",
    "👨‍👩‍👧‍👦 😀👍🏽 🇰🇷 ❤️",
    "The quick brown fox. It's 3:45 pm; they'll come, WE'RE told, I'VE'd.",
    "def f(x):\n\tif x:\n        return {'a': 1}\n\n\n  # 끝  ",
    "2024년 3월 15일 1,234,567원 3.14 ½ ² Ⅷ ٣",
    "<|im_start|>user\n<|im_end|><think>흠</think><|endoftext|><|reserved_7|>",
    "  앞뒤 빈칸  \n\n\n",
    "\r\n줄\r끝\u00a0\u3000\u200b탭\t\t",
    "가\u0301 e\u0301 \u0e01\u0e33 नमस्ते",
    "",
    " ",
    "'s 't 'RE 'x",
]
CHATS = [
    [{"role": "user", "content": "안녕?"}],
    [
        {"role": "system", "content": "너는 야옹이다.\n짧게 답한다."},
        {"role": "user", "content": "12 더하기 34는? 答"},
        {"role": "assistant", "content": "46입니다."},
        {"role": "user", "content": "```python\nprint(1)\n```"},
    ],
]


@functools.cache
def tokenizer(regex: str = DEFAULT_REGEX) -> Tokenizer:
    """500 ids."""
    return Tokenizer.train(TEXTS, 500, regex=regex)
