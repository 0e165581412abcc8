"""One small tree of errors: each class says whose fault it is, each message says what to do next.

* `MeterFault`: a meter sent nonsense; the frame yields no value, the poll may be repeated. `SecurityFault` is one whose
  protection failed.
* `LinkDown`: a line, socket or broker is away; retry later.
* `ContractError`: the other side of the MQTT contract sent something this version cannot read.
* `RefusedCommand`: we said no, with a reason code that travels back to the sender.
* `ConfigError`: the operator must change a setting; names the key, the value and the remedy.

Data that is merely wrong (a gap, a failed VEE check, a ledger mismatch) is a row in a result, never an exception.
`exit_code` is what the console commands return for the class; 2 is left to argparse for wrong usage.
"""

from __future__ import annotations


class GridtallyError(Exception):
    """Base of the tree. Never raised itself."""

    exit_code = 1


class ConfigError(GridtallyError):
    """A setting is wrong: `key` and `value` name it, `remedy` says what to write instead."""

    exit_code = 3

    def __init__(self, key: str, value: object, remedy: str) -> None:
        super().__init__(f"{key} = {value!r}: {remedy}")
        self.key, self.value, self.remedy = key, value, remedy


class LinkDown(GridtallyError):
    """A line or a broker does not answer. Nothing is lost; the caller retries with back-off."""

    exit_code = 4


class MeterBusy(LinkDown):
    """The meter itself says that somebody else is being served. Ask again later."""


class MeterFault(GridtallyError):
    """A meter answered with bytes or values that cannot be true."""

    exit_code = 5


class SecurityFault(MeterFault):
    """What a meter sent is not protected as agreed, or it and we do not know the same secret: forged, replayed, or a wrong
    key. A security event, beside the poll that failed."""


class ContractError(GridtallyError):
    """A message of the other side does not fit the contract (shape, version, signature)."""

    exit_code = 6


class RefusedCommand(GridtallyError):
    """A command was understood and refused. `reason` is a code of `lifecycle.Reason`."""

    exit_code = 7

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail
