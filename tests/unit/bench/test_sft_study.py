"""The study of fine-tuning: its formats judge the same bytes, and its page says what runs say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sft
import tiny
from sft_report import difference, page

MESSAGES = [
    {"role": "user", "content": "3 더하기 3은?"},
    {"role": "assistant", "content": "6입니다."},
    {"role": "user", "content": "고마워요."},
    {"role": "assistant", "content": "네!"},
]


def test_both_formats_are_judged_on_the_answers_alone(tmp_path) -> None:
    lab = sft.Lab(tmp_path, "8K", "8K", sft.ARMS)
    lab.tok = tok = tiny.tokenizer()
    judged = [lab._only_content(lab._chat(MESSAGES)), lab._text(MESSAGES)]
    for encoded in judged:
        learnt = np.asarray(encoded.ids)[np.asarray(encoded.mask) == 1]
        assert tok.decode(learnt.tolist()) == "6입니다.네!"
    assert tok.decode(judged[1].ids) == "\n\n".join(m["content"] for m in MESSAGES)


def finished(arm: str, seed: int) -> dict[str, Any]:
    better = {"sft": 0.0, "text": 0.2, "template": 0.001}[arm] + seed / 100
    noise = (-1) ** seed * (0.05 if arm == "template" else 0.001)
    score = 2.0 + better + noise
    packing = {"learnt": 5000, "rows": 20}
    scores = {"small talk": score, "instructions": score, "all": score, "pages": 2.5}
    return {"steps": 49, "packing": packing, "cpu_s": 60.0, **scores}


def test_the_page_says_which_difference_is_clear() -> None:
    scores = {"small talk": 3.0, "instructions": 3.0, "all": 3.0, "pages": 2.4}
    study = {
        "runs": {arm: [finished(arm, seed) for seed in sft.SEEDS] for arm in sft.ARMS},
        "before": {"sft": scores, "text": scores},
        "dialogues": [{"question": "a|b", "reference": "c\nd", "sft": "네", "text": ""}],
        "parameters": 4e6, "first_tokens": 700_000, "tokens": 200_000, "command": "x",
        "held_out": {"small talk": 10, "instructions": 10}, "hardware": "a machine",
    }  # fmt: skip
    found = difference(study["runs"], "sft", "text", "all")
    assert found.mean == pytest.approx(-0.2)
    written = page(study)
    assert "all, against `text`: -0.200 (-0.200 – -0.200), clear of zero" in written
    assert "against `template`" in written and ", not clear of zero" in written
    assert "| a\\|b | c ⏎ d | 네 | (nothing) |" in written
