"""A tariff in short: its name, its currency and its prices at an instant, for pages that show what energy costs. Pure."""

from __future__ import annotations

from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import version_at
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.prices import KWH_WH, Prices, prices
from gridtally_shared.tariff.running import Running, Terms, begun
from gridtally_shared.tariff.terms import Plan


@dataclass(frozen=True, slots=True)
class Quote:
    """`price` with taxes; of the first slab where there are slabs and nothing is known of the account."""

    tariff_id: str
    version: int
    name: str
    currency: str
    price: Prices

    def energy_nano(self, wh: int) -> int:
        """What some energy costs at the price of now."""
        return wh * self.price.kwh_nano // KWH_WH


def quote(versions: tuple[TariffDocument, ...], at_ms: int, zone: str) -> Quote:
    """The tariff at an instant, for an account that begins then. Raises ConfigError."""
    plan = pinned_plan(versions, zone)
    return quote_of(plan, begun(plan, Terms(versions[0].tariff_id, zone), at_ms, 0), at_ms)


def quote_of(plan: Plan, running: Running, at_ms: int) -> Quote:
    """The price of an account's own slab, as its charging stands."""
    number = plan.versions[version_at(plan, at_ms)].number
    return Quote(running.terms.tariff_id, number, plan.name, plan.currency, prices(plan, running, at_ms))
