import math

import pytest
import tiny
import torch

import yaongi
from yaongi.core.artifact import draft
from yaongi.core.errors import ConfigError, DataError
from yaongi.core.seeds import Seed
from yaongi.data.corpus import read_corpus
from yaongi.data.shards import Shards
from yaongi.evals.nats import nats
from yaongi.evals.task import Subject
from yaongi.evals.tasks.bpb import BitsPerByte, bpb_probe, bpb_probes, measure
from yaongi.interop.quantize import quantize
from yaongi.model.lm import LM
from yaongi.model.quantized import Scheme
from yaongi.ops.cross_entropy import chunked
from yaongi.ops.cross_entropy.reference import linear_cross_entropy_reference
from yaongi.text.tokenizer import Tokenizer

CHATS = [
    [{"role": "user", "content": f"{i} 더하기 {i}?"}, {"role": "assistant", "content": f"{2 * i}!"}]
    for i in range(20)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny.road(tmp_path_factory.mktemp("road"), CHATS)


@pytest.fixture(scope="module")
def model():
    return tiny.lm()


@torch.no_grad()
def bpb_by_hand(model, made, domain):
    """One document at a time, each byte counted in the text itself."""
    tok = Tokenizer.load(made["tokenizer"].path)
    bits, size = 0.0, 0
    for document in read_corpus(made["corpus"], "val", domain):
        ids = torch.tensor([[tok.eot_id, *tok.encode(document.text)]])
        log_probs = model.logits(model(ids[:, :-1]).hidden).log_softmax(-1)
        bits -= float(log_probs.gather(-1, ids[:, 1:, None]).sum()) / math.log(2)
        size += len(document.text.encode())
    return bits / size


@pytest.mark.parametrize("domain", ["ko", "en"])
def test_equals_a_computation_by_hand(model, made, domain):
    found = bpb_probe(made["shards"], domain, seq_len=512)(model)
    assert found == pytest.approx(bpb_by_hand(model, made, domain), rel=1e-4)


@pytest.mark.parametrize("to", ["int8", "int4"])
def test_a_quantized_model_is_measured_by_the_products_that_run(made, tmp_path, monkeypatch, to):
    """Its head multiplies integers: widened it would be another model, and the head's memory."""
    quantized = quantize(tiny.base(tmp_path / "base", made["tokenizer"]).path, tmp_path / to,
                         Scheme(to=to))  # fmt: skip
    model = yaongi.load(quantized.path).lm
    monkeypatch.setattr(LM, "head_weight", property(lambda self: pytest.fail("widened")))
    found = bpb_probe(made["shards"], "ko", seq_len=512)(model)
    assert found == pytest.approx(bpb_by_hand(model, made, "ko"), rel=1e-6)


@pytest.mark.parametrize("tokens", [0, 1, 299])
def test_logits_are_of_few_tokens_at_a_time(model, monkeypatch, tokens):
    monkeypatch.setitem(chunked.CHUNK_ELEMENTS, "cpu", 1)
    seen = []
    logits = LM.logits
    monkeypatch.setattr(LM, "logits", lambda self, h: seen.append(len(h)) or logits(self, h))
    hidden = torch.randn(tokens, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(tokens)
    with torch.no_grad():
        expected = linear_cross_entropy_reference(
            hidden, model.used_head, targets, torch.ones(tokens)
        )
        torch.testing.assert_close(nats(model, hidden, targets).sum(), expected)
    assert all(n <= chunked.MIN_TOKENS for n in seen)


def test_does_not_depend_on_the_batch_size(model, made):
    values = [bpb_probe(made["shards"], "ko", batch_rows=n, seq_len=64)(model) for n in (1, 3, 16)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_a_uniform_model_scores_chance(made):
    model = tiny.lm(vocab_size=Shards(made["shards"]).vocab_size)
    torch.nn.init.zeros_(model.embeddings.weight)
    subject = Subject(model, tiny.tokenizer(), {"shards": made["shards"]}, Seed(0))
    for score in BitsPerByte(domains=("ko", "en")).run(subject):
        assert score.value == pytest.approx(score.chance, rel=1e-5)


def test_every_domain_with_its_interval_and_baseline(model, made):
    subject = Subject(model, tiny.tokenizer(), {k: made[k] for k in ("shards", "corpus")}, Seed(0))
    scores = {s.name: s for s in BitsPerByte(seq_len=32, batch_rows=4).run(subject)}
    assert set(scores) == {"bpb/ko", "bpb/en", "bpb/chat"}
    for score in scores.values():
        assert score.low < score.value < score.high
        assert score.better == "lower"
    texts = [d.text for d in read_corpus(made["corpus"], "val", "ko")]
    assert scores["bpb/ko"].n == sum(len(t.encode()) for t in texts)
    assert 0 < scores["bpb/ko"].baseline < 8
    assert scores["bpb/chat"].baseline is None  # only the assistant's part is measured


def test_the_end_of_a_turn_costs_bits_and_no_bytes(made):
    opened = Shards(made["shards"])
    found = measure(tiny.lm(), opened, "chat", 10_000, 512, 4)
    answers = [
        d.metadata["messages"][1]["content"] for d in read_corpus(made["corpus"], "val", "chat")
    ]
    assert found.bytes == sum(len(a.encode()) for a in answers)
    tok = tiny.tokenizer()
    assert found.targets == sum(len(tok.encode(a)) + 1 for a in answers)


def test_probes_are_named_by_domain(made, model):
    probes = bpb_probes(made["shards"], ["ko"], seq_len=64)
    assert list(probes) == ["val_bpb/ko"]
    assert probes["val_bpb/ko"](model) == bpb_probe(made["shards"], "ko", seq_len=64)(model)


def test_an_unknown_domain_fails_before_training(made):
    with pytest.raises(DataError, match="ko"):
        bpb_probe(made["shards"], "koo")


def test_without_shards_the_task_says_what_it_needs(model):
    with pytest.raises(ConfigError, match="bpb needs a 'shards' artifact; given: none"):
        BitsPerByte().run(Subject(model, tiny.tokenizer(), {}, Seed(0)))


def test_shards_that_moved_away_are_named_with_the_way_out(made, model, tmp_path):
    with draft(tmp_path / "base", "base", config={}, parents=[made["shards"]]) as work:
        base = work.finish()
    subject = Subject(model, tiny.tokenizer(), {"base": base}, Seed(0))
    with pytest.raises(ConfigError) as caught:
        BitsPerByte().run(subject)
    assert str(made["shards"].path) in str(caught.value)
    assert "--input" in str(caught.value)


def test_another_tokenizer_is_refused(made, model):
    other = Tokenizer.train(tiny.TEXTS, 350, allow_smaller=True)
    with pytest.raises(DataError, match="another tokenizer"):
        BitsPerByte().run(Subject(model, other, {"shards": made["shards"]}, Seed(0)))
