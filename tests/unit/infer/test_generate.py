import pytest
import tiny
import torch

from yaongi.core.errors import DataError, TokenizerError
from yaongi.infer.answer import StopText
from yaongi.infer.engine import Event
from yaongi.infer.generate import generate, generate_greedy, prefill
from yaongi.infer.rules import Finish, Generation, stop_ids, unspoken
from yaongi.text.control import CONTROL

TOK = tiny.tokenizer()


@pytest.fixture(scope="module", params=[None, tiny.ENGRAM], ids=["plain", "engram"])
def model(request):
    return tiny.lm(engram=request.param)


def prompt(text="고양이가"):
    return [TOK.eot_id, *TOK.encode(text)]


def run(model, ids=None, **settings) -> list[Event]:
    return list(generate(model, TOK, ids or prompt(), Generation(**settings)))


def text_of(deltas: list[Event]):
    return "".join(d.text for d in deltas)


@torch.no_grad()
def greedy_by_full_passes(model, ids, n):
    """Every token from a parallel pass over everything before it."""
    ids, never, found = list(ids), unspoken(model, TOK), []
    for _ in range(n):
        logits = model.logits(model(torch.tensor([ids])).hidden)[0, -1]
        ids.append(int(logits.masked_fill(never, -torch.inf).argmax()))
        if ids[-1] in stop_ids(TOK):
            break
        found.append(ids[-1])
    return found


@pytest.mark.parametrize("pattern", ["M*-E", "*-*-", "MM"])
def test_greedy_decoding_equals_full_passes(pattern):
    model = tiny.lm(pattern, seed=1)
    expected = greedy_by_full_passes(model, prompt(), 12)
    found = [e.id for e in run(model, max_tokens=12) if e.id not in stop_ids(TOK)]
    assert found == expected


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_prefill_in_chunks_equals_one_pass(model, chunk):
    ids = torch.randint(74, 400, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.logits(model(ids).hidden)[:, -1]
    found, state = prefill(model, ids, model.init_state(2, 20), chunk=chunk)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert state.length == 20


def test_batched_greedy_equals_one_at_a_time(model):
    texts = [
        "고",
        "고양이가",
        "12 더하기 34는 ",
        "안녕하세요. 오늘은 날씨가",
        "cat",
        "def f(x):",
        "철수",
    ]
    prompts = [prompt(t) for t in texts]
    alone = [greedy_by_full_passes(model, p, 9) for p in prompts]
    for rows in (1, 3, 64):
        assert generate_greedy(model, TOK, prompts, max_tokens=9, batch_rows=rows) == alone


def test_batched_greedy_of_nothing_is_nothing(model):
    assert generate_greedy(model, TOK, [], max_tokens=5) == []


def test_a_seed_repeats_and_another_differs(model):
    one, again, other = (run(model, temperature=1.5, max_tokens=20, seed=s) for s in (1, 1, 2))
    assert one == again
    assert one != other


def test_only_the_last_delta_says_why_it_ended(model):
    deltas = run(model, max_tokens=6)
    assert [d.finish for d in deltas] == [None] * 5 + [Finish.LENGTH]
    assert text_of(deltas) == TOK.decode([d.id for d in deltas])


def biased(bias: dict[int, float]):
    """A model whose logits get a constant added, to make it say what a test needs."""
    model = tiny.lm(seed=3)
    added = torch.zeros(512)
    for token, value in bias.items():
        added[token] = value
    plain = model.logits
    model.logits = lambda hidden: plain(hidden) + added
    return model


@pytest.mark.parametrize("name", ["<|im_end|>", "<|endoftext|>"])
def test_ending_a_turn_stops_and_shows_no_control_token(name):
    deltas = run(biased({TOK.control_id(name): 1e9}), max_tokens=50)
    assert len(deltas) == 1
    assert deltas[0].finish is Finish.STOP
    assert deltas[0].text == ""


def test_forbidden_ids_never_come():
    forbidden = [i for i, c in enumerate(CONTROL) if "reserved" in c] + [
        TOK.pad_id,
        TOK.im_start_id,
    ]
    forbidden += range(TOK.vocab_size, 512)  # padding of the vocabulary
    model = biased(dict.fromkeys(forbidden, 1e9))
    for settings in ({}, {"temperature": 2.0, "repetition_penalty": 1.5}):
        assert not {d.id for d in run(model, max_tokens=20, **settings)} & set(forbidden)
    assert not set(generate_greedy(model, TOK, [prompt()], max_tokens=20)[0]) & set(forbidden)


def test_syllables_arrive_whole():
    spelled = "가나다라마바사🙂".encode()
    ids = [t for b in spelled for t in byte_ids(b)]
    deltas = run(scripted(ids), max_tokens=len(ids))
    assert text_of(deltas) == "가나다라마바사🙂"
    assert "�" not in text_of(deltas)
    assert len(ids) == len(spelled)  # each syllable did come in several pieces


def test_a_stop_string_is_never_shown_in_part():
    ids = TOK.encode("고양이가 야옹 하고 울었어요.")
    deltas = run(scripted(ids), max_tokens=len(ids), stop=("야옹 하고", "없는 말"))
    assert text_of(deltas) == "고양이가 "
    assert deltas[-1].finish is Finish.STOP
    seen = ""
    for delta in deltas:
        seen += delta.text
        assert "고양이가 ".startswith(seen)


def test_what_only_looked_like_a_stop_string_is_shown():
    ids = TOK.encode("고양이가 야옹 하고")
    deltas = run(scripted(ids), max_tokens=len(ids), stop="야옹 하고는")
    assert text_of(deltas) == "고양이가 야옹 하고"
    assert deltas[-1].finish is Finish.LENGTH


def byte_ids(byte: int) -> list[int]:
    """The token of a single byte."""
    return [next(i for i in range(74, TOK.vocab_size) if TOK.token_bytes(i) == bytes([byte]))]


def scripted(ids: list[int]):
    """A model that says ``ids``, whatever it is asked."""
    model = tiny.lm()
    script = iter(ids)

    def logits(hidden):
        found = torch.zeros(*hidden.shape[:2], 512)
        found[..., next(script)] = 1.0
        return found

    model.logits = logits
    return model


def test_stop_text_holds_back_as_little_as_possible():
    stops = StopText(["END", "ENOUGH"])
    assert [stops.push(c) for c in "an EGG, the E"] == [*"an ", "", "EG", *"G, the ", ""]
    assert stops.push("N") == ""
    assert stops.push("ENOUGH!") == "EN"
    assert stops.found
    assert stops.flush() == ""


def test_the_context_is_a_limit_told_clearly(model):
    ids = prompt()
    deltas = list(generate(model, TOK, ids, Generation(max_tokens=99), context_len=len(ids) + 4))
    assert len(deltas) == 4
    assert deltas[-1].finish is Finish.CONTEXT
    with pytest.raises(DataError, match=rf"prompt has {len(ids)} tokens.*context.*is {len(ids)}"):
        generate(model, TOK, ids, Generation(), context_len=len(ids))


def test_an_empty_prompt_is_refused(model):
    with pytest.raises(DataError, match="empty"):
        generate(model, TOK, [], Generation())


def test_a_tokenizer_larger_than_the_model_is_refused():
    with pytest.raises(TokenizerError, match="do not belong together"):
        run(tiny.lm(vocab_size=300))


def test_repetition_penalty_spares_the_end_of_a_turn():
    """A chat prompt contains <|im_end|>; penalising it would keep the model from ever stopping."""
    model = biased({TOK.im_end_id: 1e3, 100: 900.0})
    ids = [*prompt(), TOK.im_end_id]
    assert run(model, ids, repetition_penalty=2.0)[0].id == TOK.im_end_id
