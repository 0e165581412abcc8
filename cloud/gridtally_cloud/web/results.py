"""What the edge sent back with a done command, as rows of (name, value) for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.reads.meters import SWITCH_NAMES
from gridtally_shared import cbor
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.quantities import BY_CODE, BY_NAME

SWITCHES = (CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE, CommandType.READ_SWITCH)
Rows = tuple[tuple[str, str], ...]


def rows(kind: CommandType, result: bytes, words: Language) -> Rows:
    """Empty where there is no result; its bytes in hex where this version can not read it."""
    if not result:
        return ()
    try:
        if kind in SWITCHES:
            return _switch(decode(SwitchEvidence, result), words)
        return _values(cbor.loads(result), words)
    except ContractError:
        return ((words.t("command.result"), result.hex()),)


def _switch(seen: SwitchEvidence, words: Language) -> Rows:
    states = tuple(words.name_of("supply", SWITCH_NAMES.get(s, "unknown")) for s in (seen.state_before, seen.state_after))
    found = [(words.t("switch.result"), words.name_of("switch_result", seen.result)),
             (words.t("switch.state"), " → ".join(states)), (words.t("switch.serial"), seen.serial)]  # fmt: skip
    if seen.register_wh is not None:
        found.append((words.t("meter.register"), words.kwh(seen.register_wh, 3)))
    return tuple(found)


def _values(raw: Any, words: Language) -> Rows:
    if isinstance(raw, dict):
        return tuple((_name(key, words), _text(key, value, words)) for key, value in raw.items())
    if isinstance(raw, Sequence) and not isinstance(raw, str | bytes):
        return ((words.t("command.result"), words.t("command.items", n=len(raw))),)
    return ((words.t("command.result"), str(raw)),)


def _name(key: Any, words: Language) -> str:
    known = BY_CODE.get(key) if isinstance(key, int) else BY_NAME.get(str(key))
    return words.name_of("quantity", known.name) if known else str(key)


def _text(key: Any, value: Any, words: Language) -> str:
    known = BY_CODE.get(key) if isinstance(key, int) else BY_NAME.get(str(key))
    if known and isinstance(value, int) and known.exponent <= 0:
        return f"{words.number(value, -known.exponent)} {known.unit}"
    return value.hex() if isinstance(value, bytes) else str(value)
