"""A tariff version, read from the JSON document that travels signed.

First form: one energy price, a charge per day, a tax on both. Slabs, time of use and the rest come with the prepayment
issue and extend this document; a document this version does not understand is refused, never half applied.

    {"kind": "flat", "currency": "EUR", "energy_per_kwh": "0.2750", "fixed_per_day": "0.10", "tax_percent": "7.5"}
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from gridtally_shared.errors import ContractError
from gridtally_shared.money import nano

PPM = 1_000_000
_KEYS = {"kind", "currency", "energy_per_kwh", "fixed_per_day", "tax_percent", "name"}


@dataclass(frozen=True, slots=True)
class Tariff:
    tariff_id: str
    version: int
    currency: str
    energy_nano_per_wh: int
    fixed_nano_per_day: int
    tax_ppm: int
    name: str = ""


def tariff_from(tariff_id: str, version: int, document: str) -> Tariff:
    """Read a tariff document. Raises ContractError that names the key at fault."""
    try:
        raw = json.loads(document)
    except json.JSONDecodeError as error:
        raise ContractError(f"tariff {tariff_id}: not JSON ({error})") from None
    if not isinstance(raw, dict) or raw.get("kind") != "flat":
        raise ContractError(f"tariff {tariff_id}: kind must be 'flat' in this version")
    unknown = set(raw) - _KEYS
    if unknown:
        raise ContractError(f"tariff {tariff_id}: unknown key {sorted(unknown)[0]!r}")
    return Tariff(
        tariff_id, version, str(raw.get("currency", "")),
        _whole(tariff_id, raw, "energy_per_kwh", 1000),
        _whole(tariff_id, raw, "fixed_per_day", 1),
        _whole(tariff_id, raw, "tax_percent", 100_000),
        str(raw.get("name", "")),
    )  # fmt: skip


def _whole(tariff_id: str, raw: dict[str, object], name: str, divisor: int) -> int:
    """An amount of the document divided by `divisor`, exactly or not at all."""
    try:
        value = nano(str(raw.get(name, "0")))
    except ValueError as error:
        raise ContractError(f"tariff {tariff_id}: {name}: {error}") from None
    quotient, rest = divmod(value, divisor)
    if rest or value < 0:
        raise ContractError(f"tariff {tariff_id}: {name}: {raw[name]} has too many decimals or is negative")
    return quotient
