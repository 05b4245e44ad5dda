"""Tokenizers as other projects ship them: GPT-2's kind with a beginning token, and ChatML."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

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


def make(folder: Path, template: str | None, *, in_config: bool = False) -> None:
    """Write tokenizer.json, its config, and the template in one of its two places."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|head|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"content": "<|begin|>", "special": True, "__type": "AddedToken"},
        "eos_token": "<|end|>",
        "clean_up_tokenization_spaces": False,
    }
    if template and in_config:
        config["chat_template"] = template
    elif template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
