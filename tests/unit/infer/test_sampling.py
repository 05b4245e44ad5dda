import math

import pytest
import torch

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError
from yaongi.infer import sampling
from yaongi.infer.sampling import (
    Sampling,
    apply_temperature,
    choose,
    draw,
    filtered,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
    uniform,
)

PROBS = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
LOGITS = PROBS.log()


def frequencies(rules: Sampling, logits=LOGITS, n=4000):
    points = [uniform(rules.seed, step) for step in range(n)]
    found = choose(logits.expand(n, -1), rules, points)
    return found.bincount(minlength=len(logits)) / n


def kept(logits):
    return [i for i, x in enumerate(logits.tolist()) if x > -math.inf]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature):
    expected = PROBS ** (1 / temperature)
    expected = expected / expected.sum()
    found = frequencies(Sampling(temperature=temperature))
    assert (found - expected).abs().max() < 0.03  # 4 standard errors of a share near a half


def test_temperature_zero_is_the_first_most_likely_id():
    assert choose(torch.tensor([[1.0, 3.0, 3.0, 2.0]]), Sampling(), [0.9]).tolist() == [1]


def test_temperature_divides():
    assert torch.equal(apply_temperature(torch.tensor([2.0, -4.0]), 2.0), torch.tensor([1.0, -2.0]))


def test_top_k():
    assert kept(keep_top_k(LOGITS, 2)) == [0, 1]
    assert kept(keep_top_k(LOGITS, 0)) == kept(keep_top_k(LOGITS, 99)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("p", "ids"),
    [(0.01, [0]), (0.39, [0]), (0.5, [0, 1]), (0.71, [0, 1, 2]), (1.0, [0, 1, 2, 3, 4])],
)
def test_top_p_is_the_smallest_set_reaching_p(p, ids):
    assert kept(keep_top_p(LOGITS, p)) == ids
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    assert sorted(shuffled[kept(keep_top_p(LOGITS[shuffled], p))].tolist()) == ids


def test_min_p_is_relative_to_the_likeliest():
    assert kept(keep_min_p(LOGITS, 0.3)) == [0, 1, 2]
    assert kept(keep_min_p(LOGITS, 1.0)) == [0]
    assert kept(keep_min_p(LOGITS, 0.0)) == [0, 1, 2, 3, 4]


def test_filters_leave_renormalised_probabilities():
    found = frequencies(Sampling(temperature=1.0, top_k=2))
    assert found[2:].sum() == 0
    assert abs(found[0] - 4 / 7) < 0.03


def test_repetition_penalty_lowers_both_signs():
    logits = torch.tensor([2.0, -2.0, 1.0, 0.0])
    found = penalise_repetition(logits, [0, 1, 1], 2.0)
    assert found.tolist() == [1.0, -4.0, 1.0, 0.0]
    assert choose(logits[None], Sampling(repetition_penalty=4.0), [0.0], [[0]]).tolist() == [2]


def test_a_row_does_not_depend_on_its_neighbours():
    rows = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    rules = Sampling(temperature=1.3, top_p=0.9, top_k=20, min_p=0.01, repetition_penalty=1.2)
    seen = [[i, i + 1] for i in range(5)]
    points = [uniform(7, i) for i in range(5)]
    together = choose(rows, rules, points, seen)
    alone = [choose(rows[i : i + 1], rules, points[i : i + 1], seen[i : i + 1]) for i in range(5)]
    assert together.tolist() == [int(x) for x in alone]


@pytest.mark.parametrize(
    "rules",
    [{"top_k": 7}, {"top_p": 0.7}, {"min_p": 0.1}, {"top_k": 300, "top_p": 0.8, "min_p": 0.01}],
)
@pytest.mark.parametrize("spread", [0.0, 0.2, 4.0])
def test_a_shortlist_changes_no_choice(rules, spread):
    """Where the choice is wide (or all are equal) more ids stay than the list has."""
    logits = spread * torch.randn(40, 1000, generator=torch.Generator().manual_seed(1))
    logits[:, ::3] = -math.inf
    settings = Sampling(temperature=1.0, **rules)
    points = [uniform(0, i) for i in range(40)]
    expected = draw(filtered(logits, settings), torch.tensor(points).double()[:, None])
    assert choose(logits, settings, points).tolist() == expected.tolist()


def test_seed_and_step_decide():
    numbers = {uniform(seed, step) for seed in range(20) for step in range(20)}
    assert len(numbers) == 400
    assert all(0 <= u < 1 for u in numbers)
    assert uniform(3, 5) == uniform(3, 5)


def test_draw_never_takes_an_impossible_id():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]])
    assert draw(logits, 0.0).item() == 1
    assert draw(logits, 1 - 2**-53).item() == 3
    wide = torch.full((1, 1000), -math.inf)
    wide[0, [130, 700]] = 0.0
    assert [draw(wide, u).item() for u in (0.0, 0.499, 0.5, 1 - 2**-53)] == [130, 130, 700, 700]


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -1), ("top_p", 0), ("top_p", 1.1), ("min_p", 2), ("repetition_penalty", 0)],
)
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ConfigError, match=field):
        parse(Sampling, {field: value})


@pytest.mark.parametrize(
    "rules", [{"top_p": 1e-287}, {"temperature": 1e-300}, {"top_p": 1e-40, "min_p": 1.0}]
)
def test_settings_that_are_nothing_in_float32_leave_the_likeliest(rules):
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.5]] * 2)
    chosen = choose(logits, Sampling(**{"temperature": 1.0, **rules}), [0.1, 0.99])
    assert chosen.tolist() == [3, 3]
    assert filtered(logits, Sampling(**rules)).isfinite().any(-1).all()


def test_greedy_takes_the_first_of_equals():
    logits = torch.tensor([[0.0, 2.0, 2.0, float("-inf")], [1.0, 1.0, 0.0, 1.0]])
    assert sampling.likeliest(logits).tolist() == logits.argmax(-1).tolist() == [1, 0]
