"""`gridtally-mdm vee edit`: change a range of a channel with a reason, decide on what waits, list what was changed and restated."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.store.days import date_of, utc_text
from gridtally_cloud.vee.edit import Asked, Reason, decide, make
from gridtally_cloud.vee.edits import Edit, EditState, Step, edits_of
from gridtally_cloud.vee.restated import restatements
from gridtally_cloud.vee.tools import Tool
from gridtally_shared.contract.codec import INT_MAX, INT_MIN
from gridtally_shared.errors import ConfigError

DECISIONS = {"approve": Step.APPROVE, "refuse": Step.REFUSE, "undo": Step.UNDO}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `edit` to the commands below `vee`."""
    about = "change what stands of a range, with a reason; what was measured is kept"
    example = "example: gridtally-mdm vee edit make 7 2026-11-03T10:00Z 2026-11-03T14:00Z spread 1250 --reason site_visit --by asha"
    edit = commands.add_parser("edit", help=about, description=about, epilog=example)
    below = edit.add_subparsers(required=True, metavar="make|approve|refuse|undo|list|restated")
    new = below.add_parser("make", help="change a range", description="Where the range is billed, another person has to approve.",
                           epilog=example)  # fmt: skip
    new.add_argument("channel", type=int)
    new.add_argument("begins", metavar="from", help="start of the first interval with its zone, such as 2026-11-03T10:00Z")
    new.add_argument("ends", metavar="to", help="end of the last interval")
    new.add_argument("tool", choices=[tool.value for tool in Tool], help="docs/vee.md says what each does")
    new.add_argument("argument", nargs="?", default="", help="value, total, factor, or the day to copy")
    new.add_argument("--reason", choices=[reason.value for reason in Reason], required=True)
    new.add_argument("--by", required=True, help="login of the person")
    new.add_argument("--note", default="", help="a sentence for the people who look at it")
    new.add_argument("--ticket", default="", help="number elsewhere")
    new.set_defaults(run=with_desk(open_desk, _make))
    for name, step in DECISIONS.items():
        decision = below.add_parser(name, help=f"{name} an edit", epilog=f"example: gridtally-mdm vee edit {name} 12 --by ravi")
        decision.add_argument("edit", type=int)
        decision.add_argument("--by", required=True, help="login of the person")
        decision.set_defaults(run=with_desk(open_desk, _decide), step=step)
    listed = below.add_parser("list", help="edits of a channel", epilog="example: gridtally-mdm vee edit list 7")
    listed.add_argument("channel", type=int)
    listed.set_defaults(run=with_desk(open_desk, _list))
    told = below.add_parser("restated", help="what stood for a bill and stands no more", epilog="example: gridtally-mdm vee edit restated")
    told.add_argument("--channel", type=int)
    told.set_defaults(run=with_desk(open_desk, _restated))


def _make(desk: Desk, options: argparse.Namespace) -> int:
    from_ms, to_ms = _moment("from", options.begins), _moment("to", options.ends)
    asked = Asked(options.channel, from_ms, to_ms, Tool(options.tool), options.argument, Reason(options.reason), options.by, options.note,
                  options.ticket)  # fmt: skip
    with desk.db.write() as conn:
        made = make(conn, asked, desk.clock.now_ms())
    waits = f"; bills {', '.join(made.bills)} cover it: another person has to approve" if made.state is EditState.PROPOSED else ""
    print(f"edit {made.edit_no} is {made.state.value}: {len(made.slots)} intervals, {made.old_total} to {made.new_total}{waits}")
    return 0


def _decide(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        edit = decide(conn, options.edit, options.step, options.by, desk.clock.now_ms())
    waits = "; another person has to approve that, because it is billed" if edit.state is EditState.LEAVING else ""
    print(f"edit {edit.edit_no} is {edit.state.value}{waits}")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        known = edits_of(conn, options.channel, INT_MIN, INT_MAX, all_states=True)
    print("\n".join(map(_line, known)) if known else f"nothing of channel {options.channel} was ever edited")
    return 0


def _line(e: Edit) -> str:
    told = " ".join(filter(None, (e.ticket, e.note)))
    decided = f", {e.decided_by}" if e.decided_by else ""
    where = f"{e.edit_no:<5} {e.state.value:9} {utc_text(e.from_ms)} to {utc_text(e.to_ms)}"
    return f"{where}  {e.tool.value:9} {e.old_total} to {e.new_total}  {e.reason} ({e.made_by}{decided}) {told}".rstrip()


def _restated(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        told = restatements(conn, options.channel)
    for r in told:
        print(f"{date_of(r.day).isoformat()}  channel {r.channel_no:<6} version {r.version:<3} {r.old_total} to {r.new_total} "
              f"({r.delta:+d})  bills {', '.join(r.bills)}")  # fmt: skip
    print(f"{len(told)} restatements of billed days")
    return 0


def _moment(name: str, text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ConfigError(name, text, "write a time with its zone, such as 2026-11-03T10:00Z or 2026-11-03T10:00+05:30")
    return int(at.astimezone(UTC).timestamp()) * 1000
