"""What every test runs under: English messages, one thread, no secrets, no surprise writes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Bare pytest explores new examples; `make test` repeats the same ones. Shared cores have no pace.
settings.register_profile("explore", deadline=None, print_blob=True)
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("explore")

# Set before any test module imports torch or asks for a message, and inherited by subprocesses.
os.environ["YAONGI_LANG"] = "en"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for secret in ("WANDB_API_KEY", "HF_TOKEN"):
    os.environ.pop(secret, None)

# A shell's background jobs ignore Ctrl-C, and would hand that on to what tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that switches the language does so for itself only."""
    monkeypatch.setenv("YAONGI_LANG", "en")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Two workers share two cores; sums over one thread are also reproducible."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def yaongi_data() -> Path:
    """The folder of real text, when there is one."""
    root = os.environ.get("YAONGI_DATA")
    if not root:
        pytest.skip("needs real text: set YAONGI_DATA to a folder with train/*.jsonl.zst and eval/")
    path = Path(root)
    if not (path / "train").is_dir():
        pytest.fail(f"YAONGI_DATA={root} has no train/ folder")
    return path
