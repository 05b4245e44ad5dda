"""How varied the embedded stories are: bits per byte that ``xz -9`` primed on them still needs.

(len(xz(prime + held)) - len(xz(prime))) * 8 / len(held), the window wider than the whole text. A
corpus filled into a few templates falls far below real text; ours must stay above BOUND.

    python bench/synthetic_entropy.py            # 10 MB of training, 1 MB of held-out stories
"""

import argparse
import json
import lzma
import time
from pathlib import Path

from yaongi.core.seeds import Seed
from yaongi.data.synthetic import documents

ROOT = Path(__file__).parents[1]
BOUND = 0.6


def stories(split: str, size: int, seed: int) -> tuple[bytes, float]:
    """At least ``size`` bytes of stories, and how fast they were made in MB/s of one core."""
    texts, told, start = [], 0, time.process_time()
    for document in documents(Seed(seed), split, "story"):
        texts.append(document.text)
        told += len(document.text.encode()) + 2
        if told >= size:
            break
    return "\n\n".join(texts).encode(), told / 1e6 / (time.process_time() - start)


def packed(text: bytes) -> int:
    """Bytes of ``xz -9`` (a 64 MiB window)."""
    return len(lzma.compress(text, preset=9))


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prime-mb", type=float, default=10)
    parser.add_argument("--held-mb", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/synthetic_entropy.json")
    args = parser.parse_args()
    prime, speed = stories("train", int(args.prime_mb * 1e6), args.seed)
    held, _ = stories("test", int(args.held_mb * 1e6), args.seed)
    bits = (packed(prime + held) - packed(prime)) * 8 / len(held)
    result = {
        "xz_bits_per_byte": round(bits, 4),
        "bound": BOUND,
        "prime_bytes": len(prime),
        "held_bytes": len(held),
        "alone_bits_per_byte": round(packed(held) * 8 / len(held), 4),
        "generated_mb_per_s": round(speed, 2),
        "seed": args.seed,
    }
    text = json.dumps(result, indent=2)
    print(text)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text + "\n", encoding="utf-8")
    if bits < BOUND:
        raise SystemExit(f"{bits:.3f} bits per byte is below {BOUND}: the stories repeat too much.")


if __name__ == "__main__":
    main()
