"""What the edge sent back with a done command, as rows of (name, value) for a person.

One function a kind of answer, as `edge: polling/ondemand.py` and the switch evidence write them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.reads.meters import SWITCH_NAMES
from gridtally_shared import cbor
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, Intervals, Readings, Value
from gridtally_shared.errors import ContractError
from gridtally_shared.events import event_type
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.quantities import BY_CODE

Rows = tuple[tuple[str, str], ...]


def rows(kind: CommandType, result: bytes, words: Language) -> Rows:
    """Empty where there is no result; its bytes in hex where this version can not read it."""
    if not result:
        return ()
    try:
        return READERS[kind](result, words) if kind in READERS else _bytes(result, words)
    except ContractError:
        return _bytes(result, words)


def _bytes(result: bytes, words: Language) -> Rows:
    return ((words.t("command.result"), result.hex()),)


def _switched(result: bytes, words: Language) -> Rows:
    seen = decode(SwitchEvidence, result)
    states = tuple(_state(s, words) for s in (seen.state_before, seen.state_after))
    found = [(words.t("switch.result"), words.name_of("switch_result", seen.result)),
             (words.t("switch.state"), " → ".join(states)), (words.t("switch.serial"), seen.serial)]  # fmt: skip
    if seen.register_wh is not None:
        found.append((words.t("meter.register"), words.kwh(seen.register_wh, 3)))
    return tuple(found)


def _state(number: object, words: Language) -> str:
    name = SWITCH_NAMES.get(number, "unknown") if isinstance(number, int) else "unknown"
    return words.name_of("supply", name)


def _switch_read(result: bytes, words: Language) -> Rows:
    return ((words.t("home.supply"), _state(_only(result), words)),)


def _values(result: bytes, words: Language) -> Rows:
    return tuple(_value(v, words) for v in decode(Readings, result).values)


def _value(value: Value, words: Language) -> tuple[str, str]:
    known = BY_CODE.get(value.quantity)
    if known is None:
        return str(value.quantity), words.number(value.value)
    unit = "" if known.unit == "1" else known.unit
    return words.name_of("quantity", known.name), f"{words.number(value.value, -known.exponent)} {unit}"


def _intervals(result: bytes, words: Language) -> Rows:
    n = sum(block.n for block in decode(Intervals, result).blocks)
    return ((words.t("command.result"), words.t("command.intervals_read", n=n)),)


def _events(result: bytes, words: Language) -> Rows:
    listed = _only(result)
    if not isinstance(listed, list) or not all(_is_event(e) for e in listed):
        raise ContractError("not a list of events")
    found = tuple((event_type(code), at_ms) for code, at_ms, _ in listed)
    return tuple((words.name_of("event", e.name, e.text), words.when(at_ms)) for e, at_ms in found)


def _is_event(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 3 and all(type(n) is int and 0 <= n < 1 << 43 for n in item[:2])


def _only(result: bytes) -> Any:
    """The value under key 0 of a map."""
    found = cbor.loads(result)
    if not isinstance(found, dict) or 0 not in found:
        raise ContractError("not the answer of a read")
    return found[0]


READERS: dict[CommandType, Callable[[bytes, Language], Rows]] = {
    CommandType.SWITCH_OPEN: _switched,
    CommandType.SWITCH_CLOSE: _switched,
    CommandType.READ_SWITCH: _switch_read,
    CommandType.READ_INSTANT: _values,
    CommandType.READ_INTERVALS: _intervals,
    CommandType.READ_EVENTS: _events,
}
