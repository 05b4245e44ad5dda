"""Packed rows give the loss and the gradients of every conversation alone, for each layer kind."""

import numpy as np
import pytest
import tiny
import torch

from yaongi.core.seeds import Seed
from yaongi.data.batches import PackedConversations
from yaongi.data.corpus import read_corpus
from yaongi.data.weights import token_weights
from yaongi.text.tokenizer import Tokenizer
from yaongi.train.objectives import MicroBatch, next_token, to_device

SYSTEM = {"role": "system", "content": "짧게 답해요."}
CALL = {
    "role": "assistant",
    "content": "",
    "thinking": "더해 보자.",
    "tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}],
}


def chat(i):
    """With and without system message, thinking, tool calls, weights; of many lengths."""
    question = {"role": "user", "content": f"{i} 더하기 {i}는?"}
    said = {"role": "assistant", "content": f"{2 * i}입니다." * (1 + i % 5)}
    thanks = [{"role": "user", "content": "고마워요."}, {"role": "assistant", "content": "네!"}]
    first = [question, said]
    if i % 4 == 1:
        first = [question, CALL, {"role": "tool", "content": f"{2 * i}"}, said]
    if i % 4 == 2:
        first = [question, {**said, "weight": 0.5}]
    row = {"messages": [*([SYSTEM] if i % 3 else []), *first, *(thanks if i % 2 else [])]}
    return row | ({"weight": 3} if i % 5 == 0 else {})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny.road(tmp_path_factory.mktemp("packing"), [chat(i) for i in range(28)])


def alone(made):
    """Each conversation of the training split as a row of its own."""
    tok = Tokenizer.load(made["tokenizer"].path)
    for document in read_corpus(made["corpus"], "train", "chat"):
        ids, mask = tok.conversation(document.metadata["messages"])
        weights = token_weights(mask, document.metadata)
        weights = np.asarray(mask if weights is None else weights, np.float32)
        arrays = ids[:-1], ids[1:], weights[1:], np.zeros(len(ids) - 1, np.int32)
        yield MicroBatch(*(torch.as_tensor(np.asarray(a))[None] for a in arrays))


def learn(model, parts):
    """(sum of losses, gradients by name) over micro-batches, without the layers' own losses."""
    model.zero_grad(set_to_none=True)
    total = 0.0
    for part in parts:
        sums = next_token(model, part)
        sums.nll.backward()
        total += float(sums.nll.detach())
    return total, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("pattern", ["*-*-", "MM", "*E*E", "M*-E"])
def test_packed_loss_and_gradients_equal_those_of_each_conversation_alone(made, pattern):
    model = tiny.lm(pattern, seed=4)
    batches = PackedConversations(made["shards"], 1, 384, Seed(0), domains=["chat"])
    assert batches.rows_per_epoch <= batches.report.conversations / 3  # several in a row
    rows = [to_device(batches.batch(s), 0, 1, model.device) for s in range(batches.rows_per_epoch)]
    single = list(alone(made))
    assert sum(float(row.weights.sum()) for row in rows) == pytest.approx(
        sum(float(part.weights.sum()) for part in single)
    )
    packed_loss, packed_grads = learn(model, rows)
    loss, grads = learn(model, single)
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    assert packed_grads.keys() == grads.keys()
    for name, grad in grads.items():
        scale = float(grad.abs().max())
        assert torch.allclose(packed_grads[name], grad, rtol=0, atol=2e-4 * scale), name


def test_without_resets_the_loss_would_differ(made):
    """The test above can fail: conversations that see one another give another loss."""
    model = tiny.lm("M*-E", seed=4)
    batches = PackedConversations(made["shards"], 1, 384, Seed(0), domains=["chat"])
    row = to_device(batches.batch(0), 0, 1, model.device)
    blind = MicroBatch(row.ids, row.targets, row.weights, torch.zeros_like(row.doc_ids))
    with torch.no_grad():
        losses = [float(next_token(model, part).nll) for part in (row, blind)]
    assert abs(losses[1] / losses[0] - 1) > 1e-3


def test_padding_does_not_count_for_the_balance_of_experts(made):
    """Neither in the tokens of each expert, which move the router, nor in the balance loss."""
    model = tiny.lm("*E", seed=4).train()
    batches = PackedConversations(made["shards"], 1, 384, Seed(0), domains=["chat"])
    rows = [to_device(batches.batch(s), 0, 1, model.device) for s in range(batches.rows_per_epoch)]
    row = max(rows, key=lambda row: int((row.doc_ids < 0).sum()))
    length = int((row.doc_ids >= 0).sum())
    assert length < row.ids.shape[1]
    cut = MicroBatch(*(a[:, :length] for a in (row.ids, row.targets, row.weights, row.doc_ids)))
    whole, short = next_token(model, row), next_token(model, cut)
    assert torch.equal(whole.counts[1], short.counts[1])
    assert float(whole.counts[1].sum()) == 2 * length  # top 2
    assert float(whole.aux.detach()) == pytest.approx(float(short.aux.detach()), rel=1e-5)
    assert float(whole.aux.detach()) > 0
