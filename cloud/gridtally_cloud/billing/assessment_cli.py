"""`gridtally-mdm assessment`: energy not measured after tampering: propose, approve by another person, list, take back."""

from __future__ import annotations

import argparse

from gridtally_cloud.billing import assessments
from gridtally_cloud.billing.assessments import Rule, Wish
from gridtally_cloud.billing.rules_cli import day_asked
from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.store.days import date_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import NANO, decimal_text, nano

ABOUT = (
    "Tampering was found: the energy that was not measured is assessed by a named rule, approved by a second person, and stands on the "
    "next bill."
)
EXAMPLE = (
    "gridtally-mdm assessment propose 7 2026-08-01 2026-11-01 average 2025-08-01 2025-11-01 --price 7 --times 2 "
    "--reason bypass --by asha"
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `assessment` to the commands of gridtally-mdm."""
    parser = commands.add_parser("assessment", help="energy that was not measured after tampering", description=ABOUT,
                                 epilog="example: gridtally-mdm assessment approve 3 --by ravi")  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="propose|approve|refuse|take-back|list")
    new = actions.add_parser("propose", help="assess days that are over", epilog=f"example: {EXAMPLE}")
    new.add_argument("account", type=int)
    new.add_argument("first", help="the first day")
    new.add_argument("until", help="the day after the last one")
    new.add_argument("rule", choices=[rule.value for rule in Rule])
    new.add_argument("arguments", nargs="+", help="average: first day and day after the last one of other weeks; load: W, hours a day, "
                     "factor; units: kWh")  # fmt: skip
    new.add_argument("--price", required=True, help="of a kWh, such as 7.50")
    new.add_argument("--times", default="1", help="the multiple the rules name, such as 2 (1)")
    new.add_argument("--reason", required=True, help="what was found; it is kept")
    new.add_argument("--by", required=True, help="login of the person")
    new.set_defaults(run=with_desk(open_desk, _propose))
    table = (("approve", assessments.approve, "it is owed; by another person"), ("refuse", assessments.refuse, "nothing is owed of it"),
             ("take-back", assessments.take_back, "an approved one is owed no more"))  # fmt: skip
    for name, work, about in table:
        one = actions.add_parser(name, help=about, epilog=f"example: gridtally-mdm assessment {name} 3 --by ravi")
        one.add_argument("assessment", type=int)
        one.add_argument("--by", required=True, help="login of the person")
        one.set_defaults(run=with_desk(open_desk, _decide), work=work)
    listed = actions.add_parser("list", help="those of an account", epilog="example: gridtally-mdm assessment list 7")
    listed.add_argument("account", type=int)
    listed.set_defaults(run=with_desk(open_desk, _list))


def _propose(desk: Desk, options: argparse.Namespace) -> int:
    rule = Rule(options.rule)
    wish = Wish(options.account, day_asked("first", options.first), day_asked("until", options.until), rule,
                _arguments(rule, options.arguments), _number("--price", options.price, NANO), _number("--times", options.times, 1000),
                options.reason)  # fmt: skip
    with desk.db.write() as conn:
        made = assessments.propose(conn, wish, desk.clock.now_ms(), options.by)
    print(f"{_said(made)}; another person has to approve")
    return 0


WANTED = {Rule.AVERAGE: "two days", Rule.LOAD: "W, hours a day and a factor", Rule.UNITS: "kWh"}


def _arguments(rule: Rule, words: list[str]) -> tuple[int, ...]:
    if len(words) != {Rule.AVERAGE: 2, Rule.LOAD: 3, Rule.UNITS: 1}[rule]:
        raise ConfigError(rule.value, " ".join(words), f"write {WANTED[rule]}")
    if rule is Rule.AVERAGE:
        return tuple(day_asked("reference", word) for word in words)
    scales = {Rule.LOAD: (1, 60, 1000), Rule.UNITS: (1000,)}[rule]
    return tuple(_number(rule.value, word, scale) for word, scale in zip(words, scales, strict=True))


def _number(name: str, word: str, scale: int) -> int:
    """A decimal above zero, in whole parts of `scale`."""
    try:
        whole, rest = divmod(nano(word) * scale, NANO)
    except ValueError as error:
        raise ConfigError(name, word, str(error)) from None
    if whole <= 0 or rest:
        raise ConfigError(name, word, f"write a number above zero in steps of 1/{scale}")
    return whole


def _decide(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        print(_said(options.work(conn, options.assessment, desk.clock.now_ms(), options.by)))
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = assessments.assessments_of(conn, options.account)
    for each in found:
        print(_said(each))
    print(f"{len(found)} assessments")
    return 0


def _said(each: assessments.Assessment) -> str:
    who = f"{each.proposed_by}{f', {each.decided_by}' if each.decided_by else ''}"
    what = f"{each.rule}, {each.assessed_wh} Wh less {each.measured_wh} Wh measured, {decimal_text(each.amount_nano)}"
    days = f"{date_of(each.first_day)} to {date_of(each.until_day)}"
    return f"assessment {each.assessment_no}, account {each.account_no}, {days}: {what}  {each.state} ({who}) {each.reason}"
