"""The counter: where somebody on the spot hands the running agent a request and waits for the answer.

* A request is a file `<id>.ask` in a folder of the data directory, its answer `<id>.answer`; both are written whole or not at
  all. Whoever may write there is whoever may run the agent.
* Requests wait for an agent that is not running; the same id again is the same request, and the prepay core answers it the
  same way. So nothing is lost and nothing is done twice.
* Answers nobody fetched are swept after a day.

Source: prepayment.md 5.2 (carriers beside the network).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.records import dataclass

FOLDER = "counter"
ASK, ANSWER = ".ask", ".answer"
LARGEST_BYTES = 512 * 1024
SWEEP_AFTER_S = 86_400.0
PRESENT_S = 60.0
LOOK_EVERY_S = 0.05
OF_THE_MOMENT = frozenset({"hold", "person"})
"""Kinds that count only while whoever asks stands there; they do not wait for an agent that is not running."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`kind` is 'code', 'instruments' or 'emergency' (the credit that was offered is taken), 'reclose' (after a
    trip above the limit), 'messages' (numbers and words of messages), 'hold' and 'person' (work on site); `text` what was
    typed or the file's text."""

    kind: str = key(0)
    account_no: int = key(1)
    text: str = key(2)


@dataclass(frozen=True, slots=True)
class Answer:
    """`result` is a word of the request's kind; the numbers are those of its result."""

    result: str = key(0)
    amount_nano: int = key(1, 0)
    balance_nano: int = key(2, 0)
    until_ms: int = key(3, 0)
    applied: int = key(4, 0)
    known: int = key(5, 0)
    waiting: int = key(6, 0)
    refused: int = key(7, 0)
    text: str = key(8, "")
    status: int = key(9, -1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that waits at the counter."""

    ask_id: bytes
    ask: Ask


class Counter:
    """The agent's side and the asker's, on one folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def leave(self, ask: Ask) -> bytes:
        """Leave a request; its id. Raises ConfigError when the folder can not be written."""
        ask_id = os.urandom(16)
        self._write(ask_id.hex() + ASK, encode(ask))
        return ask_id

    def asked(self, ask: Ask, wait_s: float) -> Answer | None:
        """Leave a request and wait for its answer; None where none came in time. One that counts only while somebody stands there is
        taken back then, and an agent that had it in hand just then is still heard."""
        ask_id, pause, until_s = self.leave(ask), threading.Event(), time.monotonic() + wait_s
        while (answer := self.fetch(ask_id)) is None and time.monotonic() < until_s:
            pause.wait(LOOK_EVERY_S)
        if answer is None and ask.kind in OF_THE_MOMENT:
            (self._folder / (ask_id.hex() + ASK)).unlink(missing_ok=True)
            pause.wait(LOOK_EVERY_S)
            answer = self.fetch(ask_id)
        return answer

    def fetch(self, ask_id: bytes) -> Answer | None:
        """Take the answer, once it is there."""
        path = self._folder / (ask_id.hex() + ANSWER)
        try:
            answer = decode(Answer, path.read_bytes())
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return answer

    def waiting(self) -> Iterator[Asked]:
        """The requests, oldest first. What is no request is taken away."""
        for path in sorted(self._paths(ASK), key=lambda p: p.stat().st_mtime_ns):
            try:
                if path.stat().st_size > LARGEST_BYTES:
                    raise ContractError("larger than a request may be")
                ask = decode(Ask, path.read_bytes())
                if ask.kind in OF_THE_MOMENT and time.time() - path.stat().st_mtime > PRESENT_S:
                    raise ContractError("whoever asked has gone")
                yield Asked(bytes.fromhex(path.stem), ask)
            except (ContractError, ValueError):
                path.unlink(missing_ok=True)

    def answer(self, ask_id: bytes, answer: Answer) -> None:
        """Give the answer and take the request away."""
        self._write(ask_id.hex() + ANSWER, encode(answer))
        (self._folder / (ask_id.hex() + ASK)).unlink(missing_ok=True)
        self._sweep()

    def _paths(self, ending: str) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return [p for p in self._folder.iterdir() if p.suffix == ending]
        return []

    def _sweep(self) -> None:
        for path in self._paths(ANSWER):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > SWEEP_AFTER_S:
                    path.unlink()

    def _write(self, name: str, body: bytes) -> None:
        draft = self._folder / f".{name}.{os.getpid()}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._folder / name)
        except OSError as error:
            raise ConfigError("data_dir", str(self._folder), f"can not be written ({error.strerror}): run as the agent's user") from None
