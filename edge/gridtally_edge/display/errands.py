"""What the display hands on to the agent over the counter: a button of the page, and which messages were shown.

* A wish the agent does not answer in time is kept there and done later.
* A message is told as displayed once, whether the page or the local topic showed it first.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from gridtally_edge.counter import Ask, Counter
from gridtally_edge.display.account import Message
from gridtally_shared.errors import ConfigError

ANSWER_WITHIN_S = 4.0
MOST_TOLD = 2_000

log = logging.getLogger("gridtally.display")


class Errands:
    def __init__(self, data_dir: Path) -> None:
        self._counter = Counter(data_dir)
        self._told: deque[int] = deque(maxlen=MOST_TOLD)

    def ask(self, kind: str, account_no: int, text: str = "", wait_s: float = ANSWER_WITHIN_S) -> str:
        """Hand a wish to the agent; its answer, or 'later' where it does not answer in time. The wish is kept."""
        try:
            answer = self._counter.asked(Ask(kind, account_no, text), wait_s)
        except ConfigError as error:
            log.warning("the counter can not be used: %s", error)
            return "later"
        return answer.result if answer is not None else "later"

    def shown(self, account_no: int, messages: Iterable[Message]) -> None:
        """Tell the agent which messages the consumer's own display has shown for the first time."""
        new = [m.message_no for m in messages if not m.state and m.message_no not in self._told]
        if new:
            self._told.extend(new)
            self.ask("messages", account_no, " ".join(f"{n}.displayed" for n in new), 0.0)
