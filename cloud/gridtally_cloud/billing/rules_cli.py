"""What the commands that have dated rules share: `rule` adds one, `rules` lists them."""

from __future__ import annotations

import argparse
from datetime import date

from gridtally_cloud.billing.rules import Dated, Rule, RuleKind, add_rule, rules_for
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, document_of, with_desk
from gridtally_cloud.store.days import EPOCH, date_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text


def add_rule_actions(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk, command: str, kind: RuleKind
) -> None:
    """Add `rule` and `rules` below a command."""
    example = f"gridtally-mdm {command} rule {kind.value}.json --from 2026-04-01 --tariff home"
    rule = actions.add_parser("rule", help="add a rule that holds from a day on", epilog=f"example: {example}")
    rule.add_argument("document", help="a JSON file (docs/receivables.md)")
    rule.add_argument("--from", dest="begins", required=True, help="the first day, such as 2026-04-01")
    rule.add_argument("--tariff", default="", help="only for this tariff (all)")
    rule.set_defaults(run=with_desk(open_desk, _add))
    listed = actions.add_parser("rules", help="list the rules", epilog=f"example: gridtally-mdm {command} rules")
    listed.set_defaults(run=with_desk(open_desk, lambda desk, _options: _list(desk, kind)))


def day_asked(name: str, text: str) -> int:
    """A day such as 2026-04-01, as days since 1970. Raises ConfigError."""
    try:
        return (date.fromisoformat(text) - EPOCH).days
    except ValueError:
        raise ConfigError(name, text, "write a day such as 2026-04-01") from None


def _add(desk: Desk, options: argparse.Namespace) -> int:
    text, from_day = document_of(options.document), day_asked("--from", options.begins)
    with desk.db.write() as conn:
        made = add_rule(conn, text, options.tariff, from_day, desk.clock.now_ms(), ACTOR)
    print(_said(made))
    return 0


def _list(desk: Desk, kind: RuleKind) -> int:
    with desk.db.read() as conn:
        found = rules_for(conn, kind)
    for dated in found:
        print(_said(dated))
    if not found:
        print(NOTHING[kind])
    return 0


NOTHING = {
    RuleKind.LATE: "no rule is there: nothing is charged by it",
    RuleKind.DEPOSIT: "no rule is there: nothing is paid by it",
    RuleKind.ESTIMATED: "no rule is there: at most three in a row, a person looks above 20 %, made again for more without a limit",
}


def _said(dated: Dated) -> str:
    parts = _of_estimates(dated.rule) if dated.rule.kind is RuleKind.ESTIMATED else _of_charges(dated.rule)
    whose = dated.tariff_id or "all tariffs"
    return f"rule {dated.rule_no}: {whose} in {dated.rule.currency} from {date_of(dated.from_day)}: {', '.join(parts)}"


def _of_estimates(rule: Rule) -> list[str]:
    again = f"for more only {rule.correct_days} days after the period" if rule.correct_days else "for more without a limit"
    return [f"at most {rule.most_in_row} estimated bills in a row", f"a person looks above {decimal_text(rule.much_percent)} %",
            f"a daily average of {rule.look_back_days} days, of {rule.least_days} at least", f"made again {again}"]  # fmt: skip


def _of_charges(rule: Rule) -> list[str]:
    parts = [f"{decimal_text(rule.percent)} % a {rule.per}"]
    parts += [f"{rule.grace_days} days of grace"] if rule.grace_days else []
    parts += [f"at least {decimal_text(rule.minimum_nano)}"] if rule.minimum_nano else []
    parts += [f"at most {decimal_text(rule.cap_percent)} % of the bill"] if rule.cap_percent else []
    return parts + (["unpaid late payment charges count too"] if rule.on_surcharge else [])
