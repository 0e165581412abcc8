"""Prices of now for an account here, and how long its balance lasts at them; the portal calculates the same."""

from __future__ import annotations

import sqlite3

from gridtally_edge.prepay.charge_store import Priced, running_of
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.tariff.prices import SHORTEST_BASE_MS, Coming, Prices, coming, energy_left_wh, prices, time_left_ms

__all__ = ["SHORTEST_BASE_MS", "Prices", "energy_left_wh", "prices_now", "time_left_ms"]


def prices_now(db: sqlite3.Connection, price: Priced | None, state: LedgerState, now_ms: int) -> Prices | None:
    """What the next kWh and the next day cost; None where no tariff is known."""
    if price is None:
        return None
    return prices(price.plan, running_of(db, price, state, now_ms)[0], now_ms)


def prices_coming(db: sqlite3.Connection, price: Priced | None, state: LedgerState, now_ms: int) -> tuple[Coming, ...]:
    """What the next kWh costs from the start of each version still to come."""
    return coming(price.plan, running_of(db, price, state, now_ms)[0], now_ms) if price else ()
