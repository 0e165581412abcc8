"""The association objects of a simulated meter (class 15): object list with rights, partners, and new secrets.

* 0.0.40.0.0.255 is the current association, 0.0.40.0.E.255 that of an account.
* The object list shows what this client may do. A low-level secret is written (attribute 7), a high-level one changed
  by method 2; both by a client with the right to change settings.

Source: IEC 62056-6-2 class 15 version 1; IS 15959 events 161 to 163.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.axdr import Data, Tag, array, octet_string, structure
from gridtally_edge.simulators.dlms_access import Account
from gridtally_edge.simulators.dlms_device import DENIED, DONE, UNDEFINED, CosemDevice
from gridtally_edge.simulators.dlms_hls import HIGH
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis

ASSOCIATION: Final = 15
_SECRET, _CHANGE_HLS = 7, 2
LLS_SECRET, HLS_SECRET, FIRMWARE_SECRET = 161, 162, 163
_SECRET_EVENTS: Final = {80: FIRMWARE_SECRET}
_OID_HEAD: Final = b"\x60\x85\x74\x05\x08"
_READ, _READ_WRITE, _METHOD = 1, 3, 1
_NULL: Final = Data(Tag.NULL, None)
_SIZES: Final = {
    1: (2, 0), 3: (3, 1), 4: (5, 1), 5: (9, 2), 7: (8, 2), 8: (9, 6), 9: (2, 1), 11: (2, 2), 15: (9, 4), 18: (7, 4),
    20: (10, 1), 22: (4, 0), 40: (7, 1), 64: (6, 2), 70: (4, 2), 71: (11, 0),
}  # fmt: skip
_VERSIONS: Final = {7: 1, 15: 1, 64: 1}
"""Attributes and methods of each class, and versions other than 0."""


def read_association(device: CosemDevice, account: Account, target: Attribute) -> Data | Result:
    asked = _named(device, account, target)
    read = _ATTRIBUTES.get(target.index)
    if asked is None:
        return UNDEFINED
    return read(device, asked, target) if read else DENIED


def write_association(device: CosemDevice, account: Account, target: Attribute, value: Data) -> Result:
    """A new low-level secret."""
    asked = _named(device, account, target)
    if asked is None or target.index != _SECRET or asked.mechanism is not Mechanism.LLS or not account.may_set(target):
        return DENIED
    return _changed(device, asked, value)


def act_on_association(device: CosemDevice, account: Account, method: Attribute, parameters: Data | None) -> Result:
    """A new high-level secret."""
    asked = _named(device, account, method)
    if asked is None or method.index != _CHANGE_HLS or asked.mechanism not in HIGH or not account.may_set(method):
        return DENIED
    return _changed(device, asked, parameters or _NULL)


def _changed(device: CosemDevice, account: Account, value: Data) -> Result:
    try:
        secret = axdr.octets_of(value)
    except MeterFault:
        return Result(AccessResult.TYPE_UNMATCHED)
    device.change_account(replace(account, secret=secret))
    device.note(_SECRET_EVENTS.get(account.client or 0, HLS_SECRET if account.mechanism in HIGH else LLS_SECRET))
    return DONE


def _named(device: CosemDevice, account: Account, target: Attribute) -> Account | None:
    number = target.obis.value[4]
    return account if number == 0 else device.numbered(number)


def _object_list(device: CosemDevice, account: Account, target: Attribute) -> Data:
    associations = [(ASSOCIATION, Obis(bytes((0, 0, 40, 0, number, 255)))) for number in (0, account.number)]
    return array(*(_object(account, class_id, obis) for class_id, obis in (*associations, *device.targets())))


def _object(account: Account, class_id: int, obis: Obis) -> Data:
    attributes, methods = _SIZES.get(class_id, (2, 0))
    mode = _READ_WRITE if account.may_set(Attribute(class_id, obis, 2)) else _READ
    readable = account.may_read(Attribute(class_id, obis, 2))
    rights = [structure(Data(Tag.INT8, n), Data(Tag.ENUM, _mode(n, mode, readable)), _NULL) for n in range(1, attributes + 1)]
    runs = _METHOD if account.may_act(Attribute(class_id, obis, 1)) else 0
    acts = [structure(Data(Tag.INT8, n), Data(Tag.ENUM, runs)) for n in range(1, methods + 1)]
    version = Data(Tag.UINT8, _VERSIONS.get(class_id, 0))
    rights_of = structure(array(*rights), array(*acts))
    return structure(Data(Tag.UINT16, class_id), version, octet_string(obis.value), rights_of)


def _mode(number: int, mode: int, readable: bool) -> int:
    if number == 1:
        return _READ
    return mode if readable else 0


def _partners(device: CosemDevice, account: Account, target: Attribute) -> Data:
    return structure(Data(Tag.INT8, account.client or 0), Data(Tag.UINT16, 1))


def _context(device: CosemDevice, account: Account, target: Attribute) -> Data:
    return octet_string(_OID_HEAD + bytes((1, 3 if account.security else 1)))


def _mechanism(device: CosemDevice, account: Account, target: Attribute) -> Data:
    return octet_string(_OID_HEAD + bytes((2, account.mechanism)))


_ATTRIBUTES: Final[dict[int, Callable[[CosemDevice, Account, Attribute], Data]]] = {
    1: lambda device, account, target: octet_string(target.obis.value),
    2: _object_list,
    3: _partners,
    4: _context,
    6: _mechanism,
    8: lambda device, account, target: Data(Tag.ENUM, 2),
    9: lambda device, account, target: octet_string(bytes((0, 0, 43, 0, account.number, 255))),
}
