"""Small Python functions and what they print, traced line by line in figures.

Every family computes its trace here, in parallel with the source it prints; a test executes the
source and compares. The form of the task is that of "scratchpads" (Nye et al. 2021,
arXiv:2112.00114). At most one operand of any sum has two digits, so no pair of ``arithmetic``
occurs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from yaongi.data.synthetic.item import ANSWER, Item
from yaongi.data.synthetic.splits import Key, Split, draw
from yaongi.data.synthetic.wordfiles import sections


class Call(NamedTuple):
    """A function, a call of it, and what happens.

    Attributes:
        key: what it computes on what, whatever its names.
        source: ``def`` with ``{f}`` for its name.
        call: arguments as written.
        trace: the steps, one a line; may be empty.
        value: what ``print`` shows.
    """

    key: Key
    source: str
    call: str
    trace: tuple[str, ...]
    value: str


_WORDS_OF = sections("functions.txt")
_NAMES, _WORDS, _ADDED = (" ".join(_WORDS_OF[name]).split() for name in ("names", "words", "added"))
_ASKS = _WORDS_OF["ask"]


def function_item(rng: random.Random, split: Split) -> Item:
    """A function, a call, and its traced result."""
    call = draw(rng.choice(FAMILIES), lambda c: c.key, rng, split)
    name = rng.choice(_NAMES)
    ask = rng.choice(_ASKS).format(name=name, call=call.call)
    source = call.source.replace("{f}", name)
    question = f"{source}\n\n{ask}" if rng.random() < 0.7 else f"{ask}\n\n{source}"
    reply = "\n".join([*call.trace, f"{ANSWER}{call.value}"])
    return Item("function", question, reply, call.value, call.key)


def _digit(rng: random.Random, low: int = 1, high: int = 9) -> int:
    return low + int(rng.random() * (high - low + 1))


def _call(
    family: str, source: str, call: str, trace: list[str], value: object, *names: object
) -> Call:
    return Call(
        ("function", family, *map(str, names), call), source, call, tuple(trace), str(value)
    )


def linear(rng: random.Random) -> Call:
    """x * a + b"""
    x, a, b = _digit(rng, 0), _digit(rng, 2), _digit(rng)
    product = x * a
    trace = [f"{x}*{a}={product}", f"{product}+{b}={product + b}"]
    source = f"def {{f}}(x):\n    return x * {a} + {b}"
    return _call("linear", source, str(x), trace, product + b, a, b)


def shifted(rng: random.Random) -> Call:
    """(x + a) * b, the sum at most 9"""
    x, b = _digit(rng, 0, 7), _digit(rng, 2)
    a = _digit(rng, 1, 9 - x)
    trace = [f"{x}+{a}={x + a}", f"{x + a}*{b}={(x + a) * b}"]
    source = f"def {{f}}(x):\n    return (x + {a}) * {b}"
    return _call("shifted", source, str(x), trace, (x + a) * b, a, b)


def two_arguments(rng: random.Random) -> Call:
    """x + y, x - y, x * y of digits"""
    x, y, op = _digit(rng), _digit(rng), rng.choice("+-*")
    if op == "-":
        x, y = max(x, y), min(x, y)
    value = {"+": x + y, "-": x - y, "*": x * y}[op]
    source = f"def {{f}}(x, y):\n    return x {op} y"
    return _call("two", source, f"{x}, {y}", [f"{x}{op}{y}={value}"], value, op)


def larger(rng: random.Random) -> Call:
    """The larger or smaller of two."""
    x, y = rng.sample(range(1, 30), 2)
    sign = rng.choice("<>")
    holds = x > y if sign == ">" else x < y
    source = f"def {{f}}(x, y):\n    if x {sign} y:\n        return x\n    return y"
    verdict = f"{x}{sign}{y} " + ("참" if holds else "거짓")
    return _call("larger", source, f"{x}, {y}", [verdict], x if holds else y, sign)


def branch(rng: random.Random) -> Call:
    """if x > c: x + a else: x - b"""
    x, c, a, b = _digit(rng), _digit(rng, 2, 7), _digit(rng), _digit(rng, 1, 2)
    x = max(x, b)
    source = f"def {{f}}(x):\n    if x > {c}:\n        return x + {a}\n    return x - {b}"
    holds = x > c
    value = x + a if holds else x - b
    step = f"{x}+{a}={value}" if holds else f"{x}-{b}={value}"
    verdict = f"{x}>{c} " + ("참" if holds else "거짓")
    return _call("branch", source, str(x), [verdict, step], value, c, a, b)


def parity(rng: random.Random) -> Call:
    """짝수 or 홀수"""
    x = int(rng.random() * 100)
    yes, no = rng.choice((("짝수", "홀수"), ("even", "odd"), ("나누어짐", "남음")))
    source = f'def {{f}}(n):\n    if n % 2 == 0:\n        return "{yes}"\n    return "{no}"'
    return _call("parity", source, str(x), [f"{x}%2={x % 2}"], no if x % 2 else yes, yes)


def digits(rng: random.Random) -> Call:
    """n // 10, n % 10, n % 5"""
    n, (op, a) = 10 + int(rng.random() * 90), rng.choice((("//", 10), ("%", 10), ("%", 5)))
    value = n // a if op == "//" else n % a
    source = f"def {{f}}(n):\n    return n {op} {a}"
    return _call("digits", source, str(n), [f"{n}{op}{a}={value}"], value, op, a)


def count_up(rng: random.Random) -> Call:
    """total += i for i in range(n)"""
    n, start = _digit(rng, 2, 6), int(rng.random() * 40)
    source = (
        f"def {{f}}(n):\n    total = {start}\n    for i in range(n):\n        total += i\n"
        "    return total"
    )
    trace = [f"i={i} {step}" for i, step in enumerate(_sums(range(n), start))]
    return _call("count_up", source, str(n), trace, start + n * (n - 1) // 2, start)


def repeat_add(rng: random.Random) -> Call:
    """total += k, n times"""
    n, k, start = _digit(rng, 1, 5), _digit(rng), _digit(rng, 0)
    source = (
        f"def {{f}}(n):\n    total = {start}\n    for i in range(n):\n        total += {k}\n"
        "    return total"
    )
    trace = [f"i={i} {step}" for i, step in enumerate(_sums([k] * n, start))]
    return _call("repeat_add", source, str(n), trace, start + n * k, k, start)


def count_down(rng: random.Random) -> Call:
    """while n > stop: n -= k"""
    n, k, stop = _digit(rng, 5, 20), _digit(rng, 2, 5), _digit(rng, 0, 4)
    source = f"def {{f}}(n):\n    while n > {stop}:\n        n -= {k}\n    return n"
    trace, m = [], n
    while m > stop:
        trace.append(f"{m}-{k}={m - k}")
        m -= k
    return _call("count_down", source, str(n), trace, m, k, stop)


def list_sum(rng: random.Random) -> Call:
    """sum of a short list, by a loop or sum()"""
    items = [_digit(rng) for _ in range(_digit(rng, 2, 4))]
    short = rng.random() < 0.5
    source = "def {f}(a):\n    return sum(a)"
    if not short:
        source = "def {f}(a):\n    total = 0\n    for x in a:\n        total += x\n    return total"
    return _call("list_sum", source, str(items), _sums(items[1:], items[0]), sum(items), short)


def pick_one(rng: random.Random) -> Call:
    """First, second, last, how many"""
    items = rng.sample(range(1, 30), _digit(rng, 3, 5))
    counted = " ".join(str(i + 1) for i in range(len(items)))
    body, trace, value = rng.choice(
        (("a[0]", [], items[0]), ("a[-1]", [], items[-1]), ("a[1]", [], items[1]),
         ("len(a)", [counted], len(items)))
    )  # fmt: skip
    return _call("pick", f"def {{f}}(a):\n    return {body}", str(items), trace, value, body)


def extreme(rng: random.Random) -> Call:
    """max, min: the best so far at every item"""
    items = rng.sample(range(10), _digit(rng, 3, 4))
    which = rng.choice((max, min))
    trace = [" ".join(str(which(items[: i + 1])) for i in range(len(items)))]
    source = f"def {{f}}(a):\n    return {which.__name__}(a)"
    return _call("extreme", source, str(items), trace, which(items), which.__name__)


def each(rng: random.Random) -> Call:
    """[x * k for x in a], [x + k for x in a]"""
    items, k = [_digit(rng) for _ in range(3)], _digit(rng, 2, 5)
    op = rng.choice("+*")
    made = [x + k if op == "+" else x * k for x in items]
    trace = [f"{x}{op}{k}={y}" for x, y in zip(items, made, strict=True)]
    source = f"def {{f}}(a):\n    return [x {op} {k} for x in a]"
    return _call("each", source, str(items), trace, made, op, k)


def keep(rng: random.Random) -> Call:
    """[x for x in a if x > k]"""
    items, k = [_digit(rng) for _ in range(4)], _digit(rng, 2, 7)
    source = f"def {{f}}(a):\n    return [x for x in a if x > {k}]"
    trace = [" ".join(f"{x}>{k} {'참' if x > k else '거짓'}" for x in items)]
    return _call("keep", source, str(items), trace, [x for x in items if x > k], k)


def slices(rng: random.Random) -> Call:
    """a + [k], a[1:], a[:2]"""
    items, k = rng.sample(range(1, 10), _digit(rng, 3, 4)), _digit(rng)
    body, value = rng.choice(
        ((f"a + [{k}]", [*items, k]), ("a[1:]", items[1:]), ("a[:2]", items[:2]))
    )
    return _call("slices", f"def {{f}}(a):\n    return {body}", str(items), [], value, body)


def glue(rng: random.Random) -> Call:
    """s + suffix, prefix + s"""
    word, added = rng.choice(_WORDS), rng.choice(_ADDED)
    front = rng.choice(("", "예쁜 ", "작은 ", "우리 "))
    value = front + word + added
    expr = f'"{front}" + s + "{added}"' if front else f's + "{added}"'
    return _call("glue", f"def {{f}}(s):\n    return {expr}", f'"{word}"', [], value, front, added)


def again(rng: random.Random) -> Call:
    """s * n, on figures"""
    text, n = str(int(rng.random() * 100)), _digit(rng, 2, 4)
    source = "def {f}(s, n):\n    return s * n"
    return _call("again", source, f'"{text}", {n}', [" ".join([text] * n)], text * n)


def join(rng: random.Random) -> Call:
    """s + "5", "5" + s, on figures"""
    text, more = str(int(rng.random() * 1000)), str(_digit(rng, 0))
    before = rng.random() < 0.5
    body = f'"{more}" + s' if before else f's + "{more}"'
    value = more + text if before else text + more
    return _call("join", f"def {{f}}(s):\n    return {body}", f'"{text}"', [], value, body)


def backwards(rng: random.Random) -> Call:
    """A string of figures read backwards."""
    text = "".join(str(_digit(rng, 0)) for _ in range(_digit(rng, 3, 4)))
    trace = [" ".join(text)]
    return _call("backwards", "def {f}(s):\n    return s[::-1]", f'"{text}"', trace, text[::-1])


def word_at(rng: random.Random) -> Call:
    """words[i]"""
    words, i = rng.sample(_WORDS, 3), _digit(rng, 0, 2)
    written = ", ".join(f'"{word}"' for word in words)
    source = f"def {{f}}(i):\n    words = [{written}]\n    return words[i]"
    return _call("word_at", source, str(i), [], words[i], *words)


def is_member(rng: random.Random) -> Call:
    """x in a: each item until it is found"""
    items, x = rng.sample(range(1, 10), 4), _digit(rng)
    seen = items[: items.index(x) + 1] if x in items else items
    source = f"def {{f}}(x):\n    return x in {items}"
    trace = [" ".join(f"{item}=={x} {'참' if item == x else '거짓'}" for item in seen)]
    return _call("member", source, str(x), trace, x in items, *items)


FAMILIES: tuple[Callable[[random.Random], Call], ...] = (
    linear, shifted, two_arguments, larger, branch, parity, digits, count_up, repeat_add,
    count_down, list_sum, pick_one, extreme, each, keep, slices, glue, join, again, backwards,
    word_at, is_member,
)  # fmt: skip


def _sums(items: Iterable[int], start: int = 0) -> list[str]:
    """The running total: ``0+3=3``, ``3+5=8``."""
    trace, total = [], start
    for item in items:
        trace.append(f"{total}+{item}={total + item}")
        total += item
    return trace
