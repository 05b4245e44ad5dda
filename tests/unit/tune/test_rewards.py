import importlib.util
import sys
import time
from pathlib import Path

import pytest
import tiny_pairs

from yaongi.core.config import Config, parse
from yaongi.core.errors import ArtifactError, CapabilityError, ConfigError, RewardError
from yaongi.data.corpus import read_corpus
from yaongi.tune.reward import RewardConfig, train_reward
from yaongi.tune.rewards import REWARDS, RewardChoice, Sample
from yaongi.tune.rewards.arithmetic import Arithmetic, answer
from yaongi.tune.rewards.format import Format
from yaongi.tune.rewards.korean import Korean, korean_share
from yaongi.tune.rewards.model import Model
from yaongi.tune.rewards.process import START_S, RewardProcess
from yaongi.tune.rewards.python_tests import PythonTests, passing, python_of
from yaongi.tune.rewards.sandbox import Limits, check

PROMPT = [{"role": "user", "content": "47 더하기 25는?"}]


def isolated():
    try:
        check(Limits())
    except CapabilityError:
        return False
    return True


ISOLATION = "namespaces" if isolated() else "limits_only"


def sample(text, id="row 1", **row):
    return Sample(id, PROMPT, text, row)


# --- each kind -------------------------------------------------------------------------------

GOLD = {
    "arithmetic": sample("7+5=12, 1 올림\n답: 72", answer="72"),
    "korean": sample("일흔둘입니다."),
    "format": sample("<think>\n7+5=12\n</think>\n\n72입니다."),
    "python_tests": sample("```python\ndef f(x):\n    return x + 1\n```", tests="assert f(1) == 2"),
}


@pytest.mark.parametrize("kind", sorted({*REWARDS.builtin} - {"model"}))  # that has no gold
def test_a_gold_completion_scores_full_and_nonsense_nothing(kind):
    settings = {"limits": {"isolation": ISOLATION}} if kind == "python_tests" else {}
    reward = REWARDS.lookup(kind).model_validate({"kind": kind, **settings})
    gold = GOLD[kind]
    assert reward.score(gold) == 1.0
    assert reward.score(Sample(gold.id, gold.prompt, "...", gold.row)) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("47+25\n답: 72", 72),
        ("답: 72.", 72),
        ("답: 72개입니다", 72),
        ("정답은 1,234원입니다.", 1234),
        ("#### -3", -3),
        ("답: \u22123", -3),
        (r"따라서 \boxed{3/4}.", 0.75),
        ("답: 0.50", 0.5),
        ("The answer is 8.", 8),
        ("답: 7\n다시 보니\n답: 8", 8),  # the last counts
        ("답: 7 또는 8", None),  # hedging earns nothing
        ("72", None),  # no mark
        ("답: 모르겠어요", None),
        ("답:\n72", None),
        ("답: 1/0", None),
        ("답: ７２", 72),  # full width
    ],
)
def test_the_number_behind_the_last_mark(text, expected):
    assert answer(text) == expected


def test_the_right_answer_may_stand_in_the_reply():
    assert Arithmetic().score(sample("답: 72", reply="Natalia sold 48+24 clips.\n#### 72")) == 1
    assert Arithmetic().score(sample("답: 71", reply="답: 72")) == 0
    with pytest.raises(Exception, match="no column answer or reply; it has tests"):
        Arithmetic().score(sample("답: 72", tests="assert True"))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("가각힣", 1.0),
        ("\u1100\u1161\u1100\u1161\u11a8", 1.0),  # 가각, decomposed
        ("ㅋㅋㅋ", 1.0),
        ("안녕 hi", 0.5),
        ("漢字와", 1 / 3),
        ("😀 123", 0.0),
        ("<think>\n생각\n</think>\n\n답", 1.0),
        ("이렇게요:\n```python\nprint('hello world')\n```", 1.0),
        ("", 0.0),
    ],
)
def test_share_of_hangul(text, share):
    assert korean_share(text) == pytest.approx(share)
    assert Korean(enough=0.5).score(sample(text)) == pytest.approx(min(1, share / 0.5))


@pytest.mark.parametrize(
    "text",
    [
        "72입니다.",
        "<think>\n\n</think>\n\n72",  # thought nothing
        "<think>\n7+5\n</think>\n\n",  # answered nothing
        "<think>\n7\n</think>\n<think>\n5\n</think>\n72",
        "72 <think>\n7+5\n</think>",
        "<think>\n7+5 72",
    ],
)
def test_thinking_then_an_answer_is_a_form(text):
    assert Format().score(sample(text)) == 0


def test_a_pattern_that_is_none_is_refused_with_the_recipe():
    with pytest.raises(ConfigError, match="not a regular expression"):
        parse(Format, {"pattern": "(["})


LIMITS = Limits(isolation=ISOLATION, wall_s=5)
TESTS = ["assert double(2) == 4", "assert double('a') == 'aa'"]


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        ("def double(x): return x + x", {0, 1}),
        ("def double(x): return 4", {0}),
        ("def double(x): return", set()),
        ("import os; os._exit(0)", set()),
        ("import sys; sys.exit(0)", set()),
        ("print('ok 0', 'ok 1', flush=True)", set()),
        ("def double(x):\n  while True: pass", set()),
        ("def double(x) return", set()),
    ],
)
def test_what_passes(code, passed):
    assert passing(code, TESTS, LIMITS.model_copy(update={"cpu_s": 1})) == passed


def test_one_test_does_not_see_what_another_left():
    assert passing("x = 1", ["x = 2; assert x == 2", "assert x == 1"], LIMITS) == {0, 1}


def test_code_is_what_is_fenced():
    assert python_of("먼저\n```python\na = 1\n```\n그리고\n```\nb = 2\n```").split() == [
        "a",
        "=",
        "1",
        "b",
        "=",
        "2",
    ]
    assert python_of("a = 1") == "a = 1"


def test_credit_for_a_share_of_the_tests_must_be_asked_for():
    half = sample("def double(x): return 4", tests=TESTS)
    assert PythonTests(limits=LIMITS).score(half) == 0
    assert PythonTests(limits=LIMITS, credit="share").score(half) == 0.5


# --- plug-ins that go wrong ------------------------------------------------------------------


class Recipe(Config):
    rewards: tuple[RewardChoice, ...]


@pytest.fixture
def plugged(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(importlib.util.find_spec("reward_plugins").origin).parent))

    def reward(kind, **settings):
        return parse(Recipe, {"rewards": [{"kind": kind, **settings}]}).rewards[0]

    return reward


def test_a_plug_in_is_chosen_by_module_and_name(plugged):
    reward = plugged("reward_plugins:Length", weight=2)
    assert (reward.name, reward.weight) == ("Length", 2)
    with RewardProcess(reward) as process:
        assert process.scores([sample("가나다"), sample("")]) == [3, 0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise", "KeyError: 'no such thing'"),
        ("nan", "it gave nan, which is no finite number"),
        ("-inf", "it gave -inf"),
        ("none", "TypeError"),
        ("text", "TypeError: it gave the text '1', which is no number"),
        ("hang", "no answer within 1 s"),
        ("die", "its process ended with code 3"),
    ],
)
def test_a_reward_that_fails_stops_the_run_and_names_the_row(plugged, text, reason):
    samples = [sample("1", "one"), sample(text, "two"), sample("3", "three")]
    with RewardProcess(plugged("reward_plugins:Moody", timeout_s=1)) as process:
        with pytest.raises(RewardError) as caught:
            process.scores(samples)
        assert "'reward_plugins:Moody' failed on the row two" in str(caught.value)
        assert reason in str(caught.value) and text in str(caught.value)
        assert process.scores([sample("5")]) == [5]  # and can be asked again


def test_starting_is_no_part_of_a_completions_time(plugged):
    began = time.monotonic()
    with RewardProcess(plugged("reward_plugins:Moody", timeout_s=1, on_failure=-1)) as process:
        assert process.scores([sample("hang")]) == [-1]  # the first thing it is asked
    assert time.monotonic() - began < START_S / 2


@pytest.mark.parametrize(("how", "said"), [("raise", "OSError: no such model"), ("die", "code 4")])
def test_a_reward_that_cannot_start_says_why(plugged, monkeypatch, how, said):
    monkeypatch.setenv("REWARD_PLUGINS_START", how)
    with (
        RewardProcess(plugged("reward_plugins:Unready")) as process,
        pytest.raises(RewardError, match=said),
    ):
        process.scores([sample("1")])


def test_a_failure_counts_what_the_recipe_says(plugged):
    texts = ["1", "raise", "nan", "hang", "2", "die", "3"]
    reward = plugged("reward_plugins:Moody", timeout_s=1, on_failure=-0.5)
    with RewardProcess(reward) as process:
        assert process.scores(list(map(sample, texts))) == [1, -0.5, -0.5, -0.5, 2, -0.5, 3]
        assert process.failures == 4


def test_a_plug_in_that_does_not_exist_is_a_wrong_recipe(plugged):
    with pytest.raises(ConfigError, match="cannot be imported"):
        plugged("reward_plugins:Missing")
    with pytest.raises(ConfigError, match="must be a class derived from"):
        plugged("reward_plugins:time")
    with pytest.raises(ConfigError, match="Did you mean 'korean'"):
        plugged("koran")


def test_rewards_need_no_torch():
    import subprocess

    program = "import sys, yaongi.tune.rewards.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# --- a reward model --------------------------------------------------------------------------


def test_a_reward_model_judges_in_its_own_process(tmp_path):
    made = tiny_pairs.road(tmp_path)
    cfg = parse(RewardConfig, {**tiny_pairs.SETTINGS, "steps": 25})
    judge = train_reward(cfg, made["base"], made["pairs"], tmp_path / "judge")
    row = next(d.metadata for d in read_corpus(made["corpus"], "val"))
    good, bad = (Sample(which, row["prompt"], row[which]) for which in ("chosen", "rejected"))
    long = Sample("long", row["prompt"], "아주 긴 답입니다. " * 200)
    reward = Model(path=str(judge.path), on_failure=-1.0)
    reward.check()
    with RewardProcess(reward) as asked:
        scores = asked.scores([good, bad, Sample("nothing", row["prompt"], " "), long])
    assert 1 > scores[0] > scores[1] > 0
    assert scores[2] == 0 and scores[3] == -1 and asked.failures == 1
    shifted = Model(path=str(judge.path), centre=100.0)
    assert shifted.score(good) < 1e-6


def test_a_reward_model_that_is_not_there_is_told_before_the_run(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        Model(path=str(tmp_path / "nowhere")).check()
