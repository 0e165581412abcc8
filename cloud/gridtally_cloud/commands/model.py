"""What the command service takes and gives."""

from __future__ import annotations

from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import TERMINAL, CommandState
from gridtally_shared.meter_settings import Setting
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """An order somebody asks for. `requested_by` is who is told the end: `staff:<login>`, `consumer:<login>`,
    `system:<part>`. `idempotency_key` makes a repeated request return the first command. `not_before_ms` 0 means now.
    `from_ms` and `to_ms` bound a read; `text` is the message to display; `settings` what to write or, with empty bodies, to
    read; `reset` a ResetKind; `target` the command it cancels or takes the place of, under whose `order_id` it then goes;
    `detail` the CBOR of what its type needs beside."""

    meter_no: int
    type: CommandType
    requested_by: str
    cause: str
    idempotency_key: str | None = None
    not_before_ms: int = 0
    expires_ms: int = 0
    from_ms: int = 0
    to_ms: int = 0
    text: str = ""
    settings: tuple[Setting, ...] = ()
    reset: int = 0
    target: bytes | None = None
    detail: bytes | None = None
    order_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a command's life."""

    at_ms: int
    state: CommandState
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class CommandView:
    """A command as its sender sees it. `result` is the CBOR the edge sent with a done read."""

    cmd_id: bytes
    dcu: str
    meter_no: int
    type: CommandType
    requested_by: str
    cause: str
    text: str
    state: CommandState
    reason: str
    result: bytes
    issued_at_ms: int
    not_before_ms: int
    expires_ms: int
    state_at_ms: int
    switch_counter: int
    order_id: bytes

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class Issued:
    """`repeated` is True when the idempotency key had been used: the command is then the first one."""

    cmd_id: bytes
    state: CommandState
    reason: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class SenderNotice:
    """How a command ended, told to the one who asked."""

    notice_no: int
    cmd_id: bytes
    state: CommandState
    reason: str
    text: str
    at_ms: int
    seen: bool
