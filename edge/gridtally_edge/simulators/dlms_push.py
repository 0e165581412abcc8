"""What a simulated meter sends unasked: data notifications of IS 15959 part 2, and their set-up objects (class 40).

* A payload is a structure: logical device name, OBIS code of the push set-up, clock, then the values.
* Instant pushes carry the columns of the instantaneous profile one by one, alerts the event status word, the others the last
  row of their profile.
* Repeats and swapped order on demand, since both are normal on a mesh. With keys the PDU is ciphered (general-glo).

Source: protocols.md 6.5; IEC 62056-6-2 class 40.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Final

from gridtally_edge.drivers.dlms_table import columns_of
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result, Selector, attribute
from gridtally_edge.protocols.dlms.axdr import Bits, Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.notification import DataNotification
from gridtally_edge.simulators.dlms_ciphers import BOTH, MeterCiphers
from gridtally_edge.simulators.dlms_device import DENIED, DONE, Objects
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

_CLASS: Final = 40
_PROFILE: Final = attribute(7, "1.0.94.91.0.255", 2)
_PROFILE_COLUMNS: Final = attribute(7, "1.0.94.91.0.255", 3)
_CLOCK: Final = attribute(8, "0.0.1.0.0.255", 2)
_DEVICE_NAME: Final = attribute(1, "0.0.42.0.0.255", 2)
_STATUS_WORD: Final = attribute(1, "0.0.94.91.18.255", 2)
_STATUS_BITS: Final = 128
_PUSH_METHOD: Final = 1
_LONG_INVOKE: Final = 0x00FFFFFF
_CONFIRMED: Final = 1 << 30


class PushKind(Enum):
    INSTANT = "instant"
    ALERT = "alert"
    BLOCK = "block"
    DAILY = "daily"
    BILLING = "billing"


SETUPS: Final = {
    PushKind.INSTANT: Obis.of("0.0.25.9.0.255"),
    PushKind.ALERT: Obis.of("0.4.25.9.0.255"),
    PushKind.BLOCK: Obis.of("0.5.25.9.0.255"),
    PushKind.DAILY: Obis.of("0.6.25.9.0.255"),
    PushKind.BILLING: Obis.of("0.132.25.9.0.255"),
}


_ROWS: Final = {
    PushKind.BLOCK: attribute(7, "1.0.99.1.0.255", 2),
    PushKind.DAILY: attribute(7, "1.0.99.2.0.255", 2),
    PushKind.BILLING: attribute(7, "1.0.98.1.0.255", 2),
}


@dataclass(frozen=True, slots=True)
class Push:
    """`bits` are those set in the status word of an alert (bit 0 is the top bit of the first octet), none: as the meter
    has them. `repeats` sends it so many times more; `count` sends several pushes, `swapped` the later ones first.
    `confirmed` asks for a confirmation."""

    kind: PushKind
    bits: tuple[int, ...] = ()
    repeats: int = 0
    count: int = 1
    swapped: bool = False
    confirmed: bool = False


@dataclass(slots=True)
class PushSetups:
    """The push set-up objects of one meter. `ciphers` None: pushes go out in plain. `asked` are the pushes that method 1
    has ordered and nobody has fetched yet."""

    house: Objects
    ciphers: MeterCiphers | None = None
    asked: list[Push] = field(default_factory=list)
    _invoke: int = field(default=0, init=False)
    _written: dict[Attribute, Data] = field(default_factory=dict, init=False)

    def send(self, push: Push) -> tuple[bytes, ...]:
        """The PDUs of a push in the order in which they go out."""
        fresh = [self._notification(push) for _ in range(push.count)]
        if push.swapped:
            fresh.reverse()
        return tuple(apdu for apdu in fresh for _ in range(push.repeats + 1))

    def targets(self) -> tuple[tuple[int, Obis], ...]:
        return tuple((_CLASS, obis) for obis in SETUPS.values())

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result:
        kind = _kind_of(target)
        if target in self._written:
            return self._written[target]
        fixed = {
            1: octet_string(target.obis.value),
            2: array(*(_push_object(item) for item in self._objects(kind))),
            3: structure(Data(Tag.ENUM, 1), octet_string(b""), Data(Tag.ENUM, 0)),
            4: array(),
            5: Data(Tag.UINT16, 0),
            6: Data(Tag.UINT8, 0),
            7: Data(Tag.UINT16, 0),
        }
        return fixed.get(target.index, DENIED)

    def set(self, target: Attribute, value: Data) -> Result:
        """Destination, window, randomisation, retries and delay can be written; they only read back."""
        before = self.get(target, None)
        if target.index not in range(3, 8) or isinstance(before, Result):
            return DENIED
        if before.tag is not value.tag:
            return Result(AccessResult.TYPE_UNMATCHED)
        self._written[target] = value
        return DONE

    def act(self, method: Attribute, parameters: Data | None) -> Data | Result:
        if method.index != _PUSH_METHOD:
            return DENIED
        self.asked.append(Push(_kind_of(method)))
        return DONE

    def _notification(self, push: Push) -> bytes:
        self._invoke = self._invoke % _LONG_INVOKE + 1
        body = structure(*self._head(push.kind), *self._values(push))
        invoke = self._invoke | (_CONFIRMED if push.confirmed else 0)
        apdu = DataNotification(invoke, b"", axdr.encode(body)).octets()
        return self.ciphers.general(apdu, BOTH) if self.ciphers else apdu

    def _head(self, kind: PushKind) -> tuple[Data, ...]:
        return self._value(_DEVICE_NAME), octet_string(SETUPS[kind].value), self._value(_CLOCK)

    def _values(self, push: Push) -> tuple[Data, ...]:
        if push.kind is PushKind.ALERT:
            return (status_word(push.bits) if push.bits else self._value(_STATUS_WORD),)
        if push.kind in _ROWS:
            return (array(*axdr.items_of(self._value(_ROWS[push.kind]))[-1:]),)
        rows = axdr.items_of(self._value(_PROFILE))
        return axdr.items_of(rows[0])[1:]

    def _objects(self, kind: PushKind) -> tuple[Attribute, ...]:
        head = (_DEVICE_NAME, Attribute(_CLASS, SETUPS[kind], 1), _CLOCK)
        if kind is PushKind.INSTANT:
            return (*head, *columns_of(self._value(_PROFILE_COLUMNS))[1:])
        return (*head, _ROWS.get(kind, _STATUS_WORD))

    def _value(self, target: Attribute) -> Data:
        value = self.house.get(target, None)
        if isinstance(value, Result):
            raise MeterFault(f"{target}: {value}")
        return value


def _kind_of(target: Attribute) -> PushKind:
    return next(kind for kind, obis in SETUPS.items() if obis == target.obis)


def status_word(bits: tuple[int, ...]) -> Data:
    """The event status word with these bits set."""
    word = sum(1 << (_STATUS_BITS - 1 - bit) for bit in set(bits))
    return Data(Tag.BIT_STRING, Bits(_STATUS_BITS, word.to_bytes(_STATUS_BITS // 8, "big")))


def _push_object(target: Attribute) -> Data:
    return structure(
        Data(Tag.UINT16, target.class_id), octet_string(target.obis.value), Data(Tag.INT8, target.index), Data(Tag.UINT16, 0)
    )
