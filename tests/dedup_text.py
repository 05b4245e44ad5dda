"""Sentences without end for tests of deduplication, and near.py and substring.py in one call."""

import random

from yaongi.data.dedup import near, substring

SUBJECTS = [
    "정부는",
    "한국은행은",
    "연구진은",
    "서울시는",
    "기상청은",
    "학교는",
    "회사는",
    "시민들은",
]
TIMES = ["어제", "지난주에", "올해 초", "내년부터", "12일", "오후 늦게", "2019년에", "이번 달에"]
THINGS = [
    "새 규칙을",
    "물가 자료를",
    "날씨 전망을",
    "오래된 다리를",
    "작은 도서관을",
    "전기 요금을",
]
VERBS = ["발표했다", "고쳤다", "알렸다", "미뤘다", "시작했다", "자세히 조사했다", "다시 검토했다"]


def sentence(rng: random.Random) -> str:
    """One of some ten million."""
    number = rng.randrange(10_000)
    parts = [rng.choice(words) for words in (SUBJECTS, TIMES, THINGS, VERBS)]
    return f"{parts[0]} {number}번째로 {parts[1]} {parts[2]} {rng.choice(THINGS)} {parts[3]}."


def article(seed: object, sentences: int = 12) -> str:
    """Sentences in lines of three."""
    rng = random.Random(str(seed))
    lines = [" ".join(sentence(rng) for _ in range(3)) for _ in range(-(-sentences // 3))]
    return "\n".join(lines)


def near_copies(folder, texts, cfg=None, *, held=(), shards=1):
    """For each text the number of the one it is a near copy of, or -1."""
    cfg = cfg or near.Near()
    for shard in range(shards):
        with near.Signer(folder, cfg, shard) as signer:
            for i in _part(texts, shard, shards):
                signer.add(i, texts[i], held=i in held)
    return near.find(folder, cfg, len(texts)).tolist()


def stripped(folder, texts, cfg=None, *, held=(), shards=1):
    """What ``substring`` makes of every text."""
    cfg = cfg or substring.Substring()
    for shard in range(shards):
        with substring.Signer(folder, cfg, shard) as signer:
            for i in _part(texts, shard, shards):
                signer.add(i, texts[i], held=i in held)
    substring.find(folder)
    results = []
    for shard in range(shards):
        mine = _part(texts, shard, shards)
        remover = substring.Remover(folder, cfg, mine.start, mine.stop)
        results += [remover.remove(i, texts[i]) for i in mine]
    return results


def _part(texts, shard: int, shards: int) -> range:
    return range(len(texts) * shard // shards, len(texts) * (shard + 1) // shards)
