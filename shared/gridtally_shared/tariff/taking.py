"""Whether a further version of a tariff may be taken beside those that are held: one answer for the cloud, which makes it, and for the
edge, which prices by it. Pure.

* Not understood: the document has a gap, an overlap, a name that leads nowhere, or does not agree with the versions before it.
* Past start: it would begin before it was made. Nothing that was used is priced anew.
* Out of order: it would begin before a lower version does, or with it.
* Short notice: it would begin sooner than the tariff promises its consumers (`notice_days`).
* One that was made in time and comes late is taken: it begins when it comes (charge_store.py).

Source: ETSI 5.2.12 steps 2 and alternative 2; prepayment.md 5.7, I25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.forms import parsed
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.terms import Plan


class Fault(StrEnum):
    NOT_UNDERSTOOD = "not_understood"
    PAST_START = "past_start"
    OUT_OF_ORDER = "out_of_order"
    SHORT_NOTICE = "short_notice"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that is not taken: the type of the error, and what is wrong where."""

    document: TariffDocument
    fault: Fault
    text: str


def unreadable(held: Sequence[TariffDocument], document: TariffDocument) -> Refusal | None:
    """Why a version can not be read beside the others."""
    try:
        plan_with(held, document)
    except ConfigError as error:
        return Refusal(document, Fault.NOT_UNDERSTOOD, str(error))
    return None


def out_of_order(held: Sequence[TariffDocument], document: TariffDocument) -> Refusal | None:
    """Why a version may not stand after the others. They have the starts they were made with."""
    if any(d.version < document.version and d.from_ms >= document.from_ms for d in held):
        return Refusal(document, Fault.OUT_OF_ORDER, "it begins before a version it follows, or with it")
    return None


def too_soon(held: Sequence[TariffDocument], document: TariffDocument) -> Refusal | None:
    """Why a further version may not begin when it says; one nobody knows the making of may."""
    if not document.made_ms:
        return None
    if document.from_ms < document.made_ms:
        return Refusal(document, Fault.PAST_START, "it begins before it was made")
    days = plan_with(held).notice_days
    if document.from_ms < document.made_ms + days * MS_PER_DAY:
        return Refusal(document, Fault.SHORT_NOTICE, f"the tariff promises {days} days of notice")
    return None


def plan_with(held: Sequence[TariffDocument], *further: TariffDocument) -> Plan:
    """Their plan. The flat form names no zone: it goes by that of the others. Raises ConfigError."""
    documents = (*held, *further)
    zone = next((found for d in documents if (found := _zone(d))), "UTC")
    return pinned_plan(tuple(replace(d, made_ms=0) for d in documents), zone)


def _zone(document: TariffDocument) -> str:
    raw = parsed(document.document)
    return str(raw.get("zone") or "") if isinstance(raw, dict) else ""
