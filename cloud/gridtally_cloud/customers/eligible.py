"""Whether an account can be prepaid: refused at enrolment, with the reason, instead of a wrong balance later (safety.md 19).

* The journal is charged from one register of imported energy. A tariff that bills apparent energy (kVAh), or gives and takes by export
  or net import, needs registers that are not read there: such an account stays postpaid, where the bill has them.
* Every version of the tariff that is in force or still to come is looked at.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection

from gridtally_cloud.customers.tariffs import versions_of
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.tariff.daybook import begins_ms
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.terms import Demand, Energy, Measure, Plan

WHAT = {
    Measure.APPARENT: "apparent energy (kVAh)",
    Measure.EXPORT: "exported energy",
    Measure.NET_IMPORT: "net import",
    Measure.NET_EXPORT: "net export",
}


class EligibleReason(StrEnum):
    TARIFF_NOT_PREPAID = "tariff_not_prepaid"


def check_prepaid(conn: Connection, tariff_id: str, zone: str, at_ms: int) -> None:
    """Raises RefusedCommand (tariff_not_prepaid, unknown_tariff)."""
    measure = not_prepaid(pinned_plan(versions_of(conn, tariff_id), zone), at_ms)
    if measure is not None:
        raise RefusedCommand(EligibleReason.TARIFF_NOT_PREPAID, f"tariff {tariff_id} bills {WHAT[measure]}, which can not be charged "
                             "from a prepaid balance: choose a tariff of imported kWh, or keep the account postpaid")  # fmt: skip


def not_prepaid(plan: Plan, at_ms: int) -> Measure | None:
    """The first measure, now or later, that a prepaid balance can not be charged by."""
    begun = [v for v in plan.versions if begins_ms(v, plan.zone) <= at_ms]
    open_ones = plan.versions[max(0, len(begun) - 1) :]
    asked = (i.measure for v in open_ones for i in v.items if isinstance(i, Energy | Demand))
    return next((m for m in asked if m is not Measure.IMPORT), None)
