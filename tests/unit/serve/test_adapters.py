"""Adapters of one model, each a model to clients: every answer is that of its own alone."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
import serving
import tiny
import torch
from serving import HELLO, NAME, TOK

from yaongi.api import Model
from yaongi.model.lora import AdapterConfig, adapter_tensors, add_adapters
from yaongi.serve.limits import Limits

NAMES = ("polite", "brief")


@pytest.fixture(scope="module")
def served():
    lm = tiny.lm("M*-E")
    for seed, name in enumerate(NAMES):
        add_adapters(lm, AdapterConfig(rank=4), name=name)
        generator = torch.Generator().manual_seed(seed)
        for tensor in adapter_tensors(lm, name).values():
            torch.nn.init.normal_(tensor, std=0.3, generator=generator)
    return Model(lm, TOK, context_len=512, adapters=NAMES)


@pytest.fixture(scope="module")
def url(served):
    with serving.running(serving.application(served, limits=Limits(rows=4))) as url:
        yield url


def said(url, name, seed):
    asked = {"model": name, "messages": HELLO, "seed": seed, "max_tokens": 5 + seed}
    return httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).json()


def test_answers_side_by_side_are_those_of_each_adapter_alone(served, url):
    asked = [(name, seed) for seed in range(4) for name in (NAME, *NAMES)]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(lambda one: said(url, *one), asked))
    assert [one["model"] for one in found] == [name for name, _ in asked]
    alone = [
        served.chat(HELLO, adapter="base" if name == NAME else name, temperature=1.0, seed=seed,
                    max_tokens=5 + seed)
        for name, seed in asked
    ]  # fmt: skip
    assert [one["choices"][0]["message"]["content"] for one in found] == alone
    assert len({"".join(alone[i::3]) for i in range(3)}) == 3  # they do differ


def test_each_is_listed_with_what_it_adapts_and_others_are_not_known(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
    cards = client.models.list().data
    assert [(c.id, c.parent) for c in cards] == [(NAME, None), ("polite", NAME), ("brief", NAME)]
    assert client.models.retrieve("brief").parent == NAME
    with pytest.raises(openai.NotFoundError, match=f"'rude' here: {NAME}, polite, brief"):
        client.chat.completions.create(model="rude", messages=HELLO)
