"""Tokenizers as other projects ship them: GPT-2's kind with a beginning token, SentencePiece's
with byte fallback, and chat templates of several manners."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXTS = ["안녕하세요. 고양이가 야옹 하고 울었어요.", "The cat said hello. 12 + 34 = 46"] * 4
LLAMA_LIKE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ['user', 'assistant', 'system'] %}
        {{- raise_exception('roles must be user, assistant or system') }}
    {%- endif %}
    {{- '<|head|>' + message['role'] + '\\n\\n' + message['content'] | trim + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant\\n\\n' }}
{%- endif %}
"""
CHATML = """\
{%- for m in messages %}
{%- if loop.index0 > 90 %}{%- break %}{%- endif %}
{%- if m.role == "assistant" %}{% generation %}{{ m.content }}<|end|>{% endgeneration %}
{%- else %}{{ m | tojson }}{{ m.get('name', '') }}<|head|>
{%- endif %}
{%- endfor %}
"""
LLAMA2 = """\
{{- bos_token }}
{%- for m in messages %}
{%- if m.role == "assistant" %}{{ ' ' + m.content + ' ' + eos_token }}
{%- else %}{{ '[INST] ' + m.content + ' [/INST]' }}
{%- endif %}
{%- endfor %}
"""
FORGETFUL = """\
{%- for m in messages %}
{%- if m.role == "assistant" and loop.last %}
{{- '<|head|>assistant\n[ ]' + m.content + '<|end|>\n' }}
{%- else %}{{ '<|head|>' + m.role + '\n' + m.content + '<|end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|head|>assistant\n' }}{% endif %}
"""
"""As Qwen3's: only the last answer is written with its (empty) thoughts."""

ENDLESS = "{% for m in messages %}{{ '<|head|>' + m.content + '\n' }}{% endfor %}"
SPECIAL = ["<|begin|>", "<|end|>", "<|head|>"]


def make(
    folder: Path, template: str | None, *, in_config: bool = False, regexes: Sequence[str] = ()
) -> None:
    """Write tokenizer.json, its config, and the template in one of its two places.

    Args:
        regexes: how text is cut, in turn; none takes GPT-2's.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if regexes:
        splits = [
            pre_tokenizers.Digits(individual_digits=True)
            if r == r"\p{N}"
            else pre_tokenizers.Split(Regex(r), behavior="isolated")
            for r in regexes
        ]
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, plain])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    _save(backend, folder, template, "<|begin|>", "<|end|>", in_config=in_config)


def make_sentencepiece(folder: Path, template: str | None = None, *, fallback: bool = True) -> None:
    """Llama 2's kind: ``▁`` for spaces, one put before every text, and bytes as ``<0xNN>``."""
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)] if fallback else []
    letters = sorted({*"".join(TEXTS).replace(" ", "▁"), "▁"})
    vocab = {p: i for i, p in enumerate(["<unk>", "<s>", "</s>", *byte_pieces, *letters, "▁T"])}
    backend = Tokenizer(
        models.BPE(vocab, [("▁", "T")], unk_token="<unk>", byte_fallback=fallback, fuse_unk=True)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    ends = [decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), *ends]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    _save(backend, folder, template, "<s>", "</s>")


def make_lowercase(folder: Path) -> None:
    """A byte-level one that folds letters, so its tokens are not the bytes of the text."""
    make(folder, None)
    path = folder / "tokenizer.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**spec, "normalizer": {"type": "Lowercase"}}), encoding="utf-8")


def _save(
    backend: Tokenizer,
    folder: Path,
    template: str | None,
    bos: str,
    eos: str,
    *,
    in_config: bool = False,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"content": bos, "special": True, "__type": "AddedToken"},
        "eos_token": eos,
        "clean_up_tokenization_spaces": False,
    }
    if template and in_config:
        config["chat_template"] = template
    elif template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
