"""What was read by eye: bench/results/judged.json as the table of docs/results/filters.md.

    python bench/judged.py

A row of the file is a filter and a side: how many there are in the shared data, how many were
read, and which of the sample were wrong, numbered from 0 in its file, by what was wrong.
"""

import json
from pathlib import Path

from yaongi.core.intervals import wilson

FILE = Path(__file__).parents[1] / "bench/results/judged.json"
HEAD = "| filter | what | there are | read | wrong | % wrong (95 %) | what was wrong |"
RULE = "|---|---|--:|--:|--:|---|---|"


def table() -> str:
    """Markdown, a line for every row."""
    lines = [HEAD, RULE]
    for row in json.loads(FILE.read_text(encoding="utf-8"))["rows"]:
        wrong = {number for numbers in row["wrong"].values() for number in numbers}
        share = "–"
        if row["read"]:
            low, high = wilson(len(wrong), row["read"])
            share = f"{100 * len(wrong) / row['read']:.0f} ({100 * low:.0f}–{100 * high:.0f})"
        why = [f"{reason} ({len(numbers)})" for reason, numbers in row["wrong"].items()]
        said = "; ".join([*why, *filter(None, [row.get("note", "")])])
        cells = [row["filter"], row["what"], f"{row['there']:,}", row["read"], len(wrong), share]
        lines.append(f"| {' | '.join(map(str, cells))} | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
