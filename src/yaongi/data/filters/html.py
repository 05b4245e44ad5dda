"""HTML to text, only where a document is HTML; the parser is resiliparse's.

Source: Bevendorff et al. 2018, https://resiliparse.chatnoir.eu. A page loses menus and footers by
its main-content rules; a fragment, such as the body of a feed, is kept whole.
"""

from __future__ import annotations

import re
from collections import Counter

from pydantic import Field

from yaongi.data.filters import Cleaned, Filter, optional_module, settle
from yaongi.text.normalize import nfc

_PAGE = re.compile(r"\s*(?:<!--[^>]*-->\s*)?<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:p|div|span|br|a|b|i|u|em|strong|font|img|h[1-6]|[uod]l|li|d[td]|table|tbody|tr|t[dh]"
    r"|hr|center|blockquote|section|article|figure|iframe)\b[^<>\n]{0,500}>",
    re.IGNORECASE,
)


class HTML(Filter):
    """Leaves alone what only mentions tags: Markdown, source code, a page about HTML.

    Args:
        min_tags: known tags per 1,000 characters that make a text without ``<html>`` a fragment.
        main_content: leave menus, footers and side columns of whole pages out.
    """

    kind: str = "html"
    min_tags: float = Field(default=5.0, gt=0.0)
    main_content: bool = True

    def clean(self, text: str) -> Cleaned:
        extracted = settle(text, self._once)
        if extracted is None:
            return Cleaned(text, "never settles")
        if extracted == text:
            return Cleaned(text)
        return Cleaned(extracted, "" if extracted else "no text", Counter({"html": 1}))

    def _once(self, text: str) -> str:
        page = bool(_PAGE.match(text))
        if not (page or self._is_fragment(text)):
            return text
        extract = optional_module("resiliparse.extract.html2text").extract_plain_text
        whole = text.encode(errors="replace").decode()  # the parser takes no half surrogates
        main = extract(whole, main_content=True, alt_texts=False) if page else ""
        if not (main and self.main_content):
            main = extract(whole, main_content=False, alt_texts=False)
        return nfc(main)

    def _is_fragment(self, text: str) -> bool:
        """Whether it is nothing but HTML: Markdown with a table or code has lines of its own."""
        bare = text.strip()
        if "<" not in bare or len(_TAG.findall(bare)) * 1000 < self.min_tags * len(bare):
            return False
        return "\n" not in bare or bool(_TAG.match(bare) and bare.endswith(">"))
