"""`gridtally-mdm bill ACCOUNT`: issue a statement or bill and write it as PDF. With `--tariff FILE`: rate a file of intervals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from gridtally_cloud.billing import service
from gridtally_cloud.billing.determinants import determinants
from gridtally_cloud.billing.model import BillView
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.periods import day_start, last_month, month
from gridtally_cloud.billing.rating import add_options, print_rated
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_shared.errors import ConfigError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `bill` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "bill", help="issue a statement or bill", epilog="example: gridtally-mdm bill 7 --month 2026-11 --pdf bill.pdf; "
        "gridtally-mdm bill --tariff home.json --intervals load.csv --from 2026-01-01 --to 2027-01-01 --json",
        description="Issue the statement (prepaid) or bill (postpaid) of an account. The same period again shows the same bill. "
        "With --tariff and --intervals: show what a tariff makes of a file of intervals; nothing is issued.",
    )  # fmt: skip
    parser.add_argument("account", type=int, nargs="?", help="number of the account; not with --tariff")
    parser.add_argument("--month", help="such as 2026-11 (the last month that is over)")
    parser.add_argument("--from", dest="first", help="first day, such as 2026-11-01; with --to")
    parser.add_argument("--to", dest="until", help="the day after the last day, such as 2026-12-01")
    parser.add_argument("--pdf", type=Path, help="write the bill to this file")
    parser.add_argument("--language", choices=sorted(TEXTS), default="", help="language of the bill (the account's)")
    parser.add_argument("--final", action="store_true", help="the last bill of the account: a deposit that is held pays it")
    parser.add_argument("--estimate", action="store_true", help="where no reading reaches the end of the period, estimate it")
    parser.add_argument("--check", action="store_true", help="only say what stands against it; issue nothing")
    parser.add_argument("--determinants", action="store_true", help="what a bill would rest on, as JSON; issue nothing")
    parser.add_argument("--json", action="store_true", help="the whole bill as JSON")
    add_options(parser)
    issue = with_desk(open_desk, _bill)
    parser.set_defaults(run=lambda options: _run(options, issue))


def _run(options: argparse.Namespace, issue: Callable[[argparse.Namespace], int]) -> int:
    if (options.account is None) != (options.tariff is not None):
        raise ConfigError("account", options.account, "name an account, or --tariff and --intervals, and not both")
    return issue(options) if options.tariff is None else print_rated(options)


def _bill(desk: Desk, options: argparse.Namespace) -> int:
    at_ms = desk.clock.now_ms()
    with desk.db.read() as conn:
        from_ms, to_ms = _period(options, account_of(conn, options.account).zone, at_ms)
        findings = service.check_bill(conn, options.account, from_ms, to_ms, at_ms, options.estimate) if options.check else ()
    if options.check:
        for finding in findings:
            print(f"{'stops it' if finding.blocking else 'note'}: {finding.text}")
        print("ready to issue" if not any(f.blocking for f in findings) else "not ready")
        return int(any(f.blocking for f in findings))
    if options.determinants:
        with desk.db.read() as conn:
            print(json.dumps(asdict(determinants(conn, options.account, from_ms, to_ms)), indent=1))
        return 0
    with desk.db.write() as conn:
        view = service.issue_bill(conn, options.account, from_ms, to_ms, at_ms, ACTOR, options.final, options.estimate)
    if options.pdf:
        options.pdf.write_bytes(service.render_pdf(view, options.language))
    print(json.dumps(asdict(view)) if options.json else as_text(view, options.language))
    return 0


def _period(options: argparse.Namespace, zone: str, at_ms: int) -> tuple[int, int]:
    try:
        if options.first or options.until:
            return day_start(options.first or "", zone), day_start(options.until or "", zone)
        return month(options.month, zone) if options.month else last_month(at_ms, zone)
    except ValueError:
        given = options.month or f"{options.first} {options.until}"
        raise ConfigError("period", given, "write --month 2026-11, or --from 2026-11-01 --to 2026-12-01") from None


def as_text(view: BillView, language: str) -> str:
    """The bill as plain lines."""
    page = bill_page(view, language)
    rows = (page.first, *page.rows, page.total)
    lines = [f"{page.title} {page.bill_no}", *(f"  {label}: {value}" for label, value in page.heading)]
    lines += [f"{row.what:32} {row.amount:>18}  {'; '.join(row.how)}" for row in rows]
    return "\n".join([*lines, *page.notes])
