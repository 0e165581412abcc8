"""`gridtally-mdm credit ACCOUNT AMOUNT` and `gridtally-mdm ledger`: cash at the desk, and the books against the edge."""

from __future__ import annotations

import argparse
import json

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.person import listed
from gridtally_cloud.person.again import again
from gridtally_cloud.prepay.capture import pay_at_desk
from gridtally_cloud.prepay.orders import new_id
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.wallet import balance
from gridtally_cloud.store import meta
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text, display, nano


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `credit` and `ledger` to the commands of gridtally-mdm."""
    credit = commands.add_parser(
        "credit", help="take cash for an account", epilog="example: gridtally-mdm credit 7 100.00 --receipt A-1017",
        description="Record a cash payment. On a prepaid account it travels to the meter as a signed instrument.",
    )  # fmt: skip
    credit.add_argument("account", type=int)
    credit.add_argument("amount", help="such as 100.00, in the currency of the account")
    credit.add_argument("--receipt", help="number on the paper receipt; the same one again pays nothing (a new one is made)")
    credit.add_argument("--json", action="store_true", help="JSON instead of a sentence")
    credit.set_defaults(run=with_desk(open_desk, _credit))
    ledger = commands.add_parser(
        "ledger", help="compare the cloud's books with the mirrored journals", epilog="example: gridtally-mdm ledger --json",
        description="Check every account to the nano: payments, instruments, balances, charges. Exit code 1 on a mismatch.",
    )  # fmt: skip
    ledger.add_argument("--account", type=int, help="only this account")
    ledger.add_argument("--json", action="store_true", help="JSON instead of sentences")
    ledger.set_defaults(run=with_desk(open_desk, _ledger))
    restored = commands.add_parser(
        "restored", help="say that the store was put back from an older copy", epilog="example: gridtally-mdm restored",
        description="Say so before the MDM runs again. Each concentrator then greets again and tells which numbers are used; until it has, "
        "nothing is issued to it: money waits, orders are refused. Run 'gridtally-mdm ledger' when all have. Who was erased since the copy "
        "was made is erased again.",
    )  # fmt: skip
    restored.set_defaults(run=with_desk(open_desk, _restored))


def _credit(desk: Desk, options: argparse.Namespace) -> int:
    try:
        amount_nano = nano(options.amount)
    except ValueError as error:
        raise ConfigError("amount", options.amount, str(error)) from None
    at_ms = desk.clock.now_ms()
    with desk.db.write() as conn:
        paid = pay_at_desk(conn, desk.payments, options.account, amount_nano, options.receipt or new_id(at_ms), at_ms, ACTOR)
        after = balance(conn, options.account)
    if options.json:
        print(json.dumps({"payment_no": paid.payment_no, "receipt": paid.gateway_ref, "amount": decimal_text(paid.amount_nano),
                          "gseq": paid.instrument.gseq if paid.instrument else None}))  # fmt: skip
        return 0
    currency = paid.currency
    print(f"took {display(paid.amount_nano, currency)} for account {paid.account_no}, receipt {paid.gateway_ref}; balance "
          f"{display(after.balance_nano, currency)}, on the way {display(after.pending_nano, currency)}")  # fmt: skip
    return 0


def _ledger(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        rows = reconcile(conn, options.account)
    if options.json:
        print(json.dumps([{"account_no": r.account_no, "check": r.check, "expected": decimal_text(r.expected_nano),
                           "found": decimal_text(r.found_nano), "text": r.text} for r in rows]))  # fmt: skip
        return int(bool(rows))
    for r in rows:
        print(f"account {r.account_no}: {r.check}: {r.text} (expected {decimal_text(r.expected_nano)}, "
              f"found {decimal_text(r.found_nano)})")  # fmt: skip
    print(f"{len(rows)} mismatches" if rows else "all books agree")
    return int(bool(rows))


def _restored(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        meta.note_restore(conn, desk.clock.now_ms())
    print("noted: nothing is issued to a concentrator before it has greeted again. Start the MDM now")
    results = again(desk.db, desk.data_dir / listed.NAME, ACTOR, desk.clock.now_ms())
    for result in results:
        print(result.text)
    return int(any(not result.done for result in results))
