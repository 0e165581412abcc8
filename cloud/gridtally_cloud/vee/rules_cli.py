"""`gridtally-mdm vee rules`: load, list and show rule sets, and say which usage point goes by which."""

from __future__ import annotations

import argparse
from dataclasses import replace

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, document_of, with_desk
from gridtally_cloud.store.days import date_of, day_of
from gridtally_cloud.vee.classes import BUILT_IN, add_rule_set, point_of, rule_sets, rules_for, set_point
from gridtally_cloud.vee.documents import BUILT_IN_CLASS, day_named, shown


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `rules` to the commands below `vee`."""
    about = "rule sets by class: load, list, show, and which usage point goes by which"
    rules = commands.add_parser("rules", help=about, description=about, epilog="example: gridtally-mdm vee rules load shops.json")
    below = rules.add_subparsers(required=True, metavar="load|list|show|class")
    load = below.add_parser("load", help="load the next version of a class", epilog="example: gridtally-mdm vee rules load shops.json")
    load.add_argument("document", help="JSON file; docs/vee.md says what may be in it")
    load.set_defaults(run=with_desk(open_desk, _load))
    listed = below.add_parser("list", help="every version there is", epilog="example: gridtally-mdm vee rules list")
    listed.add_argument("--json", action="store_true", help="one JSON object a line")
    listed.set_defaults(run=with_desk(open_desk, _list))
    show = below.add_parser("show", help="every parameter in force for a usage point", epilog="example: gridtally-mdm vee rules show 7")
    show.add_argument("usage_point", type=int)
    show.add_argument("--on", help="local day (default: today, UTC)")
    show.set_defaults(run=with_desk(open_desk, _show))
    put = below.add_parser("class", help="put a usage point into a class, name its check meter's usage point",
                           epilog="example: gridtally-mdm vee rules class 7 shops --check 8 --irregular-until 2027-01-31")  # fmt: skip
    put.add_argument("usage_point", type=int)
    put.add_argument("name", help=f"class with a rule set, or {BUILT_IN_CLASS}")
    put.add_argument("--check", type=int, help="usage point whose meter measures the same energy again; 0 for none any more")
    put.add_argument("--irregular-until", dest="until", help="last day the class `irregular` stands in")
    put.set_defaults(run=with_desk(open_desk, _class))


def _load(desk: Desk, options: argparse.Namespace) -> int:
    text, now_ms = document_of(options.document), desk.clock.now_ms()
    with desk.db.write() as conn:
        read = add_rule_set(conn, text, day_of(now_ms, "UTC"), now_ms, ACTOR)
    print(f"class {read.class_name}, version {read.version}, judges days from {read.first_day} on")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        known = rule_sets(conn)
    if not options.json:
        print(f"{BUILT_IN_CLASS:20} version 1    from the beginning, built in")
    for read in known:
        if options.json:
            print(read.text)
        else:
            off = f", without {', '.join(sorted(read.rules.off))}" if read.rules.off else ""
            print(f"{read.class_name:20} version {read.version:<4} from {read.first_day}{off}")
    return 0


def _show(desk: Desk, options: argparse.Namespace) -> int:
    day = day_named("--on", options.on) if options.on else day_of(desk.clock.now_ms(), "UTC")
    with desk.db.read() as conn:
        rules = rules_for(conn, point_of(conn, options.usage_point), day)
    print(f"usage point {options.usage_point} goes by {rules.name} on {date_of(day).isoformat()}; other than built in is marked *")
    usual = shown(BUILT_IN)
    for path, value in shown(rules).items():
        print(f"{'*' if value != usual[path] else ' '} {path:38} {value if path != 'off' else ', '.join(value) or 'none'}")
    return 0


def _class(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        point = replace(point_of(conn, options.usage_point), class_name=options.name)
        if options.check is not None:
            point = replace(point, check_point_no=options.check or None)
        if options.until:
            point = replace(point, irregular_until_day=day_named("--irregular-until", options.until))
        set_point(conn, options.usage_point, point, desk.clock.now_ms(), ACTOR)
    check = f", checked by the meter of usage point {point.check_point_no}" if point.check_point_no else ""
    print(f"usage point {options.usage_point} is of class {point.class_name}{check}")
    return 0
