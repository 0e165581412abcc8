"""The invariants of prepayment.md 5.10 as a table: what must hold after every step of a world, and at its healed end.

A check looks at raw rows (watch.py), at the world's truth and at the oracle; it yields a sentence for each breach. They stand by subject:
journal_checks.py, switch_checks.py, supply_checks.py; those of wallets and cards with their steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation import heard, journal_checks, replenishing, supply_checks, switch_checks, wallets
from simulation.journal_checks import Check

if TYPE_CHECKING:
    from simulation.world import World


@dataclass(frozen=True, slots=True)
class Invariant:
    id: str
    what: str
    check: Check
    at_the_end: bool = False


TABLE: tuple[Invariant, ...] = (
    Invariant("I1", "payments = wallet + instruments on the way + pools + charges + transfers", journal_checks.conservation),
    Invariant("I1", "a card is charged with consent, and within its cap", replenishing.with_consent),
    Invariant("I1", "a low balance charges a card once", replenishing.once),
    Invariant("I1", "what the bank took is booked once", replenishing.known, at_the_end=True),
    Invariant("I24", "who agreed and is low is charged", replenishing.seen, at_the_end=True),
    Invariant("I1", "no more of a wallet is lent than it holds", wallets.never_more),
    Invariant("I1", "what of a wallet is not lent is there, and what is lent goes along", wallets.nothing_lost, at_the_end=True),
    Invariant("I2", "each instrument is applied at most once, with exactly its amount", journal_checks.once),
    Invariant("I3", "every instrument of the live epoch is applied in the end", journal_checks.all_applied, at_the_end=True),
    Invariant("I4", "an order is applied after every instrument before it", journal_checks.in_order),
    Invariant("I5", "the postings of every entry sum to zero", journal_checks.watched("I5")),
    Invariant("I6", "the cached balance is the replay of the journal", journal_checks.cache),
    Invariant("I7", "entries are gap-free and chained", journal_checks.watched("I7")),
    Invariant("I8", "the mirror is a prefix of the journal", journal_checks.mirror),
    Invariant("I8", "edge and MDM agree to the nano in the end", journal_checks.agree, at_the_end=True),
    Invariant("I8", "what a box wrote and got a receipt for is in the MDM", heard.events, at_the_end=True),
    Invariant("I9", "energy charged is what the register moved since the opening", journal_checks.register),
    Invariant("I9", "every charge is what the oracle gets by hand", journal_checks.by_hand("I9")),
    Invariant("I9", "what was used is charged in the end", journal_checks.register_in_the_end, at_the_end=True),
    Invariant("I10", "a movement in parts costs what it costs at once", journal_checks.by_hand("I10")),
    Invariant("I11", "slabs filled in parts cost what they cost at once", journal_checks.by_hand("I11")),
    Invariant("I12", "tax is the rate on the cumulative base within a nano", journal_checks.by_hand("I12")),
    Invariant("I13", "no float reaches a posting", journal_checks.watched("I13")),
    Invariant("I14", "a closed epoch accepts nothing", journal_checks.closed_epochs),
    Invariant("I15", "what was not issued for this box, account and epoch changes nothing", journal_checks.genuine_only),
    Invariant("I16", "no cut in protected time, by the true clock", switch_checks.protected),
    Invariant("I17", "no cut without every test and its evidence", switch_checks.evidence),
    Invariant("I18", "no cut and no close without a right to it", switch_checks.entitled),
    Invariant("I18", "a hold or a protection stands until it is lifted, and no longer", switch_checks.holds_stand, at_the_end=True),
    Invariant("I19", "one close by itself after a trip above a limit", switch_checks.reclosed),
    Invariant("I20", "one switch order in flight per meter", switch_checks.in_flight),
    Invariant("I21", "a crash at any statement and a restart end as if there had been none", journal_checks.alike),
    Invariant("I22", "a debt is collected within what is owed, its share, rate and cap", journal_checks.collected),
    Invariant("I23", "emergency credit stays within its limit and is paid back first", journal_checks.emergency),
    Invariant("I24", "supply is back within the bound after enough credit", supply_checks.restored),
    Invariant("I24", "the same where the MDM runs a home", lambda world: world.from_cloud.waits()),
    Invariant("I24", "supply is back when a booked time without it is over", supply_checks.lit_again, at_the_end=True),
    Invariant("I24", "nobody is without money while the wallet he lives on has some", wallets.nobody_starves, at_the_end=True),
    Invariant("I25", "a charge names a tariff version that was in force", journal_checks.by_hand("I25")),
    Invariant("I26", "a conversion hands over what was there and moves no switch", journal_checks.converted),
    Invariant("I26", "an epoch begins with what the one before it held", lambda world: world.from_cloud.handed_over(), at_the_end=True),
    Invariant("I27", "schedules of one service point never overlap", switch_checks.apart),
    Invariant("I27", "a schedule ends with its time, and an event costs what it used", switch_checks.events_paid, at_the_end=True),
    Invariant("I28", "no code passes with one digit wrong", journal_checks.typos),
    Invariant("I29", "no display says more than the ledger", supply_checks.shown),
)


def broken(world: World) -> Iterator[tuple[str, str]]:
    """Every invariant that does not hold after this step."""
    world.money_faults = [f for key in {k for k, _ in journal_checks.fresh_of(world)}
                          for f in world.oracle.faults_of_money(key, journal_checks.books_of(world)[key])]  # fmt: skip
    for invariant in TABLE:
        if not invariant.at_the_end:
            for what in invariant.check(world):
                yield invariant.id, what


def broken_at_the_end(world: World) -> Iterator[tuple[str, str]]:
    for invariant in TABLE:
        if invariant.at_the_end:
            for what in invariant.check(world):
                yield invariant.id, what
