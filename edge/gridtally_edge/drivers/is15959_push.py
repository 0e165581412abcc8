"""What an IS 15959 meter sends unasked (class 40): whose it is, which push, when, and the alarms in it.

* A payload is a structure: logical device name (or device id), OBIS code of the push set-up, clock, then values.
* The event status word of an alert becomes events at the meter's clock. Other values carry no scaler in a push: they are not
  guessed here; the port that has learnt the meter's layouts reads them (is15959_pushed.py). A push shows that the meter lives.
* A logical device name is three letters of the maker and the serial; a name of another form is the serial itself.
* A ciphered push opens with the meter's keys and the title it carries; a plain one of a meter with keys is refused.

Source: protocols.md 6.5, IEC 62056-5-3 data-notification.
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.drivers.is15959_codec import moment_of
from gridtally_edge.drivers.is15959_config import Is15959Settings
from gridtally_edge.drivers.is15959_events import status_events
from gridtally_edge.drivers.model import MeterEvent, Pushed
from gridtally_edge.protocols.dlms import axdr, hdlc, wrapper
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.axdr import Bits, Data
from gridtally_edge.protocols.dlms.ciphering import CipherKeys, GeneralGlo, unseal
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.hdlc import Control
from gridtally_edge.protocols.dlms.notification import DataNotification
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

HEAD: Final = 3
_MAKER_LETTERS: Final = 3
_BARE_TAGS: Final = (DataNotification.tags, GeneralGlo.tags)


@dataclass(frozen=True, slots=True)
class OpenedPush:
    """A push's payload, and where it was ciphered its sender's title and invocation counter."""

    payload: Data
    title: bytes = b""
    counter: int | None = None


def hears(settings: Is15959Settings, octets: bytes, at_ms: int) -> Pushed | None:
    """A push in an HDLC UI frame, a wrapper PDU, or bare; None for another message. Raises MeterFault for a spoilt one."""
    opened = opened_push(settings, octets)
    if opened is None:
        return None
    return pushed_of(opened.payload, ClockRule(settings.clock_policy, settings.utc_offset_min), at_ms)


def opened_push(settings: Is15959Settings, octets: bytes) -> OpenedPush | None:
    """None for another message. Raises MeterFault for one that is spoilt, or not protected as agreed."""
    apdu = _apdu_of(octets)
    if apdu is None:
        return None
    sealed = decode_apdu(apdu)
    if not isinstance(sealed, GeneralGlo):
        if settings.key:
            raise MeterFault("a push came unprotected from a meter that has keys")
        return OpenedPush(sealed.data()) if isinstance(sealed, DataNotification) else None
    notification = decode_apdu(_plain(settings, sealed))
    if not isinstance(notification, DataNotification):
        return None
    return OpenedPush(notification.data(), sealed.title, sealed.sealed.counter)


def _apdu_of(octets: bytes) -> bytes | None:
    if octets[:1] in _BARE_TAGS:
        return octets
    for placed in wrapper.scan(octets) if octets[:2] == wrapper.VERSION else ():
        return placed.pdu.apdu
    pieces = [p.frame.information for p in hdlc.scan(octets) if p.frame.kind is Control.UI]
    message = b"".join(pieces)
    heads = (hdlc.LLC_RESPONSE, hdlc.LLC_COMMAND)
    return message[len(heads[0]) :] if message[: len(heads[0])] in heads else None


def _plain(settings: Is15959Settings, sealed: GeneralGlo) -> bytes:
    if not settings.key:
        raise MeterFault("a push is ciphered; the meter's settings have no key")
    keys = CipherKeys(settings.key, settings.auth_key or None)
    opened = unseal(keys, sealed.title, sealed.sealed)
    if settings.auth_key and not opened.verified:
        raise MeterFault("a push came without its authentication")
    return opened.plaintext


def pushed_of(payload: Data, rule: ClockRule, at_ms: int) -> Pushed:
    """Whose push it is, which, when, and the alarms in it. Raises MeterFault."""
    items = axdr.items_of(payload)
    if len(items) < HEAD or len(axdr.octets_of(items[1])) != 6:
        raise MeterFault("a push starts with device name, set-up and clock")
    clock_ms = moment_of(items[2], rule)
    events: list[MeterEvent] = []
    for value in items[HEAD:]:
        if isinstance(value.value, Bits):
            events += status_events(value, clock_ms or at_ms)
    name = axdr.text_of(items[0])
    return Pushed(serial_in(name), str(Obis(axdr.octets_of(items[1]))), clock_ms or None, events=tuple(events))


def serial_in(name: str) -> str:
    """The serial in a logical device name or device id."""
    maker, serial = name[:_MAKER_LETTERS], name[_MAKER_LETTERS:]
    return serial if serial and maker.isalpha() and maker.isupper() else name
