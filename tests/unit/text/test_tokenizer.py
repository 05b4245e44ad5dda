import copy
import hashlib
import itertools
import json
import os
import pickle
import subprocess
import sys

import pytest
from text_sample import TEXTS, tokenizer

from yaongi.core.errors import TokenizerError
from yaongi.text.control import CONTROL
from yaongi.text.normalize import nfc
from yaongi.text.tokenizer import MIN_VOCAB, REGEXES, Tokenizer

KOREAN_FIRST = [
    "",
    " ",
    "가각",
    "\u1100\u1161\u11a8\u1112\u1161\u11ab",  # the same kind of syllables, decomposed
    "漢字와 한글",
    "ㅋㅋㅋ ㅠㅠ ㅏ",
    "👨‍👩‍👧‍👦 🇰🇷 👍🏽",
    "훈민〮졍〮음〮 나랏〮말〯ᄊᆞ미〮",
    "“큰따옴표”, 『책』 ：！？ ㎏ ① ﷺ",
    "tabs\tand\r\nlines\n\n\n  indented    wide",
    "\x00\x7f\x80\ufeff\u200b\ufffd",
    "it's IT'S we'Ll",
]


@pytest.fixture(params=sorted(REGEXES))
def tok(request):
    return tokenizer(request.param)


def test_control_tokens_have_fixed_ids(tok):
    assert len(CONTROL) == 74
    assert [tok.control_id(name) for name in CONTROL] == list(range(74))
    assert [tok.eot_id, tok.pad_id, tok.im_start_id, tok.im_end_id] == [
        tok.control_id(f"<|{name}|>") for name in ("endoftext", "pad", "im_start", "im_end")
    ]
    with pytest.raises(TokenizerError, match=r"Did you mean '<\|im_end\|>'"):
        tok.control_id("<|im_ende|>")


@pytest.mark.parametrize("text", KOREAN_FIRST)
def test_decode_gives_back_the_text_composed(tok, text):
    assert tok.decode(tok.encode(text)) == nfc(text)


def test_every_syllable_survives(tok):
    syllables = [chr(c) for c in range(0xAC00, 0xD7A4)]
    assert [tok.decode(ids) for ids in tok.encode_batch(syllables)] == syllables


def test_decomposed_text_costs_the_same_ids(tok):
    composed, decomposed = "한글 닳도록", "\u1112\u1161\u11ab\u1100\u1173\u11af 닳도록"
    assert composed != decomposed
    assert tok.encode(decomposed) == tok.encode(composed)


@pytest.mark.parametrize(
    "shape", ["{}", "가{}나", "word{}word", " {} ", "{0}{0}", "<{}>", "\n{}\n"]
)
def test_text_never_yields_a_control_id(tok, shape, tmp_path):
    tok.save(tmp_path)
    texts = [shape.format(control) for control in CONTROL]
    for each in (
        tok,
        Tokenizer.load(tmp_path),
        pickle.loads(pickle.dumps(tok)),
        copy.deepcopy(tok),
    ):
        batch = each.encode_batch(texts)
        assert batch == [each.encode(text) for text in texts]
        assert min(map(min, batch)) >= len(CONTROL)
        assert [each.decode(ids) for ids in batch] == texts


def test_control_tokens_are_dropped_or_named(tok):
    ids = [tok.im_start_id, *tok.encode("가"), tok.im_end_id]
    assert tok.decode(ids) == "가"
    assert tok.decode(ids, control=True) == "<|im_start|>가<|im_end|>"


def test_bytes_that_are_no_text_become_replacement_characters(tok):
    ids = tok.encode("뷁")  # rare: several byte tokens
    assert len(ids) > 1
    assert tok.decode(ids[:-1] + tok.encode("a")) == "\ufffda"


@pytest.mark.parametrize("bad", [-1, 500, 10**9])
def test_an_id_outside_the_vocabulary_is_refused(tok, bad):
    with pytest.raises(TokenizerError, match=f"{bad} is not a token id: this tokenizer has 500"):
        tok.decode([bad])
    with pytest.raises(TokenizerError, match="is not a token id"):
        tok.stream().push(bad)


def test_lone_surrogates_are_refused_with_their_place(tok):
    for use in (tok.encode, lambda s: tok.encode_batch(["fine", s])):
        with pytest.raises(TokenizerError, match=r"surrogate U\+DCFF at character 2"):
            use("가나\udcff")


def test_batches_equal_single_texts(tok):
    assert tok.encode_batch([]) == []
    assert tok.encode_batch(KOREAN_FIRST + TEXTS) == [tok.encode(t) for t in KOREAN_FIRST + TEXTS]


def test_digits_follow_the_regex():
    words = {
        regex: [tokenizer(regex).decode([i]) for i in tokenizer(regex).encode("1234567")]
        for regex in REGEXES
    }
    assert words["qwen2"] == list("1234567")
    assert max(map(len, words["llama-bpe"])) > 1


def test_llama_bpe_takes_whole_known_words():
    """llama.cpp sets ignore_merges for llama-bpe: a word in the vocabulary is one id."""
    tok = tokenizer("llama-bpe")
    spec = json.loads(tok._data)
    assert spec["model"]["ignore_merges"] is True
    spec["model"]["merges"] = []  # without merges only whole words can be found
    bare = Tokenizer(json.dumps(spec).encode())
    word = next(tok.decode([i]) for i in range(499, 74, -1) if tok.decode([i]).startswith(" "))
    assert len(word) > 2
    assert len(bare.encode(word)) == 1
    assert len(bare.encode(f"{word}뷁")) > 3


# --- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MIN_VOCAB, MIN_VOCAB + 1, 450, 512])
def test_the_vocabulary_has_the_size_asked_for(size):
    tok = Tokenizer.train(TEXTS, size)
    assert tok.vocab_size == size
    assert sorted(tok.token_bytes(i) for i in range(74, 330)) == [bytes([b]) for b in range(256)]


def test_too_little_text_is_said_and_may_be_accepted():
    with pytest.raises(TokenizerError, match=r"only (\d+) tokens .* 4096 were asked") as caught:
        Tokenizer.train(TEXTS, 4096)
    smaller = Tokenizer.train(TEXTS, 4096, allow_smaller=True)
    assert f"add tokenizer.vocab_size={smaller.vocab_size} " in str(caught.value)
    assert smaller.vocab_size == caught.value.fields["reached"]
    assert Tokenizer.train(TEXTS, smaller.vocab_size).vocab_size == smaller.vocab_size
    assert Tokenizer.train([], 4096, allow_smaller=True).vocab_size == MIN_VOCAB


def test_impossible_requests_are_refused():
    with pytest.raises(TokenizerError, match="need at least 330"):
        Tokenizer.train(TEXTS, MIN_VOCAB - 1, allow_smaller=True)
    with pytest.raises(TokenizerError, match="Did you mean 'qwen2'"):
        Tokenizer.train(TEXTS, 400, regex="qwen")
    with pytest.raises(TokenizerError, match="lone surrogate"):
        Tokenizer.train(["\ud800"], 400, allow_smaller=True)


def test_training_depends_on_the_texts_only():
    here = tokenizer().hash
    assert Tokenizer.train(reversed(TEXTS), 500).hash == here
    assert Tokenizer.train([*TEXTS[:-1], "다른 다른 다른 글"], 500).hash != here
    script = "from text_sample import tokenizer; print(tokenizer().hash)"
    for threads, hash_seed in itertools.product(("1", "2"), ("0", "1")):
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONHASHSEED": hash_seed,
            "RAYON_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "true",
        }
        done = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("parallel", ["true", "false", None])
def test_a_forked_worker_does_not_wait_for_its_parents_threads(parallel):
    script = (
        "import os, signal; from text_sample import tokenizer, TEXTS\n"
        "tok = tokenizer(); want = tok.encode_batch(TEXTS); child = os.fork(); signal.alarm(20)\n"
        "if child == 0: os._exit(0 if tok.encode_batch(TEXTS) == want else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        f"assert os.environ.get('TOKENIZERS_PARALLELISM') == {parallel!r}"
    )
    env = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), "RAYON_NUM_THREADS": "2"}
    env |= {"TOKENIZERS_PARALLELISM": parallel} if parallel else {}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# --- files -----------------------------------------------------------------------------------


def test_saving_and_loading_changes_nothing(tok, tmp_path):
    tok.save(tmp_path / "a")
    again = Tokenizer.load(tmp_path / "a")
    assert (again.hash, again.regex, again.vocab_size) == (tok.hash, tok.regex, 500)
    assert again.hash == hashlib.sha256((tmp_path / "a/tokenizer.json").read_bytes()).hexdigest()
    assert again.encode_batch(TEXTS) == tok.encode_batch(TEXTS)
    again.save(tmp_path / "b")
    files = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}
    assert json.loads(files["tokenizer_config.json"])["yaongi_pre"] == tok.regex


def _edited(change):
    spec = json.loads(tokenizer()._data)
    change(spec)
    return json.dumps(spec).encode()


def _swap_control(spec):
    vocab = spec["model"]["vocab"]
    vocab["<|pad|>"], vocab["<|endoftext|>"] = 0, 1
    spec["added_tokens"][0]["id"], spec["added_tokens"][1]["id"] = 1, 0


def _plain_control(spec):
    spec["added_tokens"][3]["special"] = False


def _extra_added_token(spec):
    spec["added_tokens"].append({**spec["added_tokens"][0], "id": 500, "content": "<|mine|>"})


def _gap(spec):
    vocab = spec["model"]["vocab"]
    last = max(vocab, key=vocab.__getitem__)
    vocab[last] += 7


@pytest.mark.parametrize(
    "data, reason",
    [
        (tokenizer()._data[:-100], "cut short"),
        (b"", "cut short"),
        (b"{}", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (_edited(lambda s: s.update(normalizer=None)), "normalizer"),
        (_edited(lambda s: s["pre_tokenizer"]["pretokenizers"].pop(0)), "pre-tokenizer"),
        (_edited(lambda s: s["model"].update(dropout=0.1)), "not one we write"),
        (_edited(_swap_control), r"the id of <\|endoftext\|> is not 0"),
        (_edited(_plain_control), "added tokens"),
        (_edited(_extra_added_token), "added tokens"),
        (_edited(_gap), "gaps"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path, data, reason):
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(TokenizerError, match=reason) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"tokenizer\.json is missing"):
        Tokenizer.load(tmp_path)
