"""What the edge sent back with a done command, as rows of (name, value) for a person.

One function a kind of answer, as `edge: polling/ondemand.py` and the switch evidence write them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gridtally_cloud.meters.reported import plate_in, settings_in
from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.reads.meters import SWITCH_NAMES
from gridtally_shared import cbor
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, Intervals, Readings, Value
from gridtally_shared.errors import ContractError
from gridtally_shared.events import event_type
from gridtally_shared.instruments.token import TokenOutcome
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.meter_settings import HeldCredit, Setting, SettingKind, unpacked
from gridtally_shared.meter_settings_json import to_json
from gridtally_shared.money import decimal_text
from gridtally_shared.quantities import BY_CODE
from gridtally_shared.route import Route
from gridtally_shared.supply_test import SupplyTest

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


def _dated_values(result: bytes, words: Language) -> Rows:
    """Values of several days: each with its moment."""
    rows = ((v.at_ms, *_value(v, words)) for v in decode(Readings, result).values)
    return tuple((f"{words.when(at_ms)} · {name}", shown) for at_ms, name, shown in rows)


def _plate(result: bytes, words: Language) -> Rows:
    return tuple((words.name_of("plate", name, name.replace("_", " ")), text) for name, text in plate_in(result).items() if text)


def _settings(result: bytes, words: Language) -> Rows:
    rows = [(words.name_of("setting", SettingKind(s.kind).name.lower()), setting_text(s, words)) for s in settings_in(result)]
    return (*rows, *_diagnostics(result, words))


def setting_text(setting: Setting, words: Language) -> str:
    """A record in a line: its fields with their values; lists by their length."""
    if not setting.body:
        return words.t("setting.none")
    record = unpacked(setting)
    if isinstance(record, HeldCredit):
        return f"{decimal_text(record.balance_nano)}, {words.when(record.at_ms)}"
    fields = to_json(record).items()
    return ", ".join(f"{name} {len(value) if isinstance(value, tuple) else value}" for name, value in fields)


def _clock_set(result: bytes, words: Language) -> Rows:
    found = cbor.loads(result)
    if not isinstance(found, dict) or not all(type(found.get(k)) is int and abs(found[k]) < 1 << 43 for k in (0, 1, 2)):
        raise ContractError("not the answer of a clock that was set")
    return ((words.t("command.clock_was"), words.when(found[0])), (words.t("command.clock_is"), words.when(found[1])),
            (words.t("command.clock_left"), f"{words.number(found[2] // 100, 1)} s"))  # fmt: skip


def _diagnostics(result: bytes, words: Language) -> Rows:
    found = cbor.loads(result)
    checks = found.get(1, []) if isinstance(found, dict) else None
    if not isinstance(checks, list) or not all(isinstance(c, list) and len(c) == 4 and c[1] in (0, 1, 2) for c in checks):
        raise ContractError("not the answer of a self-test")
    names = ("passed", "failed", "not_run")
    return tuple((str(check).replace("_", " "), " · ".join(filter(None, (words.t(f"check.{names[state]}"), str(detail)))))
                 for check, state, _, detail in checks)  # fmt: skip


def _token(result: bytes, words: Language) -> Rows:
    told = decode(TokenOutcome, result)
    status = f"{words.t(f'token.status_{told.status}')} ({told.status})"
    found = ((words.t("token.status"), status), (words.t("token.data"), told.data or "–"))
    return (*found, (words.t("token.entered"), words.when(told.entered_ms))) if told.entered_ms else found


def _tested(result: bytes, words: Language) -> Rows:
    """What could not be told is not listed."""
    found = decode(SupplyTest, result)
    seen = (("voltage", found.voltage_mv, "V"), ("load_side", found.load_side_mv, "V"), ("current", found.current_ma, "A"))
    values = ((words.t(f"supply_test.{name}"), f"{words.number(milli // 10, 2)} {unit}") for name, milli, unit in seen if milli is not None)
    route = ((words.t("supply_test.route"), _route(found.route, words)),) if found.route else ()
    return ((words.t("supply_test.verdict"), words.t(f"supply_test.{found.verdict}")), *values, *route)


def _route(route: Route, words: Language) -> str:
    """From the concentrator down to the meter."""
    way = (route.dcu, route.line, *reversed(route.via), route.short or route.address)
    return " › ".join(part for part in way if part) + (f" · {words.t('supply_test.hops', n=route.hops)}" if route.node else "")


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
    CommandType.TEST_SUPPLY: _tested,
    CommandType.READ_INSTANT: _values,
    CommandType.READ_INTERVALS: _intervals,
    CommandType.READ_EVENTS: _events,
    CommandType.READ_DAILY: _dated_values,
    CommandType.READ_BILLING: _dated_values,
    CommandType.READ_NAME_PLATE: _plate,
    CommandType.READ_SETTINGS: _settings,
    CommandType.WRITE_SETTINGS: _settings,
    CommandType.SET_CLOCK: _clock_set,
    CommandType.RUN_DIAGNOSTICS: _diagnostics,
    CommandType.TOKEN: _token,
}
