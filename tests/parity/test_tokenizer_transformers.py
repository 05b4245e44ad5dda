"""A saved folder is what ``transformers`` needs: same ids, same chats, nothing added."""

import pytest
from text_sample import TEXTS, tokenizer

from yaongi.core.artifact import open_artifact
from yaongi.text.chat import encode_chat, render
from yaongi.text.control import CONTROL, END_OF_TEXT
from yaongi.text.tokenizer import REGEXES, Tokenizer
from yaongi.text.train import TokenizerConfig, stage

transformers = pytest.importorskip("transformers")

PLAIN = [
    *(text for text in TEXTS if "<|" not in text),
    "",
    "가각 \u1100\u1161\u11a8 漢字 ㅋㅋㅋ 👨‍👩‍👧‍👦",
    "  앞뒤 빈칸  \n\n\n",
    "3.14 , 안 녕 !  n't  ' s",
]
CODE = "```python\ndef f(x):\n\tif x:\n        return {'a': 1}\n```\n"
CHATS = {
    "one": [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "안녕하세요!"}],
    "many": [
        {"role": "system", "content": "너는 야옹이다.\n짧게 답한다.\n"},
        {"role": "user", "content": "\n\n  빈 줄로 시작\n"},
        {"role": "assistant", "content": "네.\n\n"},
        {"role": "user", "content": "What's 1 + 2?"},
        {"role": "assistant", "content": "3"},
    ],
    "code": [{"role": "user", "content": CODE}, {"role": "assistant", "content": CODE}],
    "thinking": [
        {"role": "user", "content": "12 더하기 34는?"},
        {"role": "assistant", "thinking": "2+4=6, 10+30=40", "content": "46입니다."},
        {"role": "user", "content": "고마워"},
        {"role": "assistant", "thinking": "", "content": "천만에요."},
    ],
    "tools": [
        {"role": "user", "content": "서울과 부산 날씨"},
        {
            "role": "assistant",
            "thinking": "둘 다 찾자.",
            "content": "찾아볼게요.",
            "tool_calls": [
                {"name": "날씨", "arguments": {"도시": "서울", "a": [1, None, True], "b": "<x>&'"}},
                {"type": "function", "function": {"name": "w", "arguments": '{"도시": "부산"}'}},
            ],
        },
        {"role": "tool", "content": '{"맑음": 1}'},
        {"role": "tool", "content": ""},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {}}]},
        {"role": "tool", "content": "끝"},
        {"role": "assistant", "content": "맑습니다."},
    ],
    "asking": [{"role": "user", "content": "그래서?"}],
}


@pytest.fixture(params=sorted(REGEXES), scope="module")
def pair(request, tmp_path_factory):
    ours, folder = tokenizer(request.param), tmp_path_factory.mktemp(request.param)
    ours.save(folder)
    return ours, transformers.AutoTokenizer.from_pretrained(folder)


def test_plain_text_has_the_same_ids_and_nothing_in_front(pair):
    ours, theirs = pair
    assert theirs(PLAIN)["input_ids"] == ours.encode_batch(PLAIN)
    assert [theirs.encode(text) for text in PLAIN] == ours.encode_batch(PLAIN)
    assert theirs("")["input_ids"] == []


def test_plain_text_decodes_alike(pair):
    ours, theirs = pair
    ids = [ours.im_start_id, *ours.encode("뷁 ' s , n't")[:-1], ours.im_end_id]
    assert theirs.decode(ids) == ours.decode(ids, control=True)
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)


def test_special_tokens_have_their_roles(pair):
    ours, theirs = pair
    assert (theirs.bos_token_id, theirs.pad_token_id) == (ours.eot_id, ours.pad_id)
    assert theirs.eos_token_id == ours.im_end_id
    assert len(theirs) == ours.vocab_size
    assert theirs.convert_tokens_to_ids(list(CONTROL)) == list(range(len(CONTROL)))
    assert theirs.init_kwargs["yaongi_pre"] == ours.regex


def test_typed_control_tokens_when_asked_to_split_them(pair):
    ours, theirs = pair
    texts = [f"가 {control}나" for control in CONTROL]
    assert theirs(texts, split_special_tokens=True)["input_ids"] == ours.encode_batch(texts)


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("prompt", [False, True])
def test_the_chat_template_equals_render_and_encode_chat(pair, chat, prompt):
    ours, theirs = pair
    messages = CHATS[chat]
    rendered = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    assert rendered == END_OF_TEXT + "".join(
        p.text for p in render(messages, generation_prompt=prompt)
    )
    ids, mask = encode_chat(ours, messages, generation_prompt=prompt)
    found = theirs.apply_chat_template(
        messages, add_generation_prompt=prompt, return_dict=True, return_assistant_tokens_mask=True
    )
    assert found["input_ids"] == [ours.eot_id, *ids]
    assert found["assistant_masks"] == [0, *mask]


def test_the_template_refuses_what_render_refuses(pair):
    _, theirs = pair
    with pytest.raises(Exception, match="Unknown role: bot"):
        theirs.apply_chat_template([{"role": "bot", "content": "a"}])
    with pytest.raises(Exception, match="Describe the tools in the system message"):
        theirs.apply_chat_template(CHATS["one"], tools=[{"type": "function", "function": {}}])


def test_files_survive_a_round_trip_through_transformers(pair, tmp_path):
    ours, theirs = pair
    theirs.save_pretrained(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.encode_batch(PLAIN) == ours.encode_batch(PLAIN)
    back = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert back.apply_chat_template(CHATS["tools"], tokenize=False) == END_OF_TEXT + "".join(
        p.text for p in render(CHATS["tools"])
    )


def test_the_artifact_and_a_model_folder_load_too(tmp_path):
    cfg = TokenizerConfig(vocab_size=400)
    folder = stage(cfg, TEXTS, tmp_path / "tokenizer").path
    (folder / "config.json").write_text('{"vocab_size": 400, "d_model": 8}')  # a model's, not HF's
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs(PLAIN)["input_ids"] == Tokenizer.load(folder).encode_batch(PLAIN)
    assert open_artifact(folder, "tokenizer").manifest.config["vocab_size"] == 400
