"""Promises every registered task keeps, and those of the synthetic one."""

import json

import pytest
import tiny

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError
from yaongi.core.seeds import Seed
from yaongi.data.synthetic import TASKS as EXERCISES
from yaongi.data.synthetic import eval_items, extract_answer, majority_answer
from yaongi.evals.run import EvalConfig
from yaongi.evals.task import TASKS, Subject
from yaongi.evals.tasks.exact_match import Item, grade


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    made = tiny.road(tmp_path_factory.mktemp("road"))
    inputs = {kind: made[kind] for kind in ("shards", "corpus")}
    return Subject(tiny.lm(), tiny.tokenizer(), inputs, Seed(0))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings under which each task is small; a new task is tried with its defaults."""
    quiz = tmp_path_factory.mktemp("items") / "quiz.jsonl"
    quiz.write_text(json.dumps({"prompt": "1+1=", "answer": "2"}) + "\n", encoding="utf-8")
    return {
        "bpb": {"max_tokens": 500, "seq_len": 64},
        "synthetic": {"n": 3, "max_tokens": 4},
        "exact_match": {"path": str(quiz), "max_tokens": 4},
    }


@pytest.mark.parametrize("kind", TASKS.builtin)
def test_every_task_states_chance_interval_and_size(kind, subject, settings):
    task = TASKS.lookup(kind).model_validate({"kind": kind, **settings.get(kind, {})})
    scores = task.run(subject)
    assert scores
    assert len({s.name for s in scores}) == len(scores)
    for score in scores:
        assert score.low <= score.value <= score.high
        assert score.chance > 0
        assert score.n > 0
        assert score.baseline is not None
        assert score.baseline_name


@pytest.mark.parametrize("kind", TASKS.builtin)
def test_every_task_is_repeatable(kind, subject, settings):
    task = TASKS.lookup(kind).model_validate({"kind": kind, **settings.get(kind, {})})
    assert task.run(subject) == task.run(subject)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_corpus_own_replies_score_full(exercise):
    found = eval_items(Seed(0), exercise, 60)
    items = [Item(i.messages, (i.answer,)) for i in found]
    replies = [i.reply for i in found]
    assert grade(exercise, items, replies, extract=extract_answer).value == 1.0
    without = [reply.replace("답", "") for reply in replies]
    assert grade(exercise, items, without, extract=extract_answer).value == 0.0


def test_the_baseline_is_the_most_frequent_answer_of_training():
    usual = majority_answer(Seed(0), "function")
    items = [Item("?", (a,)) for a in (usual, "x", usual, "y")]
    score = grade("function", items, [""] * 4, majority_answer=usual)
    assert score.baseline == 0.5
    assert score.baseline_name == "majority answer"


def test_an_unknown_exercise_fails_with_the_recipe():
    with pytest.raises(ConfigError, match="Did you mean 'story_qa'"):
        parse(EvalConfig, {"tasks": [{"kind": "synthetic", "exercises": ["story_q"]}]})
