"""Promises of the embedded corpus: repeatable, held out by meaning, right, in correct Korean."""

import contextlib
import io
import lzma
import random
import re
from collections import Counter
from itertools import islice

import pytest

from yaongi.core.errors import ConfigError
from yaongi.core.seeds import Seed
from yaongi.data.sources import Reading
from yaongi.data.synthetic import (
    DOMAINS,
    TASKS,
    SyntheticSource,
    documents,
    eval_items,
    extract_answer,
    majority_answer,
    split_of,
)
from yaongi.data.synthetic.arcs import ARCS
from yaongi.data.synthetic.arithmetic import Sum, read, work
from yaongi.data.synthetic.functions import FAMILIES
from yaongi.data.synthetic.plots import draw_plot
from yaongi.data.synthetic.stories import tell
from yaongi.data.synthetic.wordfiles import rows
from yaongi.data.synthetic.words import lexicon
from yaongi.text import chat
from yaongi.text.hangul import pick_josa


def take(split, domain, n, seed=0, **where):
    return list(islice(documents(Seed(seed), split, domain, **where), n))


@pytest.fixture(scope="module")
def stories():
    return take("train", "story", 1500)


# --- the same every time ---------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_document_depends_on_seed_and_index_alone(domain):
    first = take("train", domain, 12)
    assert first == take("train", domain, 12)
    assert first[1::3] == take("train", domain, 4, start=1, step=3)
    assert first[0].text != take("train", domain, 1, seed=1)[0].text
    assert len({d.id for d in first}) == 12


@pytest.mark.parametrize("domain", DOMAINS)
def test_documents_say_what_they_are(domain):
    for document in take("val", domain, 20):
        meta = document.metadata
        assert meta["domain"] == domain
        assert meta["split"] == "val"
        assert "Apache-2.0" in meta["licence"]
        assert meta["keys"]
        assert (meta["form"] == "chat") == ("messages" in meta)
        if "messages" in meta:
            chat.validate(meta["messages"])
            assert document.text == "\n\n".join(m["content"] for m in meta["messages"])


def test_the_source_gives_what_was_asked_of_each_domain():
    asked = {"story": 30_000, "math": 5_000, "code": 5_000, "qa": 8_000, "chat": 0}
    source = SyntheticSource.model_validate({"kind": "synthetic", "held_out": "4KB", **asked})
    found = Counter()
    for document in source.read(Reading(root=None)):
        meta = document.metadata
        found[meta["domain"], meta["split"]] += len(document.text.encode())
    for domain, size in asked.items():
        assert size <= found[domain, "train"] <= size + 3_000
        assert (found[domain, "val"] >= 4_000) == (size > 0)
    assert source.fingerprint(None) == SyntheticSource().fingerprint(None)


def test_an_unknown_domain_or_task_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'story'"):
        next(documents(Seed(0), "train", "storys"))
    with pytest.raises(ConfigError, match="Did you mean 'function'"):
        eval_items(Seed(0), "functions", 1)


# --- held out --------------------------------------------------------------------------------


def keys(split, domain, n, seed=0):
    return {tuple(key) for d in take(split, domain, n, seed) for key in d.metadata["keys"]}


def test_no_key_of_a_split_occurs_in_another_in_any_kind_of_document():
    sizes = {"story": 500, "math": 1500, "code": 800, "qa": 200, "chat": 200}
    found = {
        split: set().union(*(keys(split, d, n, seed) for d, n in sizes.items()))
        for seed, split in enumerate(("train", "val", "test"))
    }
    assert not found["train"] & found["val"]
    assert not found["train"] & found["test"]
    assert not found["val"] & found["test"]
    for task in TASKS:
        held = {item.messages[0]["content"] for item in eval_items(Seed(7), task, 50)}
        assert len(held) == 50


PAIR = re.compile(r"(?<!\d)(\d\d)\s?[-+]\s?(\d\d)(?!\d)")


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_operand_pair_of_a_held_out_sum_is_written_in_training(domain):
    for document in take("train", domain, 1500 if domain in ("math", "code") else 300):
        for a, b in PAIR.findall(document.text):
            low, high = sorted((int(a), int(b)))
            assert split_of(("pair", str(low), str(high))) == "train", document.text


def test_held_out_pairs_are_a_fair_share():
    pairs = [("pair", str(a), str(b)) for a in range(10, 100) for b in range(a, 100)]
    shares = Counter(split_of(pair) for pair in pairs)
    assert 0.02 < shares["val"] / len(pairs) < 0.06
    assert 0.05 < shares["test"] / len(pairs) < 0.11


# --- right answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_replies_end_in_the_answer_and_guessing_does_not_pay(task):
    items = eval_items(Seed(1), task, 150)
    assert all(extract_answer(item.reply) == item.answer for item in items)
    assert all(item.messages[-1]["role"] == "user" for item in items)
    common = majority_answer(Seed(0), task, n=600)
    assert sum(item.answer == common for item in items) <= 0.1 * len(items)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [("7+8=15\n답: 15", "15"), ("답: 3\n답: 4.", "4"), ("답:도서관 \n끝", "도서관"), ("모름", "")],
)
def test_extract_answer(reply, answer):
    assert extract_answer(reply) == answer


def test_every_line_of_the_working_is_true():
    for a in range(10, 100):
        for b in range(10, a + 1):
            for problem in (Sum("+", a, b), Sum("-", a, b)):
                text = work(problem)
                for left, right in re.findall(r"([\d+-]+)=(\d+)", text):
                    assert eval(left) == int(right)
                assert text.endswith(f"\n답: {eval(f'{a}{problem.op}{b}')}")


def test_working_names_carry_and_borrow():
    assert work(Sum("+", 47, 38)) == "47+38\n일의 자리 7+8=15, 1 올림\n십의 자리 4+3+1=8\n답: 85"
    assert work(Sum("-", 63, 27)) == "63-27\n일의 자리 13-7=6, 1 내림\n십의 자리 6-2-1=3\n답: 36"


def test_numbers_are_read_in_korean():
    numbers = {0: "영", 7: "칠", 10: "십", 19: "십구", 20: "이십", 47: "사십칠", 90: "구십"}
    assert {n: read(n) for n in numbers} == numbers


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_python_agrees_with_every_function(family):
    rng = random.Random(0)
    for _ in range(60):
        call = family(rng)
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(f"{call.source.replace('{f}', 'f')}\nprint(f({call.call}))", {})
        assert shown.getvalue().rstrip("\n") == call.value
        for left, right in re.findall(r"(?<![\d*])(\d+[-+*]\d+)=(-?\d+)", "\n".join(call.trace)):
            assert eval(left) == int(right)


def test_a_story_holds_the_answer_and_the_sentence_that_gives_it():
    for item in eval_items(Seed(2), "story_qa", 150):
        evidence, _, answer = item.reply.partition("\n답: ")
        assert evidence in item.messages[0]["content"]
        assert answer in evidence


# --- correct Korean --------------------------------------------------------------------------


def test_no_markup_is_left_in_a_story(stories):
    for document in stories:
        assert not re.search(r"[{}<>\[\]|~「」@=_]|  | [.,]|\.\.|[ㄱ-ㅣ]", document.text)
        assert document.text[-1] in '.?!"' or document.text.endswith(("가", "이", "올림"))


def test_particles_agree_with_the_nouns_before_them(stories):
    lex = lexicon()
    nouns = [t.word.text for t in lex.things] + list(lex.places) + [c.word.text for c in lex.makes]
    nouns += [*lex.kids, *(f"{name} 씨" for name in lex.men)]
    found = re.compile(
        rf"(?<![가-힣])({'|'.join(map(re.escape, sorted(nouns, key=len, reverse=True)))})"
        r"(은|는|을|를|과|와|으로|로)(?= )"
    )
    pairs = ("은/는", "을/를", "과/와", "으로/로")
    pair_of = {form: pair for pair in pairs for form in pair.split("/")}
    checked = 0
    for document in stories:
        for noun, particle in found.findall(document.text):
            assert pick_josa(noun, pair_of[particle]) == particle, (noun, particle)
            checked += 1
    assert checked > 2000


def test_a_story_keeps_one_register(stories):
    for document in stories:
        told = re.sub(r'"[^"]*"', "", document.text)
        ends = re.findall(r"(\S+)\.(?= |\n|$)", told)
        assert not (any(e.endswith("요") for e in ends) and any(e.endswith("니다") for e in ends))


@pytest.mark.parametrize("arc", ARCS)
def test_every_kind_of_story_can_be_told_at_any_length(arc):
    rng = random.Random(3)
    for _ in range(15):
        plot = draw_plot(rng, arc)
        full, short = tell(plot, rng).text, tell(plot, rng, length=0.3).text
        assert full.count(".") >= 4
        assert len(short) > 60


def test_every_pool_that_is_named_exists():
    known = set(lexicon().pools) | {"show"}
    files = ("arcs.txt", "common.txt", "details.txt", "mood.txt", "troubles.txt")
    named = {
        name for file in files for row in rows(file) for name in re.findall(r"<([^<>]+)>", row)
    }
    beats = {b.what for arc in ARCS.values() for b in arc.beats if b.verb in ("say", "open")}
    leads = {
        b.what.partition(":")[2] for arc in ARCS.values() for b in arc.beats if b.verb == "trouble"
    }
    assert (named | beats | leads) - known <= {""}


def test_stories_are_varied(stories):
    """The small sister of bench/synthetic_entropy.py, where the 10 MB figure is measured."""
    text = "\n\n".join(d.text for d in stories).encode()
    held = "\n\n".join(d.text for d in take("test", "story", 80)).encode()
    prime = len(lzma.compress(text, preset=9))
    bits = (len(lzma.compress(text + held, preset=9)) - prime) * 8 / len(held)
    assert bits > 0.8
