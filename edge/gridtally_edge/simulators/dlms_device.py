"""One simulated meter behind all its associations: object groups, accounts, ciphers, oddities.

* A group owns some objects; the first group that owns a target serves it, the house's own objects come last.
* Several links may talk to one device; what belongs to a link is in dlms_server.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Final, Protocol

from gridtally_edge.protocols.dlms.access import RANGE, AccessResult, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.simulators.dlms_access import Account, MeterAccess
from gridtally_edge.simulators.dlms_ciphers import MeterCiphers
from gridtally_edge.simulators.dlms_doors import Doors
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

DENIED: Final = Result(AccessResult.READ_WRITE_DENIED)
UNDEFINED: Final = Result(AccessResult.OBJECT_UNDEFINED)
DONE: Final = Result(AccessResult.SUCCESS)
_SILENT_AFTER_REBOOT: Final = 3
_COUNTER_HEAD: Final = bytes((0, 0, 43, 1))


class Objects(Protocol):
    """Some COSEM objects of one meter. A method gives back data or its result."""

    def targets(self) -> tuple[tuple[int, Obis], ...]: ...

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result: ...

    def set(self, target: Attribute, value: Data) -> Result: ...

    def act(self, method: Attribute, parameters: Data | None) -> Data | Result: ...


@dataclass(slots=True)
class CosemDevice:
    """`groups` in the order in which they are asked. `max_pdu` is the largest PDU it sends and takes; `confirmed` holds
    the invoke numbers of pushes that somebody confirmed; `note` takes the codes of events;
    `doors` stands between its two ports where it has both."""

    groups: Sequence[Objects]
    access: MeterAccess
    ciphers: MeterCiphers | None = None
    quirks: QuirkBoard = field(default_factory=QuirkBoard)
    max_pdu: int = 1024
    block_transfer: bool = False
    note: Callable[[int], None] = lambda code: None
    doors: Doors | None = None
    confirmed: list[int] = field(default_factory=list, init=False)
    _silent: int = field(default=0, init=False)
    _owners: dict[tuple[int, Obis], Objects] = field(default_factory=dict, init=False)
    _accounts: dict[int, Account] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for group in reversed(self.groups):
            self._owners.update(dict.fromkeys(group.targets(), group))
        self._accounts = {account.number: account for account in self.access.accounts()}

    def account(self, client: int) -> Account | None:
        """The account of a client address, None for one the meter does not know."""
        by_client = {account.client: account for account in self._accounts.values()}
        return by_client.get(client) or by_client.get(None)

    def change_account(self, account: Account) -> None:
        self._accounts[account.number] = account

    def numbered(self, number: int) -> Account | None:
        return self._accounts.get(number)

    def targets(self) -> tuple[tuple[int, Obis], ...]:
        counters = [(1, Obis(_COUNTER_HEAD + bytes((number, 255)))) for number in self._accounts if self.ciphers and number > 1]
        return tuple(sorted({*self._owners, *counters}, key=str))

    def get(self, account: Account, target: Attribute, selector: Selector | None) -> Data | Result:
        if not account.may_read(target):
            return DENIED
        if target.obis.value[:4] == _COUNTER_HEAD:
            return self._counter(target)
        if target.class_id == 7 and selector and selector.kind == RANGE and self.quirks.acts(Quirk.ENTRIES_ONLY):
            return Result(AccessResult.OTHER_REASON)
        return self._owner(target).get(target, selector)

    def set(self, account: Account, target: Attribute, value: Data) -> Result:
        if not account.may_set(target):
            return DENIED
        return self._owner(target).set(target, value)

    def act(self, account: Account, method: Attribute, parameters: Data | None) -> Data | Result:
        if not account.may_act(method):
            return DENIED
        return self._owner(method).act(method, parameters)

    def reboot(self) -> None:
        """Silent for the next requests, and every link is gone."""
        self._silent = _SILENT_AFTER_REBOOT

    def starting(self) -> bool:
        """Whether the meter is still starting up and hears nothing; counts the request."""
        if not self._silent:
            return False
        self._silent -= 1
        return True

    def _owner(self, target: Attribute) -> Objects:
        return self._owners.get((target.class_id, target.obis), self.groups[-1])

    def _counter(self, target: Attribute) -> Data | Result:
        if self.ciphers is None or target.index != 2 or target.class_id != 1:
            return UNDEFINED if self.ciphers is None else DENIED
        return Data(Tag.UINT32, self.ciphers.counter(target.obis.value[4]))
