"""What an account's view says, line by line: the same lines on the balance page and in the local topic. Pure.

Source: prepayment.md 6.2, 6.4; C3-FR1, C3-N4.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from gridtally_edge.display.account import AccountView
from gridtally_edge.display.coming import Schedule
from gridtally_edge.display.rules import Debt
from gridtally_edge.display.texts import Words
from gridtally_shared.forecast.timeleft import Basis
from gridtally_shared.messages.charge_words import ChargeTold, told
from gridtally_shared.records import dataclass
from gridtally_shared.schedules.document import Programme

DAYS_SHOWN = 7
PPM_PERCENT = 10_000


def lasts(words: Words, view: AccountView) -> tuple[str, ...]:
    """How long the money is enough, and for how many kWh."""
    if view.balance_nano <= 0:
        return (words.label("used_up"),)
    lines = [time_left_text(words, view)]
    if view.energy_left_wh is not None:
        lines.append(words.label("kwh_about", kwh=f"{view.energy_left_wh // 100 / 10:.1f}"))
    return tuple(line for line in lines if line)


def time_left_text(words: Words, view: AccountView) -> str:
    """The span in days, hours and minutes, called an estimate; '' where it can not be told."""
    left = view.time_left
    if left is None or left.basis is Basis.NONE:
        return ""
    if left.central_ms is None:
        return f"{words.label('more_than')} ({words.label('estimate')})"
    span = words.label("left_about", t=words.whole_span(view.time_left_ms or 0))
    return f"{span} ({words.label('estimate')}, {words.label('runs_out', d=words.moment(left.central_ms))})"


@dataclass(frozen=True, slots=True)
class DayUsed:
    """One of the last days in words."""

    name: str
    wh: int
    kwh: str


def days_used(words: Words, view: AccountView) -> Iterable[DayUsed]:
    """The last days that are known, the newest first; one that is not whole says so."""
    for day in reversed(view.days[-DAYS_SHOWN:]):
        name = words.label("today") if day.day == view.today else f"{date.fromordinal(day.day):%d.%m.}"
        part = "" if day.is_whole or day.day == view.today else f" ({words.label('part_of_day')})"
        yield DayUsed(name, day.wh, words.kwh(day.wh) + part)


def facts(words: Words, view: AccountView) -> Iterable[tuple[str, str]]:
    """Everything else of prepayment.md 6.4, name and value."""
    yield words.label("price"), _price(words, view)
    for coming in view.prices_coming:
        yield words.label("price_from", d=words.moment(coming.from_ms)), words.label("price_value", p=words.price(coming.kwh_nano))
    yield words.label("cost_today"), words.money(view.cost_today_nano)
    if view.price_per_day_nano:
        yield words.label("day"), words.price(view.price_per_day_nano)
    if view.now.debt.owed_nano > 0:
        yield words.label("debt"), debt_text(words, view.now.debt)
    yield words.label("limit"), words.load(view.now.limit_w) if view.now.limit_w else words.label("no_limit")
    if view.now.protected_until_ms:
        yield words.label("protected_open"), words.label("protected_value", d=words.moment(view.now.protected_until_ms))
    for schedule in view.now.schedules:
        yield words.label("schedule_running" if schedule.is_running else "schedule_coming"), schedule_text(words, schedule)
    if view.now.event_credit_nano is not None:
        yield words.label("event_credit"), words.money(view.now.event_credit_nano)
    yield words.label("topup"), _topup(words, view)
    if view.register_wh is not None:
        yield words.label("register"), f"{view.register_wh // 1000:,}.{view.register_wh % 1000:03d} kWh".replace(",", "\u202f")
    yield words.label("meter"), view.serial


def charges_today(words: Words, view: AccountView) -> tuple[ChargeTold, ...]:
    """What the cost of today is made of; what did not come out of the balance stands as a line of its own."""
    lines = tuple(told(line, words) for line in view.lines_today)
    elsewhere_nano = view.cost_today_nano - sum(line.amount_nano for line in lines)
    if not lines or not elsewhere_nano:
        return lines
    return (*lines, ChargeTold(words.label("not_of_balance"), "", elsewhere_nano))


def schedule_text(words: Words, schedule: Schedule) -> str:
    """What happens, and from when until when; an event is paid by somebody else."""
    name = "event" if schedule.programme == Programme.B else f"schedule_{schedule.action}"
    start, end = words.moment(schedule.start_ms), words.moment(schedule.end_ms)
    day, _, time = end.partition(" ")
    return words.label(name, s=start, d=time if start.startswith(day) else end)


def debt_text(words: Words, debt: Debt) -> str:
    """What is owed and how it is collected."""
    owed = words.money(debt.owed_nano)
    if debt.rate_nano:
        return words.label(f"debt_{debt.period}", a=owed, r=words.money(debt.rate_nano))
    if debt.percent_ppm:
        return words.label("debt_topup", a=owed, p=f"{debt.percent_ppm / PPM_PERCENT:g}")
    return owed


def _price(words: Words, view: AccountView) -> str:
    if view.price_per_kwh_nano is None:
        return words.label("no_price")
    return words.label("price_value", p=words.price(view.price_per_kwh_nano))


def _topup(words: Words, view: AccountView) -> str:
    if view.topup is None:
        return words.label("no_topup")
    return words.label("topup_value", a=words.money(view.topup.amount_nano), d=words.moment(view.topup.at_ms))


def as_of(words: Words, view: AccountView) -> str:
    if not view.as_of_ms:
        return words.label("never")
    return words.label("as_of", d=words.moment(view.as_of_ms), n=str(view.seq))
