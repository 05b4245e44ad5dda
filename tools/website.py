"""Renders README and docs/ as plain web pages and checks every link between them.

``make docs`` runs it. One template, no framework: the pages are Markdown that also reads well on
a code host, so the site adds only navigation.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGE = """<!doctype html><html lang="{lang}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{max-width:46rem;margin:2rem auto;padding:0 1rem;font:1rem/1.6 system-ui,sans-serif}}
pre,code{{font-family:ui-monospace,monospace;background:#8882;overflow:auto}}pre{{padding:.8rem}}
table{{border-collapse:collapse}}td,th{{border:1px solid #8886;padding:.2rem .6rem}}
img{{max-width:100%}}nav{{font-size:.9rem}}:root{{color-scheme:light dark}}</style>
<nav>{nav}</nav><main>{body}</main></html>"""


def pages() -> list[Path]:
    """Every page of the documentation, the READMEs first."""
    return [*sorted(ROOT.glob("*.md"), reverse=True), *sorted((ROOT / "docs").rglob("*.md"))]


def broken_links(page: Path) -> list[str]:
    """Relative links and images of a page that lead nowhere."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)[^)]*\)", text)
    local = [unquote(link.split("#")[0]) for link in found if not re.match(r"[a-z]+:", link)]
    return [link for link in local if link and not (page.parent / link).exists()]


def title_of(page: Path) -> str:
    """The first heading, else the file's name."""
    found = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1] if found else page.stem


def render(page: Path, out: Path) -> None:
    """Write one page below ``out``, links between pages changed to .html."""
    markdown = MarkdownIt("commonmark").enable("table")
    body = markdown.render(page.read_text(encoding="utf-8"))
    body = re.sub(r'(href="(?![a-z]+:)[^"#]*)\.md', r"\1.html", body)
    here = page.relative_to(ROOT)
    up = "../" * (len(here.parts) - 1)
    links = [(p.relative_to(ROOT).with_suffix(".html"), title_of(p)) for p in pages()]
    nav = " · ".join(f'<a href="{up}{link}">{title}</a>' for link, title in links)
    lang = "ko" if here.name.endswith(".ko.md") else "en"
    target = out / here.with_suffix(".html")
    target.parent.mkdir(parents=True, exist_ok=True)
    html = PAGE.format(lang=lang, title=title_of(page), nav=nav, body=body)
    target.write_text(html, encoding="utf-8")


def main(out: Path) -> int:
    """Render everything; exit code 1 when a link is broken."""
    for page in pages():
        render(page, out)
    for image in (ROOT / "docs").rglob("*.png"):
        target = out / image.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    broken = [
        f"{page.relative_to(ROOT)}: {link}" for page in pages() for link in broken_links(page)
    ]
    for line in broken:
        print(f"broken link in {line}", file=sys.stderr)
    print(f"{len(pages())} pages in {out}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
