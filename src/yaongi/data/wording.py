"""What steps, reasons and warnings of a corpus are called, for a person who reads them.

Manifests hold the English constants, and of a warning its template and fields, so that a corpus
built in one language is read in another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from yaongi.core.i18n import translate

Notice = dict[str, Any]
"""A warning: its template as ``message``, and the template's fields."""


def notice(message: str, /, **fields: object) -> Notice:
    """A warning to be written down; a field that is a tally is told reason by reason."""
    return {"message": message, **fields}


def said(warning: Notice | str) -> str:
    """A warning in the user's language; one of an older corpus or a plug-in as it stands."""
    if isinstance(warning, str):
        return warning
    fields = {k: tally(v) if isinstance(v, Mapping) else v for k, v in warning.items()}
    template: str = warning["message"]
    return translate(template).format(**fields)


def tally(reasons: Mapping[str, int]) -> str:
    """``3 not JSON, 1 too short``."""
    told = ", ".join(counted(n, reason) for reason, n in sorted(reasons.items()))
    return told or translate("no rows")


def counted(n: int, reason: str) -> str:
    """``3 not JSON``."""
    return translate("{n:,} {reason}", n=n, reason=reason_name(reason))


def step_name(step: str) -> str:
    """What a step of ours is called; the name of one that came as a plug-in."""
    return {
        "read": translate("read"),
        "encoding": translate("encoding"),
        "html": "html",
        "boilerplate": translate("boilerplate"),
        "spam": translate("spam"),
        "language": translate("language"),
        "shape": translate("shape"),
        "repetition": translate("repetition"),
        "pii": "pii",
        "profanity": translate("profanity"),
        "emoticons": translate("emoticons"),
        "quality": translate("quality"),
        "decontaminate": translate("decontaminate"),
        "duplicates": translate("duplicates"),
        "near duplicates": translate("near duplicates"),
        "repeated passages": translate("repeated passages"),
        "split": translate("split"),
    }.get(step, step)


def reason_name(reason: str) -> str:
    """Why a document was dropped or what was changed in it, also as ``step: reason``."""
    if known := _reasons().get(reason):
        return known
    step, colon, why = reason.partition(": ")
    if colon:
        return f"{step_name(step)}: {reason_name(why)}"
    for pattern, message in _about().items():
        if found := re.fullmatch(pattern, reason):
            return message.format(*found.groups())
    return reason


def _reasons() -> dict[str, str]:
    return {
        "not UTF-8": translate("not UTF-8"),
        "not JSON": translate("not JSON"),
        "not a JSON object": translate("not a JSON object"),
        "not CSV": translate("not CSV"),
        "not Unicode text": translate("not Unicode text"),
        "wrong number of columns": translate("wrong number of columns"),
        "unknown columns": translate("unknown columns"),
        "line too long": translate("line too long"),
        "damaged file": translate("damaged file"),
        "too short": translate("too short"),
        "too long": translate("too long"),
        "empty message": translate("empty message"),
        "prompt ends with an answer": translate("prompt ends with an answer"),
        "chosen and rejected are the same": translate("chosen and rejected are the same"),
        "chosen and rejected answer different prompts": translate(
            "chosen and rejected answer different prompts"
        ),
        "no answer to learn from": translate("no answer to learn from"),
        "a tool answers, but nothing was called": translate(
            "a tool answers, but nothing was called"
        ),
        "fewer than two answers to compare": translate("fewer than two answers to compare"),
        "all answers are ranked the same": translate("all answers are ranked the same"),
        "answers have neither ranks nor scores": translate("answers have neither ranks nor scores"),
        "history is not a list of question and answer": translate(
            "history is not a list of question and answer"
        ),
        "text is no question and answer": translate("text is no question and answer"),
        "unreadable": translate("unreadable"),
        "never settles": translate("never settles"),
        "no text": translate("no text"),
        "nothing left": translate("nothing left"),
        "spam": translate("spam"),
        "other language": translate("other language"),
        "symbols": translate("symbols"),
        "little hangul": translate("little hangul"),
        "no spaces": translate("no spaces"),
        "spread out": translate("spread out"),
        "repeated lines": translate("repeated lines"),
        "repeated paragraphs": translate("repeated paragraphs"),
        "low quality": translate("low quality"),
        "evaluation item": translate("evaluation item"),
        "evaluation n-grams": translate("evaluation n-grams"),
        "copy": translate("copy"),
        "near copy": translate("near copy"),
        "near copy of a held-out one": translate("near copy of a held-out one"),
        "repeated elsewhere": translate("repeated elsewhere"),
        "repeated sentence": translate("repeated sentence"),
        "held out": translate("held out"),
        "asks what another one asks": translate("asks what another one asks"),
        "asks what is held out": translate("asks what is held out"),
        "mojibake of cp949": translate("mojibake of cp949"),
        "mojibake of utf-8": translate("mojibake of utf-8"),
        "html entities": translate("html entities"),
        "line breaks": translate("line breaks"),
        "spaces": translate("spaces"),
        "invisible characters": translate("invisible characters"),
        "half-width jamo": translate("half-width jamo"),
        "surrogates": translate("surrogates"),
        "lost characters marked": translate("lost characters marked"),
        "overstruck characters": translate("overstruck characters"),
        "lone jamo": translate("lone jamo"),
        "jamo left apart": translate("jamo left apart"),
        "nfc": translate("nfc"),
        "runs": translate("runs"),
        "byline": translate("byline"),
        "rrn": translate("rrn"),
        "phone": translate("phone"),
        "business_no": translate("business number"),
        "corporate_no": translate("corporation number"),
        "passport": translate("passport"),
        "driver_license": translate("driver license"),
        "card": translate("card"),
        "account": translate("account"),
        "email": translate("email"),
        "ip": translate("IP address"),
        "messenger": translate("messenger"),
        "address": translate("address"),
    }


def _about() -> dict[str, str]:
    """Reasons with a column, number or language in them."""
    return {
        r"(\S+) is missing": translate("{} is missing"),
        r"(\S+) is empty": translate("{} is empty"),
        r"(\S+) is not a list": translate("{} is not a list"),
        r"(\S+) is not a string": translate("{} is not a string"),
        r"(\S+) is not a number from 0 up": translate("{} is not a number from 0 up"),
        r"(\S+) does not end with an answer": translate("{} does not end with an answer"),
        r"(\S+) has thinking or tool calls": translate("{} has thinking or tool calls"),
        r"(\S+) has an unknown role": translate("{} has an unknown role"),
        r"(\S+) holds something that is not a message": translate(
            "{} holds something that is not a message"
        ),
        r"(\S+) has a content that is not text": translate("{} has a content that is not text"),
        r"(\S+) does not have a number for each answer": translate(
            "{} does not have a number for each answer"
        ),
        r"(\S+) holds something that is not a number": translate(
            "{} holds something that is not a number"
        ),
        r"a message of the (\S+) is empty": translate("a message of the {} is empty"),
        r"'(\S+)' cannot come first": translate("'{}' cannot come first"),
        r"'(\S+)' cannot come after '(\S+)'": translate("'{}' cannot come after '{}'"),
        r"line in (\S+)": translate("line in {}"),
        r"(\d+)-grams": translate("{}-grams"),
        r"one (\d+)-gram": translate("one {}-gram"),
    }
