"""New prices, from the message to the day they hold: refused, told to the consumer, in force; each is told to the cloud.

* A version that is refused (tariff/taking.py) is told once, with the type of the error and its time; the prices before it go on.
* A version that was taken is told to every account it prices as soon as it is here, with the instant it begins: a message its consumer
  reads, keeps or deletes (messages.py).
* In force is a fact of its own: told for each account when the instant has come, whether or not anybody saw the message. It is our
  clock that says so, so it has to be believed.

Source: ETSI 5.2.12.
"""

from __future__ import annotations

from collections.abc import Iterable

from gridtally_edge.prepay.charge_store import pinned, refusal_of
from gridtally_edge.prepay.notices import tell
from gridtally_edge.prepay.plan import Plan
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState, Instrument, InstrumentType, TariffDocument
from gridtally_shared.instruments.details import TariffLoad
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.tariff.daybook import begins_ms, version_at
from gridtally_shared.tariff.taking import Refusal
from gridtally_shared.tariff.terms import Version

NEW_PRICES = "TARIFF"


def taken(turn: Turn, before: Plan, refused: Iterable[Refusal] = ()) -> None:
    """The plan has changed from `before`: tell what is new."""
    for refusal in refused:
        _tell_refusal(turn, refusal)
    for account in turn.plan.accounts.values():
        known = {d.version for d in before.tariffs.get(account.tariff_id, ())}
        for version in _new(turn.plan, account, known) if known else ():
            begins = begins_ms(version, turn.plan.priced[account.account_no].plan.zone)
            tell(turn, account, NEW_PRICES, d=begins, tariff=account.tariff_id, version=version.number)
        was = before.accounts.get(account.account_no)
        if (was is None or was.tariff_id != account.tariff_id) and (number := turn.fact(_fact(account.tariff_id))):
            _tell_in_force(turn, account, number)


def why_refused(turn: Turn, instrument: Instrument) -> str:
    """The type of the error of a version that came by an instrument; '' for one that can be taken, and for other instruments."""
    if instrument.type != InstrumentType.TARIFF_LOAD:
        return ""
    load: TariffLoad = detail_of(instrument)
    document = TariffDocument(load.tariff_id, load.version, load.from_ms, load.document, instrument.issued_at_ms)
    held = pinned(turn.db, turn.plan.config).get(load.tariff_id, ())
    if any(d.version == load.version for d in held):
        return ""
    refusal = refusal_of(held, held, document, held)
    return f"tariff {refusal.fault}" if refusal is not None else ""


def _new(plan: Plan, account: AccountConfig, known: set[int]) -> tuple[Version, ...]:
    """The versions that price an account now and did not before; a stored one may hold several stretches, the first counts."""
    price = plan.priced.get(account.account_no)
    found: dict[int, Version] = {}
    for version in price.plan.versions if price else ():
        found.setdefault(version.number, version)
    return tuple(version for number, version in found.items() if number not in known)


def _tell_refusal(turn: Turn, refusal: Refusal) -> None:
    d, name = refusal.document, f"tariff_refused:{refusal.document.tariff_id}:{refusal.document.version}"
    if not turn.fact(name):
        turn.remember(name, turn.now_ms)
        turn.report(0, "tariff_refused", f"tariff={d.tariff_id} version={d.version} error={refusal.fault} {refusal.text}"[:500])


def come_into_force(turn: Turn) -> None:
    """What another version prices from now on."""
    if turn.clock.state is ClockState.UNTRUSTED:
        return
    for tariff_id in turn.plan.tariffs:
        mine = [a for a in turn.plan.accounts.values() if a.tariff_id == tariff_id and a.account_no in turn.plan.priced]
        plan = turn.plan.priced[mine[0].account_no].plan
        number = plan.versions[version_at(plan, turn.now_ms)].number
        if turn.fact(_fact(tariff_id)) != number:
            turn.remember(_fact(tariff_id), number)
            for account in mine:
                _tell_in_force(turn, account, number)


def _tell_in_force(turn: Turn, account: AccountConfig, number: int) -> None:
    """The first version of a tariff is no change of prices."""
    if number > 1:
        turn.report(account.meter_no, "tariff_in_force", f"account={account.account_no} tariff={account.tariff_id} version={number}")


def _fact(tariff_id: str) -> str:
    return f"in_force:{tariff_id}"
