"""`gridtally-mdm export schedule | schedules | unschedule | due`: files that go out by themselves, every day or month."""

from __future__ import annotations

import argparse
import json
import os
import socket
from pathlib import Path
from typing import Any

from gridtally_cloud.config import load_config
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.exchange.delivering import deliver_due
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.schedules import DONE, EVERY, Run, Schedule, all_schedules, latest_runs
from gridtally_cloud.exchange.scheduling import Wish, book, unbook
from gridtally_cloud.exchange.sending import send_due
from gridtally_cloud.exchange.validated import missing
from gridtally_cloud.exchange.wanted import KINDS, PROFILE
from gridtally_cloud.store.days import date_of, utc_text
from gridtally_shared.quantities import BY_NAME


def add_parsers(actions: Any, open_desk: OpenDesk) -> None:
    """Add the actions of schedules to `gridtally-mdm export`."""
    _add_schedule(actions, open_desk)
    table = (
        ("schedules", "the schedules and their last runs", _list, "export schedules"),
        ("due", "write now what is due, as the worker does by itself", _due, "export due"),
    )
    for name, about, work, example in table:
        words = {"help": about, "description": f"{about[0].upper()}{about[1:]}.", "epilog": f"example: gridtally-mdm {example}"}
        parser = actions.add_parser(name, **words)
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.set_defaults(run=with_desk(open_desk, work))
    end = actions.add_parser("unschedule", help="end a schedule", description="Ends a schedule. What was written stays.",
                             epilog="example: gridtally-mdm export unschedule market")  # fmt: skip
    end.add_argument("name", metavar="NAME")
    end.set_defaults(run=with_desk(open_desk, _end))


def _add_schedule(actions: Any, open_desk: OpenDesk) -> None:
    parser = actions.add_parser(
        "schedule", help="let files go out every day or month",
        description="Data into a folder or to a recipient, every day or month at a local time. A run that was missed is made good once.",
        epilog="example: gridtally-mdm export schedule market --format lse --every day --at 06:00 --folder /srv/out",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="letters, digits, - and _; file names begin with it")
    parser.add_argument("--format", choices=tuple(FORMATS), required=True)
    parser.add_argument("--every", choices=EVERY, required=True, help="day: the data of one day; month: of the month before")
    parser.add_argument("--at", required=True, metavar="HH:MM", help="local time of the run")
    parser.add_argument("--zone", default="", help="time zone of --at (default that of the configuration)")
    parser.add_argument("--ago", type=int, default=1, metavar="N",
                        help="every day: the day N days before; every month: run on its Nth day (default 1)")  # fmt: skip
    parser.add_argument("--kind", choices=KINDS, default=PROFILE,
                        help="reads: registers as a day ends; intervals: of energy; profile: all that is held (default)")  # fmt: skip
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to")
    parser.add_argument("--to", default="", metavar="RECIPIENT", help="or whom to: a name of 'gridtally-mdm recipient list'")
    parser.add_argument("--usage-point", action="append", default=[], metavar="ID", help="only this one; may be given again (default all)")
    parser.add_argument("--quantity", action="append", default=[], metavar="NAME", choices=tuple(BY_NAME),
                        help="only this quantity; may be given again (default all the format carries)")  # fmt: skip
    parser.add_argument("--by-label", action="store_true", help="name usage points by their labels in the files (NMI, ESI ID)")
    parser.add_argument("--validated", action="store_true", help="only days VEE lets stand; the others go later, and raise an alarm")
    parser.add_argument("--sender", default="", metavar="DUNS", help="lse: the market's file names, which begin with this number")
    parser.set_defaults(run=with_desk(open_desk, _schedule))


def _schedule(desk: Desk, options: argparse.Namespace) -> int:
    now_ms, config = desk.clock.now_ms(), load_config(options.config)
    wish = Wish(options.name, options.format, options.every, options.at, options.zone or config.zone, options.folder, options.to,
                options.kind, options.ago, tuple(options.usage_point), tuple(options.quantity), options.by_label, options.sender,
                options.validated)  # fmt: skip
    with desk.db.write() as conn:
        schedule = book(conn, wish, config.exchange.in_dir, now_ms, ACTOR)
    print(f"{schedule.name}: first run {utc_text(schedule.next_ms(now_ms))}, {schedule.place}")
    return 0


def _end(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        unbook(conn, options.name, desk.clock.now_ms(), ACTOR)
    print(f"{options.name}: ended")
    return 0


def _due(desk: Desk, options: argparse.Namespace) -> int:
    """1 where a run could not be written."""
    runs = send_due(desk.db, f"{socket.gethostname()}:{os.getpid()}", desk.clock.now_ms)
    taken = deliver_due(desk.db, desk.clock.now_ms())
    with desk.db.read() as conn:
        by_name = {schedule.name: schedule for schedule in all_schedules(conn)}
    for run in runs:
        print(json.dumps(_run_object(by_name[run.name], run)) if options.json else _run_line(by_name[run.name], run))
    if not options.json and (taken or not runs):
        print(f"{taken} deliveries were taken" if taken else "nothing is due")
    return 1 if any(run.state == "failed" for run in runs) else 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    """1 where a day is missing."""
    now_ms = desk.clock.now_ms()
    with desk.db.read() as conn:
        lacks = missing(conn)
        found = [(schedule, latest_runs(conn, schedule.name, 5)) for schedule in all_schedules(conn)]
    for schedule, runs in found:
        if options.json:
            lacking = [date_of(each.day).isoformat() for each in lacks if each.schedule == schedule.name]
            print(json.dumps(_object(schedule, runs, now_ms) | {"missing": lacking}))
            continue
        points = f"{len(schedule.points)} usage points" if schedule.points else "all usage points"
        when = f"every {schedule.every} at {_time(schedule)} {schedule.zone}"
        print(f"{schedule.name}: {schedule.kind} as {schedule.format}, {points}, {when} {schedule.place}")
        print(f"  next {utc_text(schedule.next_ms(now_ms))}")
        for run in runs:
            print(f"  {_run_line(schedule, run)}")
        for each in [each for each in lacks if each.schedule == schedule.name]:
            print(f"  MISSING: {date_of(each.day).isoformat()} at {each.points} usage points, since {utc_text(each.since_ms)}")
    if not found and not options.json:
        print("no file goes out by itself; see 'gridtally-mdm export schedule --help'")
    return 1 if lacks else 0


def _time(schedule: Schedule) -> str:
    return f"{schedule.minute // 60:02}:{schedule.minute % 60:02}"


def _run_line(schedule: Schedule, run: Run) -> str:
    held = f"{run.files} files, {run.intervals} intervals" if run.files else "nothing was held"
    what = "; ".join((held, run.reason)) if run.state == DONE and run.reason else run.reason or held
    more = f"; tried again {utc_text(run.until_ms // 1000 * 1000)}" if run.state == "failed" else ""
    return f"{run.name} {schedule.title(run.day)} {run.state} {utc_text(run.at_ms // 1000 * 1000)}: {what}{more}"


def _run_object(schedule: Schedule, run: Run) -> dict[str, Any]:
    return {"name": run.name, "data": schedule.title(run.day), "state": run.state, "files": run.files, "intervals": run.intervals,
            "reason": run.reason, "at": utc_text(run.at_ms)}  # fmt: skip


def _object(schedule: Schedule, runs: tuple[Run, ...], now_ms: int) -> dict[str, Any]:
    return {
        "name": schedule.name, "format": schedule.format, "usage_points": list(schedule.points), "quantities": list(schedule.quantities),
        "every": schedule.every, "at": _time(schedule), "zone": schedule.zone, "ago": schedule.ago, "folder": schedule.folder,
        "recipient": schedule.recipient, "kind": schedule.kind,
        "next": utc_text(schedule.next_ms(now_ms)), "runs": [_run_object(schedule, run) for run in runs],
    }  # fmt: skip
