"""`gridtally-mdm instrument`: list what was issued to an account, print the keypad code of one, switch codes on or off."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay import files, keypad, order_cli, refunds, refused
from gridtally_cloud.prepay.history import instruments
from gridtally_cloud.prepay.model import InstrumentView
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.money import decimal_text, display


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `instrument` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "instrument", help="what was issued to an account, and its keypad codes",
        description="Look at signed instruments and carry them by hand where the network does not reach.",
        epilog="example: gridtally-mdm instrument code 7 12",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    listing = _action(actions, "list", "list an account's instruments, newest first", "gridtally-mdm instrument list 7")
    listing.add_argument("--json", action="store_true", help="JSON instead of a table")
    listing.set_defaults(run=with_desk(open_desk, _list))
    code = _action(actions, "code", "print the 24 digits to type in at the meter", "gridtally-mdm instrument code 7 12")
    code.add_argument("number", type=int, help="number of the instrument, as 'instrument list' shows it")
    code.add_argument("--json", action="store_true", help="JSON instead of a sentence")
    code.set_defaults(run=with_desk(open_desk, _code))
    about = "print the instruments a concentrator has not confirmed, as a signed text to carry there"
    text = actions.add_parser("file", help=about, description=about[0].upper() + about[1:] + ". Each line fits a QR code.",
                              epilog="example: gridtally-mdm instrument file dcu-1 > credits.txt")  # fmt: skip
    text.add_argument("dcu", help="name of the concentrator")
    text.add_argument("--account", type=int, help="only this account")
    text.set_defaults(run=with_desk(open_desk, _file))
    refused_ones = actions.add_parser("refused", help="list money that concentrators refused and nobody has settled",
                                      epilog="example: gridtally-mdm instrument refused --account 7")  # fmt: skip
    refused_ones.add_argument("--account", type=int, help="only this account")
    refused_ones.set_defaults(run=with_desk(open_desk, _refused))
    again = _action(actions, "reissue", "send refused money again under a new number", "gridtally-mdm instrument reissue 7 12")
    again.add_argument("number", type=int, help="number of the refused instrument")
    again.set_defaults(run=with_desk(open_desk, _reissue))
    back = _action(actions, "giveback", "give refused money back to who paid it", "gridtally-mdm instrument giveback 7 12")
    back.add_argument("number", type=int, help="number of the refused instrument")
    back.set_defaults(run=with_desk(open_desk, _give_back))
    order_cli.add_actions(actions, open_desk)
    offer = _action(actions, "codes", "let an account take keypad codes, or no more", "gridtally-mdm instrument codes 7 off")
    offer.add_argument("offered", choices=("on", "off"))
    offer.set_defaults(run=with_desk(open_desk, _offer))


def _action(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str, example: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}")
    parser.add_argument("account", type=int)
    return parser


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        rows = instruments(conn, options.account)
    if options.json:
        print(json.dumps([{"epoch": r.epoch, "number": r.gseq, "type": _type(r), "amount": decimal_text(r.amount_nano),
                           "currency": r.currency, "state": r.state, "issued_ms": r.issued_at_ms} for r in rows]))  # fmt: skip
        return 0
    for r in rows:
        issued = datetime.fromtimestamp(r.issued_at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M")
        print(f"{r.gseq:6}  {_type(r):12} {display(r.amount_nano, r.currency):>14}  {r.state:8}  issued {issued} UTC")
    print(f"{len(rows)} instruments" if rows else f"account {options.account} has no instruments yet")
    return 0


def _type(row: InstrumentView) -> str:
    return InstrumentType(row.type).name.lower()


def _code(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        issued = keypad.code_of(conn, options.account, options.number)
    if options.json:
        print(json.dumps({"account": issued.account_no, "number": issued.gseq, "amount": decimal_text(issued.amount_nano),
                          "currency": issued.currency, "code": issued.text}))  # fmt: skip
        return 0
    print(issued.text)
    print(f"{display(issued.amount_nano, issued.currency)} for account {issued.account_no}; counts once, also when the network brings it")
    return 0


def _file(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        text, count = files.file_for(conn, desk.payments.signer, options.dcu, desk.clock.now_ms(), options.account)
    print(f"# {count} instruments for {options.dcu}; take in with: gridtally-dcu instruments import FILE")
    print(text, end="")
    return 0


def _refused(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        rows = refused.unsettled(conn, options.account)
    for r in rows:
        print(f"account {r.account_no}, number {r.gseq}: {display(r.amount_nano, r.currency)} refused ({r.reason}), payment {r.payment_no}")
    print("send it again with 'instrument reissue', or give it back with 'instrument giveback'" if rows else "no refused money waits")
    return 0


def _reissue(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        number = refused.reissue(conn, desk.payments, options.account, options.number, desk.clock.now_ms(), ACTOR)
    print(f"sent again to account {options.account} as number {number}")
    return 0


def _give_back(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        paid = refunds.give_back_refused(conn, desk.payments, options.account, options.number, desk.clock.now_ms(), ACTOR)
    print(f"{display(paid.refunded_nano, paid.currency)} of payment {paid.payment_no} goes back to who paid it")
    return 0


def _offer(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        keypad.offer(conn, options.account, options.offered == "on", desk.clock.now_ms(), ACTOR)
    print(f"account {options.account} takes {'keypad codes' if options.offered == 'on' else 'no keypad codes any more'}; its "
          "concentrator hears of it with the next configuration")  # fmt: skip
    return 0
