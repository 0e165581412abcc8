"""`gridtally-mdm instrument order`: what staff order of an account by a signed instrument, from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay import control
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import ConfigError
from gridtally_shared.instruments import details as d
from gridtally_shared.money import nano
from gridtally_shared.records import dataclass

Parser = argparse.ArgumentParser
Order = Callable[[argparse.Namespace], control.Order]


@dataclass(frozen=True, slots=True)
class _Kind:
    """`words` are the arguments behind the account: name and help."""

    about: str
    example: str
    words: tuple[tuple[str, str], ...]
    make: Order
    until: bool = False


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise ConfigError(name, text, "write a whole number")
    return int(text)


def _on(text: str) -> bool:
    if text not in ("on", "off"):
        raise ConfigError("switch", text, "write on or off")
    return text == "on"


def _until_ms(options: argparse.Namespace) -> int:
    if not options.until:
        return 0
    try:
        moment = datetime.fromisoformat(options.until.replace("Z", "+00:00"))
    except ValueError:
        raise ConfigError("until", options.until, "write a moment such as 2026-12-01T06:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1_000


def _mode(text: str) -> int:
    known = {mode.name.lower(): int(mode) for mode in AccountMode}
    if text not in known:
        raise ConfigError("mode", text, f"write one of {', '.join(known)}")
    return known[text]


_REASON = ("reason", f"one of {', '.join(d.REASONS)}")
_SWITCH = ("switch", "on or off")
KINDS: dict[str, _Kind] = {
    "limit": _Kind("limit the load in watts, 0 lifts it", "limit 7 2000 --until 2026-12-01T06:00Z", (("watts", "such as 2000"),),
                   lambda o: d.LimitOrder(_number(o.watts, "watts"), _until_ms(o), "desk"), until=True),
    "mode": _Kind("change the way of paying at the end of an interval", "mode 7 postpaid", (("mode", "prepaid or postpaid"),),
                  lambda o: d.ModeOrder(_mode(o.mode))),
    "hold": _Kind("set or lift a hold on the switch", "hold 7 vacant on", (_REASON, _SWITCH),
                  lambda o: d.HoldOrder(o.reason, _on(o.switch))),
    "protect": _Kind("protect the supply from cuts, or no more", "protect 7 medical on", (_REASON, _SWITCH),
                     lambda o: d.ProtectOrder(o.reason, _on(o.switch), _until_ms(o)), until=True),
    "unbalance": _Kind("limit the difference between two phases in milliampere, 0 lifts it", "unbalance 7 20000",
                       (("milliampere", "such as 20000"),), lambda o: d.UnbalanceOrder(_number(o.milliampere, "milliampere"))),
    "debt": _Kind("have the account take on a debt", "debt 7 75.00 time arrears",
                  (("amount", "such as 75.00"), ("by", "time or payment: how it is collected"), ("why", "for people, such as arrears")),
                  lambda o: d.DebtTaken(o.by, o.why)),
}  # fmt: skip
PLAIN = {
    "clear-credit": ("move an account's credit out, as a transfer", control.clear_credit),
    "clear-tamper": ("reset the tamper counters of the meter", control.clear_tamper),
    "test": ("show a test message with the balance", control.show_test),
    "new-key": ("make a new key for keypad codes; codes printed before are refused", control.rotate_keypad_key),
}


def add_actions(actions: argparse._SubParsersAction[Parser], open_desk: OpenDesk) -> None:
    """Add `order` with its kinds to `gridtally-mdm instrument`."""
    about = "order something of an account, signed and in its turn"
    order = actions.add_parser("order", help=about, description=about[0].upper() + about[1:] + ".",
                               epilog="example: gridtally-mdm instrument order limit 7 2000")  # fmt: skip
    kinds = order.add_subparsers(required=True, metavar="kind")
    for name, kind in KINDS.items():
        parser = _parser(kinds, name, kind.about, kind.example)
        for word, text in kind.words:
            parser.add_argument(word, help=text)
        if kind.until:
            parser.add_argument("--until", default="", help="when it ends, such as 2026-12-01T06:00Z (until it is lifted)")
        parser.set_defaults(run=with_desk(open_desk, _ordering(name, kind)))
    for name, (text, work) in PLAIN.items():
        _parser(kinds, name, text, f"{name} 7").set_defaults(run=with_desk(open_desk, _plain(name, work)))


def _parser(kinds: argparse._SubParsersAction[Parser], name: str, about: str, example: str) -> Parser:
    parser = kinds.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".",
                              epilog=f"example: gridtally-mdm instrument order {example}")  # fmt: skip
    parser.add_argument("account", type=int, help="number of the account")
    return parser


def _ordering(name: str, kind: _Kind) -> Callable[[Desk, argparse.Namespace], int]:
    def run(desk: Desk, options: argparse.Namespace) -> int:
        owed_nano = _owed_nano(options.amount) if name == "debt" else 0
        if name == "debt" and options.by not in ("time", "payment"):
            raise ConfigError("by", options.by, "write time or payment")
        with desk.db.write() as conn:
            number = control.order(conn, desk.payments.signer, options.account, kind.make(options), desk.clock.now_ms(), ACTOR, owed_nano)
        return _said(name, options.account, number)

    return run


def _owed_nano(text: str) -> int:
    try:
        owed_nano = nano(text)
    except ValueError as error:
        raise ConfigError("amount", text, str(error)) from None
    if owed_nano <= 0:
        raise ConfigError("amount", text, "write an amount above zero")
    return owed_nano


def _plain(name: str, work: Callable[..., int]) -> Callable[[Desk, argparse.Namespace], int]:
    def run(desk: Desk, options: argparse.Namespace) -> int:
        with desk.db.write() as conn:
            number = work(conn, desk.payments.signer, options.account, desk.clock.now_ms(), ACTOR)
        return _said(name, options.account, number)

    return run


def _said(name: str, account_no: int, number: int) -> int:
    print(f"{name} is ordered of account {account_no} as number {number}; see what becomes of it with: "
          f"gridtally-mdm instrument list {account_no}")  # fmt: skip
    return 0
