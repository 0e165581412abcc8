"""`gridtally-mdm import intervals` and `gridtally-mdm export intervals`: files of interval data in and out (docs/exchange.md)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.exchange import exporting, folder_cli, importing, schedule_cli
from gridtally_cloud.exchange.dates import ORDERS
from gridtally_cloud.exchange.folder_report import conflict_lines, sentence
from gridtally_cloud.exchange.formats import FORMATS, LARGEST_BYTES, read
from gridtally_cloud.exchange.importing import Taken
from gridtally_cloud.exchange.points import Point, point_of
from gridtally_cloud.exchange.progress import Bar
from gridtally_cloud.exchange.record import Asked, Clock, Content, Problem, Series
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES, UNITS, own_unit
from gridtally_cloud.store.days import utc_text
from gridtally_shared.errors import ConfigError

SHOWN = 20
"""Problems, notes and conflicts printed; --json has all that are kept."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `import` and `export` to the commands of gridtally-mdm."""
    into = _action(commands, "import", "take files of others in")
    _add_import(into, open_desk)
    folder_cli.add_parsers(into, open_desk)
    out = _action(commands, "export", "write files for others")
    _add_export(out, open_desk)
    schedule_cli.add_parsers(out, open_desk)


def _action(commands: Any, name: str, about: str) -> Any:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}: interval data of usage points.",
                                 epilog=f"example: gridtally-mdm {name} intervals --help")  # fmt: skip
    return parser.add_subparsers(required=True, metavar="what")


def _formats() -> str:
    return ", ".join(f"{f.name} ({f.about})" for f in FORMATS.values())


def _add_import(actions: Any, open_desk: OpenDesk) -> None:
    parser = actions.add_parser(
        "intervals", help="interval data from a file, all of it or nothing",
        description=f"Interval data of one usage point from a file, all of it or nothing. Formats: {_formats()}.",
        epilog="example: gridtally-mdm import intervals november.csv --format auto --usage-point 17 --dry-run",
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE", help="the file; .gz is opened")
    parser.add_argument("--usage-point", required=True, metavar="ID", help="number or label of the usage point")
    parser.add_argument("--format", choices=("auto", *FORMATS), default="auto", help="default auto: as the file looks")
    parser.add_argument("--file-id", default="", metavar="NAME", help="which usage point of the file, where it holds several (NMI, ESI ID)")
    parser.add_argument("--unit", default="", help=f"unit of a column that does not tell it: {', '.join(u.name for u in UNITS.values())}")
    parser.add_argument("--column", default="", metavar="NAME", help="the column of a CSV file to take")
    parser.add_argument("--quantity", default="", metavar="NAME", choices=("", "import", "export", *INTERVAL_QUANTITIES),
                        help="what it measures, where the file does not say: import, export, or one of ours")  # fmt: skip
    parser.add_argument("--clock", choices=[c.value for c in Clock],
                        help="what times without an offset are: local, standard (never summer time) or utc")  # fmt: skip
    parser.add_argument("--dates", choices=ORDERS, default="", help="what 01/02/2026 is in a CSV file: day first, or month first")
    parser.add_argument("--contradict", action="store_true", help="take it even if it contradicts most of what is held")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=with_desk(open_desk, _import))


def _add_export(actions: Any, open_desk: OpenDesk) -> None:
    parser = actions.add_parser(
        "intervals", help="interval data of a usage point into a file",
        description=f"Interval data of one usage point as it stands, estimates marked. Formats: {_formats()}.",
        epilog="example: gridtally-mdm export intervals --usage-point 17 --from 2026-11-01 --to 2026-11-30 --format csv --out november.csv",
    )  # fmt: skip
    parser.add_argument("--usage-point", required=True, metavar="ID", help="number or label of the usage point")
    parser.add_argument("--from", dest="from_text", required=True, metavar="DAY", help="first local day, or a time")
    parser.add_argument("--to", dest="to_text", required=True, metavar="DAY", help="last local day, or the time at which it ends")
    parser.add_argument("--format", choices=tuple(FORMATS), default="csv", help="default csv")
    parser.add_argument("--file-id", default="", metavar="NAME", help="what the file calls the usage point (default its number)")
    parser.add_argument("--quantity", action="append", default=[], metavar="NAME", choices=INTERVAL_QUANTITIES,
                        help="only this quantity; may be given again (default all)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: standard output)")
    parser.set_defaults(run=with_desk(open_desk, _export))


# ---- import ---------------------------------------------------------------------------------------------------


def _import(desk: Desk, options: argparse.Namespace) -> int:
    now_ms = desk.clock.now_ms()
    with desk.db.read() as conn:
        point = point_of(conn, options.usage_point)
    clock = Clock(options.clock) if options.clock else None
    asked = Asked(point.zone, clock, options.unit, options.quantity, options.column, options.dates)
    content = read(_bytes(options.file), asked, options.format)
    with desk.db.read() as conn:
        series = importing.chosen(conn, content, point, options.file_id) if content.series else ()
    problems = list(content.problems) or importing.checked(series, point, now_ms)
    taken = [] if problems else _taken(desk, options, series, point, now_ms)
    _told(options, point, Content(series, tuple(problems), content.notes), taken)
    return 1 if problems else 0


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError("FILE", str(path), f"it can not be read: {error.strerror}") from None


def _taken(desk: Desk, options: argparse.Namespace, series: tuple[Series, ...], point: Point, now_ms: int) -> list[Taken]:
    bar = Bar(sys.stderr, "intervals")
    try:
        if options.dry_run:
            with desk.db.read() as conn:
                return _plausible(options, importing.compare(conn, series, point, bar.at), point)
        with desk.db.write() as conn:
            taken = _plausible(options, importing.take(conn, series, point, now_ms, bar.at), point)
            new, other = sum(t.new for t in taken), sum(len(t.conflicts) for t in taken)
            detail = f"{options.file.name}: {new} new, {other} contradict"
            record(conn, now_ms, ACTOR, "intervals.import", f"usage_point:{point.number}", detail)
            return taken
    finally:
        bar.end()


def _plausible(options: argparse.Namespace, taken: list[Taken], point: Point) -> list[Taken]:
    if not options.contradict:
        importing.check_contradictions(taken, point)
    return taken


def _told(options: argparse.Namespace, point: Point, content: Content, taken: list[Taken]) -> None:
    if options.json:
        print(json.dumps(_report(options, point, content, taken), indent=2))
        return
    for problem in content.problems[:SHOWN]:
        print(problem)
    if content.problems:
        more = len(content.problems) - SHOWN
        print(f"{f'and {more} more; ' if more > 0 else ''}nothing was taken: mend the file and bring it again")
    for note in content.notes[:SHOWN]:
        print(f"note: {note}")
    for each in taken:
        print(sentence(each, options.dry_run))
        for line in conflict_lines(each, SHOWN):
            print(line)


def _report(options: argparse.Namespace, point: Point, content: Content, taken: list[Taken]) -> dict[str, Any]:
    of = {id(each.series): each for each in taken}
    return {
        "file": options.file.name, "usage_point": point.number, "zone": point.zone, "dry_run": options.dry_run,
        "taken": bool(taken) and not options.dry_run,
        "series": [_series_report(each, of.get(id(each))) for each in content.series],
        "problems": [_fault(p) for p in content.problems], "notes": [_fault(p) for p in content.notes],
    }  # fmt: skip


def _series_report(series: Series, taken: Taken | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "file_id": series.point, "quantity": series.quantity, "unit": own_unit(series.quantity), "interval_s": series.period_s,
        "from": utc_text(series.rows[0].start_ms), "to": utc_text(series.rows[-1].start_ms + series.period_s * 1000),
        "intervals": len(series.rows), "missing": sum(row.value is None for row in series.rows), "total": series.total,
    }  # fmt: skip
    if taken is not None:
        told |= {"new": taken.new, "unchanged": taken.unchanged, "replaced": taken.replaced, "waiting": taken.waiting,
                 "conflicts": [{"line": c.row.line, "start": utc_text(c.row.start_ms), "value": c.row.value, "held": c.held}
                               for c in taken.conflicts]}  # fmt: skip
    return told


def _fault(problem: Problem) -> dict[str, Any]:
    return {"line": problem.line, "field": problem.field, "value": problem.value, "text": problem.text}


# ---- export ---------------------------------------------------------------------------------------------------


def _export(desk: Desk, options: argparse.Namespace) -> int:
    bar = Bar(sys.stderr, "intervals")
    with desk.db.read() as conn:
        point = point_of(conn, options.usage_point)
        from_ms, to_ms = exporting.span(options.from_text, options.to_text, point.zone)
        name = options.file_id or str(point.number)
        series = exporting.series_of(conn, point, name, from_ms, to_ms, tuple(options.quantity), bar.at)
    bar.end()
    if not series:
        raise ConfigError("--from", options.from_text, f"no interval is held from then to {options.to_text}")
    _put(options.out, FORMATS[options.format].write(series, Asked(point.zone)))
    return 0


def _put(path: Path | None, data: bytes) -> None:
    """Whole or not at all: written beside and moved into place."""
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        raise ConfigError("--out", str(path), f"it can not be written: {error.strerror}") from None
