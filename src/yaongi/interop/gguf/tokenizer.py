"""The tokenizer of a GGUF, back as one of ours or as the foreign one it was made from.

The way back of ``vocabulary.py``: with it a GGUF is spoken to through our own chat template and
rules, so what a user types stays text, which llama.cpp's own routes do not promise.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from yaongi.core.errors import TokenizerError, YaongiError
from yaongi.core.files import write_bytes, write_json
from yaongi.core.i18n import translate as _
from yaongi.interop.gguf.header import Header
from yaongi.interop.gguf.pretokenizer import PRE_TOKENIZERS
from yaongi.interop.gguf.vocabulary import TYPED_CONTROL, UNUSED, USER_DEFINED
from yaongi.text.bytelevel import IGNORE_MERGES, untrained
from yaongi.text.control import CONTROL
from yaongi.text.foreign import GENERATION, AnyTokenizer, ForeignTokenizer
from yaongi.text.tokenizer import Tokenizer

_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_COMPOSED = ("qwen2", "qwen35")  # their tokenizer.json composes to NFC; a GGUF does not say


def tokenizer_of(header: Header) -> AnyTokenizer:
    """The tokenizer inside a GGUF.

    Raises:
        TokenizerError: it is no byte-level BPE, or cuts text with a regex we have no name for.
        ArtifactError: keys are missing or damaged.
    """
    model, pre = header.text("tokenizer.ggml.model"), header.keys.get("tokenizer.ggml.pre")
    regexes = {name: each for each, name in PRE_TOKENIZERS.items()}
    if model != "gpt2" or pre not in regexes:
        raise TokenizerError(
            "{path}: its tokenizer is '{model}' with the pre-tokenizer '{pre}'; expected 'gpt2' "
            "with one of {known}. Run it with llama-server.",
            path=header.path,
            model=model,
            pre=pre,
            known=", ".join(sorted(set(regexes))),
        )
    try:
        if header.strings(_TOKENS)[: len(CONTROL)] == list(CONTROL):
            return _ours(header, pre)
        return _foreign(header, pre, regexes[pre])
    except Exception as error:  # bare, as the library raises it of merges without tokens
        if isinstance(error, YaongiError):
            raise
        raise TokenizerError(
            "{path}: its tokenizer cannot be read: {reason}", path=header.path, reason=error
        ) from error


def _ours(header: Header, pre: str) -> Tokenizer:
    backend = untrained(pre, _bpe(header, pre))
    backend.add_special_tokens([AddedToken(name, special=True) for name in CONTROL])
    return Tokenizer(backend.to_str().encode(), header.path)


def _foreign(header: Header, pre: str, regexes: tuple[str, ...]) -> ForeignTokenizer:
    """As the files of a downloaded model would give it."""
    backend = Backend(_bpe(header, pre))
    if pre in _COMPOSED:
        backend.normalizer = normalizers.NFC()
    cuts = [pre_tokenizers.Split(Regex(each), behavior="isolated") for each in regexes]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    tokens, ends = header.strings(_TOKENS), ("eos_token", "eot_token")
    ids = {role: header.keys.get(f"tokenizer.ggml.{role}_id") for role in ("bos_token", *ends)}
    first = ids["bos_token"]
    if first is not None and header.keys.get("tokenizer.ggml.add_bos_token"):
        backend.post_processor = processors.TemplateProcessing(
            single=[tokens[first], "$A"], special_tokens=[(tokens[first], first)]
        )
    for kind, special in ((TYPED_CONTROL, True), (USER_DEFINED, False)):
        types = header.numbers(_TYPES)
        found = [t for t, of in zip(tokens, types, strict=True) if of == kind]
        backend.add_tokens([AddedToken(t, special=special, normalized=False) for t in found])
    with TemporaryDirectory() as folder:
        stated = {role: tokens[i] for role, i in ids.items() if i is not None}
        write_bytes(Path(folder, "tokenizer.json"), backend.to_str().encode())
        write_json(Path(folder, "tokenizer_config.json"), {
            **stated, "chat_template": header.keys.get("tokenizer.chat_template"),
        })  # fmt: skip
        stops = sorted({i for role in ends if (i := ids[role]) is not None})
        write_json(Path(folder, GENERATION), {"eos_token_id": stops})
        return ForeignTokenizer(Path(folder), header.path)


def _bpe(header: Header, pre: str) -> models.BPE:
    """The vocabulary, without the ids that stand at its end unused."""
    types = header.numbers(_TYPES)
    used = max((i for i, kind in enumerate(types, 1) if kind != UNUSED), default=0)
    tokens = header.strings(_TOKENS)[:used]
    ids = {token: i for i, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        raise ValueError(_("two tokens are spelled the same"))
    pairs = [merge.partition(" ") for merge in header.strings("tokenizer.ggml.merges")]
    merges = [(left, right) for left, _space, right in pairs]
    return models.BPE(ids, merges, ignore_merges=pre in IGNORE_MERGES)
