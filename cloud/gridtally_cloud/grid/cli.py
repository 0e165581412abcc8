"""`gridtally-mdm grid`: the register of transformers and feeders, their load, and tokens of network operators."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.exchange.exporting import span
from gridtally_cloud.grid import register, service
from gridtally_cloud.grid.load import LoadReport
from gridtally_cloud.grid.register import Level, Transformer
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.tokens import create_token, list_tokens
from gridtally_shared.clock import SystemClock

SCOPES = ("grid:read", "grid:export")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `grid` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "grid", help="transformers, feeders and their load", description="What hangs behind which transformer, and what it carries.",
        epilog="example: gridtally-mdm grid transformer DT-7 north-3 --rating-kva 100 && gridtally-mdm grid place 17 DT-7",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    put = _action(actions, open_desk, "transformer", "add or change a transformer", "transformer DT-7 north-3 --rating-kva 100", _put)
    put.add_argument("name", help="its name, as in installation reports")
    put.add_argument("feeder")
    put.add_argument("--rating-kva", type=int, help="its rating (unknown)")
    put.add_argument("--meter-point", type=int, metavar="NO", help="usage point of its own meter")
    place = _action(actions, open_desk, "place", "hang a usage point behind a transformer from now on", "place 17 DT-7", _place)
    place.add_argument("usage_point", type=int)
    place.add_argument("transformer")
    _action(actions, open_desk, "show", "the register", "show", _show)
    example = "load DT-7 --from 2026-11-01 --to 2026-11-30"
    load = _action(actions, open_desk, "load", "peak, load factor, overloads and balance", example, _load)
    load.add_argument("name", help="a transformer; with --feeder a feeder")
    load.add_argument("--feeder", action="store_true", help="the name is a feeder's")
    load.add_argument("--from", dest="first", required=True, metavar="DAY")
    load.add_argument("--to", dest="last", required=True, metavar="DAY")
    load.add_argument("--zone", default="UTC", help="zone of the days (UTC)")
    load.add_argument("--json", action="store_true")
    token = _action(actions, open_desk, "token", "a token of a network operator, shown once", "token dno --feeder north-3", _token)
    token.add_argument("name")
    token.add_argument("--feeder", action="append", default=[], help="all it may see; may be given again (everything)")


def _action(actions: Any, open_desk: OpenDesk, name: str, about: str, example: str, work: Any) -> argparse.ArgumentParser:
    words = {"description": f"{about[0].upper()}{about[1:]}.", "epilog": f"example: gridtally-mdm grid {example}"}
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, **words)
    parser.set_defaults(run=with_desk(open_desk, work))
    return parser


def _put(desk: Desk, options: argparse.Namespace) -> int:
    rating = None if options.rating_kva is None else options.rating_kva * 1000
    with desk.db.write() as conn:
        register.put(conn, Transformer(options.name, options.feeder, rating, options.meter_point), desk.clock.now_ms(), ACTOR)
    print(f"transformer {options.name} on feeder {options.feeder}")
    return 0


def _place(desk: Desk, options: argparse.Namespace) -> int:
    now_ms = desk.clock.now_ms()
    with desk.db.write() as conn:
        register.place(conn, options.usage_point, options.transformer, now_ms, ACTOR, now_ms)
    print(f"usage point {options.usage_point} hangs behind {options.transformer} from {utc_text(now_ms)} on")
    return 0


def _show(desk: Desk, _options: argparse.Namespace) -> int:
    now_ms = desk.clock.now_ms()
    with desk.db.read() as conn:
        for each in register.transformers(conn):
            behind = len(register.members(conn, [each], now_ms, now_ms + 1))
            rating = f"{each.rating_va / 1000:g} kVA" if each.rating_va else "rating unknown"
            print(f"{each.feeder:12} {each.name:16} {rating:16} {behind} usage points")
    return 0


def _load(desk: Desk, options: argparse.Namespace) -> int:
    level = Level.FEEDER if options.feeder else Level.TRANSFORMER
    with desk.db.read() as conn:
        found = service.load_report(conn, service.ask(conn, level, options.name, *span(options.first, options.last, options.zone)))
    print(json.dumps(report_object(found)) if options.json else _told(options.name, found))
    return 0


def _token(desk: Desk, options: argparse.Namespace) -> int:
    """Tokens live by the machine's own time, as logins do."""
    with desk.db.write() as conn:
        text = create_token(conn, options.name, SCOPES, SystemClock().now_ms(), ACTOR)
        register.bind_token(conn, list_tokens(conn)[0].token_no, options.feeder)
    print(text)
    return 0


def report_object(r: LoadReport) -> dict[str, Any]:
    """For programs, here and in the API."""
    balance = r.balance and asdict(r.balance) | {"loss_wh": r.balance.loss_wh, "loss_permille": r.balance.loss_permille}
    return {
        "from": utc_text(r.from_ms), "to": utc_text(r.to_ms), "step_s": r.step_s, "all_steps": r.all_steps, "whole_steps": r.steps,
        "energy_wh": r.energy_wh, "peak_w": r.peak_w, "peak_at": utc_text(r.peak_at_ms) if r.peak_at_ms is not None else None,
        "mean_w": r.mean_w, "load_factor_permille": r.load_factor_permille, "rating_va": r.rating_va, "used_permille": r.used_permille,
        "overloads": [{"from": utc_text(o.from_ms), "to": utc_text(o.to_ms), "peak_w": o.peak_w} for o in r.overloads],
        "balance": balance, "figures": service.figures_object(r.figures),
    }  # fmt: skip


def _told(name: str, r: LoadReport) -> str:
    """A screen for people."""
    f = r.figures
    whole = f"{r.steps} of {r.all_steps} steps of {r.step_s // 60} minutes are whole"
    lines = [f"{name}: {utc_text(r.from_ms)} to {utc_text(r.to_ms)}, {whole}",
             f"  intervals: {f.received} received, {f.estimated} estimated, {f.missing} missing, {f.doubtful} doubtful"]  # fmt: skip
    if r.peak_w is not None and r.peak_at_ms is not None:
        factor = f", load factor {_percent(r.load_factor_permille)}" if r.load_factor_permille is not None else ""
        lines.append(f"  peak {r.peak_w} W at {utc_text(r.peak_at_ms)}, mean {r.mean_w} W{factor}")
    if r.rating_va:
        lines.append(f"  rating {r.rating_va} VA, peak is {_percent(r.used_permille)} of it, {len(r.overloads)} overloads")
    lines += [f"    above it {utc_text(o.from_ms)} to {utc_text(o.to_ms)}, up to {o.peak_w} W" for o in r.overloads]
    if r.balance:
        b = r.balance
        lines.append(f"  gave {b.supplied_wh} Wh, arrived {b.delivered_wh} Wh, loss {b.loss_wh} Wh ({_percent(b.loss_permille)})")
    return "\n".join(lines)


def _percent(permille: int | None) -> str:
    return "?" if permille is None else f"{permille / 10:.1f} %"
