"""From the ids of one answer to its text, as they come: whole characters, and no stop string.

The bytes of a syllable may be spread over tokens, and a stop string over steps; what is not certain
yet is held back.
"""

from __future__ import annotations

from collections.abc import Sequence

from yaongi.infer.rules import Finish, Generation, stop_ids
from yaongi.text.foreign import AnyTokenizer


class Answer:
    """What was said so far, and where it ends.

    Args:
        limit: how many ids it may have.
        cut: the finish of one that reaches the limit.

    Attributes:
        said: the ids, the one that ended it included.
    """

    def __init__(self, tokenizer: AnyTokenizer, rules: Generation, limit: int, cut: Finish) -> None:
        self.said: list[int] = []
        self._limit, self._cut = limit, cut
        self._enders = stop_ids(tokenizer)
        self._decoder = tokenizer.stream()
        self._stops = StopText(rules.stop)

    def push(self, token: int) -> tuple[str, Finish | None]:
        """The text that became certain with this id; a finish if the answer ends with it."""
        self.said.append(token)
        stops = self._stops
        if token in self._enders:
            return stops.push(self._decoder.flush()) + stops.flush(), Finish.STOP
        text = stops.push(self._decoder.push(token))
        if stops.found:
            return text, Finish.STOP
        if len(self.said) < self._limit:
            return text, None
        text += stops.push(self._decoder.flush()) + stops.flush()
        return text, Finish.STOP if stops.found else self._cut


class StopText:
    """Passes text on until one of ``stops`` appears, holding back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [s for s in stops if s]
        self.held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The text that is now certain not to belong to a stop string."""
        self.held += text
        places = [at for s in self.stops if (at := self.held.find(s)) >= 0]
        if places:
            self.found = True
            safe = min(places)
        else:
            safe = len(self.held) - self._overlap()
        out, self.held = self.held[:safe], self.held[safe:]
        return out

    def flush(self) -> str:
        """What was held back, when no stop string came after all."""
        out, self.held = ("" if self.found else self.held), ""
        return out

    def _overlap(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        return max(
            (n for s in self.stops for n in range(1, len(s)) if self.held.endswith(s[:n])),
            default=0,
        )
