"""What steps, languages and scripts are called on the page; translated when asked."""

from __future__ import annotations

from yaongi.core.i18n import translate
from yaongi.data.report.texts import UNJUDGED


def step_note(step: str) -> str:
    """What a step of ours does, in a few words; "" for one that came as a plug-in."""
    return {
        "read": translate("rows become documents"),
        "encoding": translate("broken encodings are repaired, Unicode brought to one form"),
        "html": translate("HTML becomes text"),
        "boilerplate": translate("bylines, share bars and footers go, line by line"),
        "spam": translate("advertisements go"),
        "language": translate("other languages go, by line and document"),
        "shape": translate("length, symbols, Hangul, spaces"),
        "repetition": translate("documents that repeat themselves go"),
        "pii": translate("personal data becomes placeholders"),
        "profanity": translate("swear words are counted, nothing goes"),
        "emoticons": translate("long runs of ㅋㅋㅋ and ㅠㅠㅠ are shortened"),
        "quality": translate("documents a classifier thinks little of go"),
        "decontaminate": translate("texts of evaluation sets go"),
        "duplicates": translate("copies go, the first stays"),
        "near duplicates": translate("documents that share most of their text go, the first stays"),
        "repeated passages": translate("repeated passages go, the first stays"),
        "split": translate("a part is held out for validation"),
    }.get(step, "")


def language_name(code: str) -> str:
    """The name of a language by its ISO 639-1 code, the code itself for rarer ones."""
    return {
        UNJUDGED: translate("not judged"),
        "ko": translate("Korean"),
        "en": translate("English"),
        "ja": translate("Japanese"),
        "zh": translate("Chinese"),
        "de": translate("German"),
        "fr": translate("French"),
        "es": translate("Spanish"),
        "ru": translate("Russian"),
    }.get(code, code)


def script_name(script: str) -> str:
    """The name of one of ``texts.SCRIPTS``."""
    return {
        "hangul": translate("Hangul"),
        "hanja": translate("Hanja"),
        "kana": translate("Kana"),
        "latin": translate("Latin"),
        "other": translate("other scripts"),
    }[script]
