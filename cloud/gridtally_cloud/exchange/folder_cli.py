"""`gridtally-mdm import folder` and `gridtally-mdm import status`: the watched folder by hand, and what became of its files."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from gridtally_cloud.config import load_config
from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.exchange import folder_rows
from gridtally_cloud.exchange.folder_in import Watched, turn, waiting
from gridtally_cloud.exchange.folder_rows import FileRow, State
from gridtally_cloud.store.days import utc_text
from gridtally_shared.errors import ConfigError

WIDTH = 60


def add_parsers(actions: Any, open_desk: OpenDesk) -> None:
    """Add `folder` and `status` to the actions of `gridtally-mdm import`."""
    take = actions.add_parser(
        "folder", help="take in what lies in the watched folder, now",
        description="Takes in every complete file of the watched folder, as the worker does by itself where exchange.in_dir is set.",
        epilog="example: gridtally-mdm import folder --dir /srv/readings",
    )  # fmt: skip
    take.add_argument("--dir", type=Path, metavar="DIR", help="another folder than exchange.in_dir")
    take.add_argument("--json", action="store_true", help="one JSON object a line and file")
    take.set_defaults(run=with_desk(open_desk, _folder))
    status = actions.add_parser(
        "status", help="what became of the files of the watched folder",
        description="The last files of the watched folder: taken or refused, and why. The report beside each file has every line.",
        epilog="example: gridtally-mdm import status --refused",
    )  # fmt: skip
    status.add_argument("--refused", action="store_true", help="only what was refused")
    status.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default 20)")
    status.add_argument("--json", action="store_true", help="one JSON object a line and file")
    status.set_defaults(run=with_desk(open_desk, _status))


def _watched(options: argparse.Namespace, folder: Path | None) -> Watched:
    config = load_config(options.config)
    place = folder or (Path(config.exchange.in_dir) if config.exchange.in_dir else None)
    if place is None:
        raise ConfigError("exchange.in_dir", "", "no folder is watched: set it in the configuration, or name one with --dir")
    return Watched(place, config.exchange.still_s, config.zone)


def _folder(desk: Desk, options: argparse.Namespace) -> int:
    """0 where everything was taken, 1 where something was refused."""
    watched = _watched(options, options.dir)
    rows: list[FileRow] = []
    while found := turn(desk.db, watched, desk.clock.now_ms(), time.time()):
        rows += found
    for row in rows:
        print(json.dumps(_object(row)) if options.json else row.report)
    left = len(waiting(watched))
    if not options.json and (left or not rows):
        print(f"{left} files wait until nobody has changed them for {watched.still_s} s" if left else f"nothing waits in {watched.folder}")
    return 1 if any(row.state is State.REFUSED for row in rows) else 0


def _status(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        rows = folder_rows.latest(conn, options.limit, State.REFUSED if options.refused else None)
    for row in rows:
        print(json.dumps(_object(row)) if options.json else _line(row))
    if not options.json:
        _tell_folder(options, bool(rows))
    return 0


def _tell_folder(options: argparse.Namespace, is_any: bool) -> None:
    config = load_config(options.config).exchange
    if not config.in_dir:
        print("no folder is watched: set exchange.in_dir in the configuration")
        return
    place = Path(config.in_dir)
    count = len(waiting(Watched(place, config.still_s, ""))) if place.is_dir() else 0
    print(f"{'' if is_any else 'no file yet; '}{count} wait in {place}")


def _line(row: FileRow) -> str:
    where = f"{row.source}/{row.name}" if row.source else row.name
    what = f"\n        {first_fault(row)}" if row.state is State.REFUSED else f"  {row.added} new, {row.conflicts} contradict"
    when = utc_text((row.done_ms or row.seen_ms) // 1000 * 1000)
    return f"{row.number:6}  {when}  {row.state.value:8} {where[:WIDTH]}{what}"


def first_fault(row: FileRow) -> str:
    """The first problem of a report."""
    return next((line.strip() for line in row.report.splitlines() if line.startswith("  ")), "")


def _object(row: FileRow) -> dict[str, Any]:
    return {
        "file_no": row.number, "source": row.source, "name": row.name, "kept_as": row.kept_name, "size": row.size, "state": row.state.value,
        "new": row.added, "conflicts": row.conflicts, "tries": row.tries, "at": utc_text(row.done_ms or row.seen_ms),
        "report": row.report.splitlines(),
    }  # fmt: skip
