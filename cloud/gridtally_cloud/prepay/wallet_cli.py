"""`gridtally-mdm wallet`: a wallet that several accounts live on: open it, let accounts join, pay in, take back, look at it."""

from __future__ import annotations

import argparse
import json

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay import shared_wallets
from gridtally_cloud.prepay.orders import new_id
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text, display, nano


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `wallet` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "wallet", help="wallets that several accounts share",
        description="What is paid into a wallet is lent to its accounts in chunks, and never more than it holds.",
        epilog="example: gridtally-mdm wallet open 'Flats 1 to 6' INR",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    opened = actions.add_parser("open", help="open a wallet", epilog="example: gridtally-mdm wallet open 'Flats 1 to 6' INR --credit 500")
    opened.add_argument("name")
    opened.add_argument("currency", help="such as INR")
    opened.add_argument("--credit", default="0", help="how far below zero it may go (0)")
    opened.set_defaults(run=with_desk(open_desk, _open))
    joined = actions.add_parser("join", help="let a prepaid account live on a wallet", epilog="example: gridtally-mdm wallet join 3 101")
    joined.add_argument("wallet", type=int)
    joined.add_argument("account", type=int)
    joined.set_defaults(run=with_desk(open_desk, _join))
    paid = actions.add_parser("pay", help="take money for a wallet", epilog="example: gridtally-mdm wallet pay 3 1000.00 --receipt A-17")
    paid.add_argument("wallet", type=int)
    paid.add_argument("amount", help="such as 1000.00, in the currency of the wallet")
    paid.add_argument("--receipt", help="number on the paper receipt; the same one again pays nothing (a new one is made)")
    paid.set_defaults(run=with_desk(open_desk, _pay))
    out = actions.add_parser("pay-out", help="give money of a wallet back that is not lent",
                             epilog="example: gridtally-mdm wallet pay-out 3 120.00 --receipt A-18")  # fmt: skip
    out.add_argument("wallet", type=int)
    out.add_argument("amount", help="such as 120.00, in the currency of the wallet")
    out.add_argument("--receipt", help="number on the paper receipt; the same one again pays nothing (a new one is made)")
    out.set_defaults(run=with_desk(open_desk, _pay_out))
    back = actions.add_parser("take-back", help="have an account give back what it was lent and has not used",
                              epilog="example: gridtally-mdm wallet take-back 101")  # fmt: skip
    back.add_argument("account", type=int)
    back.set_defaults(run=with_desk(open_desk, _take_back))
    shown = actions.add_parser("show", help="what a wallet holds and has lent", epilog="example: gridtally-mdm wallet show 3")
    shown.add_argument("wallet", type=int)
    shown.add_argument("--json", action="store_true", help="JSON instead of sentences")
    shown.set_defaults(run=with_desk(open_desk, _show))


def _money(name: str, text: str, least: int = 1) -> int:
    try:
        amount_nano = nano(text)
    except ValueError as error:
        raise ConfigError(name, text, str(error)) from None
    if amount_nano < least:
        raise ConfigError(name, text, "write an amount above zero" if least else "write zero or an amount above it")
    return amount_nano


def _open(desk: Desk, options: argparse.Namespace) -> int:
    credit_nano = _money("credit", options.credit, 0)
    if len(options.currency) != 3 or not options.currency.isalpha() or not options.currency.isupper():
        raise ConfigError("currency", options.currency, "write its three letters, such as INR")
    with desk.db.write() as conn:
        number = shared_wallets.open_wallet(conn, options.name, options.currency, desk.clock.now_ms(), ACTOR, credit_nano)
    print(f"wallet {number} is open; let accounts join with: gridtally-mdm wallet join {number} ACCOUNT")
    return 0


def _join(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        shared_wallets.join(conn, options.wallet, options.account, desk.clock.now_ms(), ACTOR)
    print(f"account {options.account} lives on wallet {options.wallet}; its concentrator hears of it with the next configuration")
    return 0


def _pay(desk: Desk, options: argparse.Namespace) -> int:
    amount_nano, at_ms = _money("amount", options.amount), desk.clock.now_ms()
    reference = f"cash|{options.receipt or new_id(at_ms)}"
    with desk.db.write() as conn:
        new = shared_wallets.pay_in(conn, options.wallet, amount_nano, reference, at_ms, ACTOR)
        view = shared_wallets.view(conn, options.wallet)
    done = f"took {display(amount_nano, view.currency)}" if new else "this receipt was booked before, nothing was taken"
    print(f"{done}; wallet {options.wallet} may lend {display(view.free_nano, view.currency)}")
    return 0


def _pay_out(desk: Desk, options: argparse.Namespace) -> int:
    amount_nano, at_ms = _money("amount", options.amount), desk.clock.now_ms()
    reference = f"cash|{options.receipt or new_id(at_ms)}"
    with desk.db.write() as conn:
        new = shared_wallets.pay_out(conn, options.wallet, amount_nano, reference, at_ms, ACTOR)
        view = shared_wallets.view(conn, options.wallet)
    done = f"gave {display(amount_nano, view.currency)} back" if new else "this receipt was booked before, nothing was given"
    print(f"{done}; wallet {options.wallet} may lend {display(view.free_nano, view.currency)}")
    return 0


def _take_back(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        wallet_no = shared_wallets.wallet_of(conn, options.account)
        if wallet_no is None:
            raise ConfigError("account", str(options.account), "it lives on no wallet: see gridtally-mdm wallet show WALLET")
        shared_wallets.ask_back(conn, desk.payments.signer, options.account, desk.clock.now_ms())
    print(f"account {options.account} is asked; what it gives back is on wallet {wallet_no} when its journal has come up")
    return 0


def _show(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        view = shared_wallets.view(conn, options.wallet)
    if options.json:
        print(json.dumps({"wallet": view.wallet_no, "name": view.name, "currency": view.currency, "paid": decimal_text(view.paid_nano),
                          "lent": decimal_text(view.lent_nano), "free": decimal_text(view.free_nano),
                          "accounts": view.accounts}))  # fmt: skip
        return 0
    print(f"wallet {view.wallet_no}, {view.name}: paid in {display(view.paid_nano, view.currency)}, lent "
          f"{display(view.lent_nano, view.currency)}, may lend {display(view.free_nano, view.currency)}")  # fmt: skip
    print(f"accounts: {', '.join(map(str, view.accounts))}" if view.accounts else "no account lives on it yet")
    return 0
