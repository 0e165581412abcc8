"""What a simulated meter must not forget: an append-only file of operations, forced to disk before they act.

* First line: whose file it is and when the meter was born. Every further line is one operation (JSON).
* A line torn by a kill is cut off at the next start; whole lines before it stand.
* The file is locked while it is in use: two simulators of one meter would contradict each other.
* Without a path the log lives in memory only.
"""

from __future__ import annotations

import fcntl
import json
import os
from enum import Enum
from pathlib import Path

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass


class Act(Enum):
    BORN = "born"
    OPENED = "opened"
    CLOSED = "closed"
    ARMED = "armed"
    CLOCK_SET = "clock set"
    EVENT = "event"
    BALANCE = "balance"
    TEXT = "text"
    SETTING = "setting"
    SPECIAL_DAYS = "special days"
    RESET = "reset"
    TESTED = "tested"
    FAULT = "fault"
    PREPAID = "prepaid"
    TOKEN = "token"


_LOSSY = frozenset({Act.BALANCE, Act.TEXT})


@dataclass(frozen=True, slots=True)
class Operation:
    """`at_ms` is true time. `value`: skew in ms for CLOCK_SET, event code for EVENT, minor units for BALANCE, kind for SETTING
    and RESET, the fault's size for FAULT (0: lifted), the object's number for PREPAID, the status for TOKEN. `text`: the record in
    hexadecimal digits for SETTING and SPECIAL_DAYS, the fault's name, the text shown, the value of the prepayment object, the octets of the
    token in hexadecimal digits."""

    act: Act
    at_ms: int
    value: int = 0
    text: str = ""

    def to_line(self) -> bytes:
        return json.dumps([self.act.value, self.at_ms, self.value, self.text]).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Operation:
        act, at_ms, value, text = json.loads(line)
        return cls(Act(act), int(at_ms), int(value), str(text))


class HouseLog:
    """Operations of one meter, oldest first. Raises ConfigError for a file that is locked, foreign or unreadable."""

    def __init__(self, path: Path | None, serial: str, born_ms: int) -> None:
        self._path = path
        self._descriptor = -1
        self.operations: list[Operation] = []
        if path is not None:
            self._open(path)
        if not self.operations:
            self.append(Operation(Act.BORN, born_ms, text=serial))
        if self.operations[0].act is not Act.BORN or self.operations[0].text != serial:
            self.close()
            raise ConfigError("state", str(path), f"it is not the state of meter {serial}: name another directory")

    @property
    def born_ms(self) -> int:
        return self.operations[0].at_ms

    def append(self, operation: Operation) -> None:
        """On disk when this returns (what it shows apart, which a meter may lose)."""
        if self._descriptor >= 0:
            os.write(self._descriptor, operation.to_line())
            if operation.act not in _LOSSY:
                os.fsync(self._descriptor)
        self.operations.append(operation)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(path.read_bytes())
        except BlockingIOError:
            self.close()
            raise ConfigError("state", str(path), "another simulator uses it: stop that one first") from None
        except (ValueError, KeyError) as error:
            self.close()
            raise ConfigError("state", str(path), f"unreadable ({error}): move it away to start a new meter") from error

    def _load(self, content: bytes) -> None:
        whole = content[: content.rfind(b"\n") + 1]
        self.operations = [Operation.from_line(line) for line in whole.splitlines()]
        if len(whole) < len(content):
            os.ftruncate(self._descriptor, len(whole))
