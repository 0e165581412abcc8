"""`gridtally decode` for what travels over MQTT: signed envelopes, batches and every other message, in plain words.

A COSE_Sign1 envelope names its channel; a bare message is taken for the types of the contract that would write exactly
these octets. Signatures are shown, not verified: this tool holds no keys.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

from gridtally_shared import cbor, quantities, signing
from gridtally_shared.contract import codec
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import CHANNELS
from gridtally_shared.errors import ContractError
from gridtally_shared.events import event_type
from gridtally_shared.explain import Explanation, Keys
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import decimal_text

_LONGEST_HEX = 32
_NAMES: dict[tuple[str, str], Any] = {
    ("Batch", "lane"): m.Lane,
    ("StreamHead", "lane"): m.Lane,
    ("Receipt", "lane"): m.Lane,
    ("Entry", "kind"): m.EntryKind,
    ("Hello", "clock_state"): m.ClockState,
    ("Command", "type"): m.CommandType,
    ("CommandReceipt", "state"): CommandState,
    ("Instrument", "type"): m.InstrumentType,
    ("LedgerEntry", "kind"): Kind,
}


def explain_envelope(data: bytes, _keys: Keys) -> Explanation | None:
    """Words for an envelope or message of the contract; None when the octets are neither."""
    try:
        value = cbor.loads(data)
    except ContractError:
        return None
    if isinstance(value, list):
        return _signed(data)
    return _bare(data) if isinstance(value, dict) and value else None


def _signed(data: bytes) -> Explanation | None:
    try:
        protected, payload, _ = signing.open_unverified(data)
        header = cbor.loads(protected)
    except ContractError:
        return None
    channel = next((c for c in CHANNELS if isinstance(header, dict) and c.name == header.get(signing.CONTENT_TYPE)), None)
    if channel is None:
        return None
    key_id = header.get(signing.KID, b"").hex()
    what = f"{channel.message.__name__} for channel '{channel.name}'"
    title = f"gridtally envelope: {what}, signed by key {key_id} (not verified here)"
    try:
        message: Any = codec.decode(channel.message, payload)
    except ContractError as error:
        return Explanation("gridtally-envelope", title, faults=(str(error),), proved=True)
    return Explanation("gridtally-envelope", title, tuple(_lines(message)), proved=True)


def _bare(data: bytes) -> Explanation | None:
    """Bare maps are alike: the first type of the contract, most fields first, that would write exactly these octets."""
    types = {c.message for c in CHANNELS if not c.signed} | set(m.ENTRY_TYPES.values()) | {LedgerEntry}
    for cls in sorted(types, key=lambda c: (-_required(c), c.__name__)):
        try:
            message: Any = codec.decode(cls, data)
        except ContractError:
            continue
        if codec.encode(message) == data:
            return Explanation("gridtally-message", f"gridtally message: {cls.__name__}", tuple(_lines(message)))
    return None


def _required(cls: Any) -> int:
    return sum(f.default is dataclasses.MISSING for f in dataclasses.fields(cls))


def _lines(message: Any, depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            yield f"{indent}{field.name}: {len(value)}"
            for item in value:
                yield from _item(item, depth + 1)
        else:
            yield f"{indent}{field.name}: {_words(type(message).__name__, field.name, value)}"
    if isinstance(message, m.JournalRange):
        for raw in message.entries:
            yield from _lines(entry_from(raw), depth + 1)


def _item(item: Any, depth: int) -> Iterator[str]:
    yield "  " * depth + f"- {type(item).__name__}"
    yield from _lines(item, depth + 1)
    if isinstance(item, m.Entry) and item.kind in m.ENTRY_TYPES:
        try:
            yield from _lines(codec.decode(m.ENTRY_TYPES[m.EntryKind(item.kind)], item.body), depth + 2)
        except ContractError as error:
            yield "  " * (depth + 2) + f"fault: {error}"


def _words(owner: str, name: str, value: Any) -> str:
    """A field for people: times as UTC, money as decimals, codes with their names, octets as hex."""
    named = _NAMES.get((owner, name))
    if named is not None and value in named.__members__.values():
        return f"{value} ({named(value).name.lower()})"
    if isinstance(value, bytes):
        return value.hex() if len(value) <= _LONGEST_HEX else f"{value[:_LONGEST_HEX].hex()}... ({len(value)} octets)"
    if isinstance(value, int) and name.endswith("_ms") and value > 10**11:
        return f"{value} ({dt.datetime.fromtimestamp(value / 1000, dt.UTC).isoformat(timespec='milliseconds')})"
    if isinstance(value, int) and name.endswith("_nano"):
        return f"{value} ({decimal_text(value)})"
    if name == "quantity" and value in quantities.BY_CODE:
        return f"{value} ({quantities.BY_CODE[value].name})"
    if owner == "Event" and name == "code":
        return f"{value} ({event_type(value).text})"
    return str(value)
