"""What to type to run what a repository holds: yaongi, transformers and vLLM, peft, llama.cpp."""

from __future__ import annotations

from yaongi.core.artifact import Artifact
from yaongi.core.i18n import translate as _
from yaongi.core.install import install_from_nothing
from yaongi.interop.hub_parcel import Parcel, What

TUNED = ("sft", "dpo", "grpo")


def how_to_run(repo: str, parcel: Parcel, base_model: str | None) -> str:
    """The section of a card, in Markdown."""
    what = parcel.what
    name = repo.partition("/")[2]
    base = base_model or _("ITS_MODEL")
    lines = [_shell(*_with_yaongi(repo, name, parcel))]
    if what is What.HF and "auto_map" in parcel.settings:
        lines += [
            _("With transformers, where yaongi is installed: its layers are run from there."),
            _python(_TRANSFORMERS.format(repo=repo, more=", trust_remote_code=True")),
        ]
    elif what is What.HF:
        lines += [
            _("With transformers, or as a server with vLLM:"),
            _python(_TRANSFORMERS.format(repo=repo, more="")),
            _shell(f"vllm serve {repo}"),
        ]
    elif what is What.GGUF:
        lines += [_("With llama.cpp:"), _shell(f"llama-cli -hf {repo}", f"llama-server -hf {repo}")]
    elif what is What.PEFT:
        lines += [_("With peft:"), _python(_PEFT.format(repo=repo, base=base))]
    elif what is What.TOKENIZER:
        lines += [_("With tokenizers:"), _python(_TOKENIZERS.format(repo=repo))]
    elif what is What.DATA:
        lines += [_("With datasets:"), _python(_DATASETS.format(repo=repo))]
    return "\n\n".join(lines)


def _with_yaongi(repo: str, name: str, parcel: Parcel) -> list[str]:
    """Getting it, and the first thing one does with it."""
    prefix = "datasets/" if parcel.what is What.DATA else ""
    begin, base = _("Once upon a time"), _("ITS_MODEL")
    first = {
        What.MODEL: [f"yaongi chat {name}" if _chats(parcel.artifact) else
                     f'yaongi generate {name} --prompt "{begin}"'],
        What.HF: [f"yaongi import {name} --out {name}-imported", f"yaongi chat {name}-imported"],
        What.ADAPTER: [f"yaongi chat {base} --adapter {name}"],
        What.DATA: [f"yaongi data report {name}"],
    }  # fmt: skip
    return [
        *install_from_nothing("hub"),
        f"yaongi pull {prefix}{repo} --out {name}",
        *first.get(parcel.what, []),
    ]


def _chats(artifact: Artifact) -> bool:
    """Whether it was taught to answer, or came from elsewhere with a template for it."""
    kinds = {node.kind for node in artifact.as_ancestor().walk()}
    foreign = "source" not in kinds and "chat_template.jinja" in artifact.manifest.files
    return bool(kinds & set(TUNED)) or foreign


def _shell(*lines: str) -> str:
    return "\n".join(["```bash", *lines, "```"])


def _python(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


_TRANSFORMERS = """
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo}")
model = AutoModelForCausalLM.from_pretrained("{repo}"{more})
messages = [{{"role": "user", "content": "안녕하세요?"}}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=100)[0]))
"""

_PEFT = """
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(model, "{repo}")
"""

_TOKENIZERS = """
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_pretrained("{repo}")
print(tokenizer.encode("안녕하세요?").tokens)
"""

_DATASETS = """
from datasets import load_dataset

corpus = load_dataset("{repo}", split="train", streaming=True)
print(next(iter(corpus))["text"])
"""
