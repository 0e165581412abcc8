"""`gridtally-mdm person`: everything that is held about a person as a file; and its erasure."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.person import erasing, listed, showing
from gridtally_cloud.person.again import again
from gridtally_cloud.person.held import APART, WHYS
from gridtally_cloud.person.links import Person, find
from gridtally_cloud.person.moving_out import move_out
from gridtally_cloud.person.obstacles import obstacles
from gridtally_shared.errors import ConfigError, RefusedCommand

ABOUT = ("What is held about a customer, table by table: shown to the person, or erased. Books, journals and readings stay under the "
         "customer's number; docs/person.md says what, why and until when.")  # fmt: skip


def add_parser(commands: Any, open_desk: OpenDesk) -> None:
    """Add `person` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser("person", help="what is held about a person: show all of it, or erase it", description=ABOUT,
                                 epilog="example: gridtally-mdm person erase 12")  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="export|erase|again|moved-out")
    export = actions.add_parser("export", help="all of it as one JSON file", epilog="example: gridtally-mdm person export 12 --out 12.json")
    export.add_argument("customer", type=int, help="number of the customer")
    export.add_argument("--out", default="", help="the new file (person-NUMBER.json); - for the output")
    export.set_defaults(run=with_desk(open_desk, _export))
    example = "gridtally-mdm person erase 12 --apply --reason 'letter of 20 November' --by dora"
    erase = actions.add_parser("erase", help="what would go and what stays; with --apply do it", epilog=f"example: {example}")
    erase.add_argument("customer", type=int, help="number of the customer")
    erase.add_argument("--apply", action="store_true", help="erase; without it nothing is changed")
    erase.add_argument("--reason", default="", help="why: who asked, how and when; kept in the audit, without the person's data")
    erase.add_argument("--by", default="", help="who does it")
    erase.add_argument("--vacuum", action="store_true", help="then write the files of the store anew: nothing is left in unused places")
    erase.set_defaults(run=with_desk(open_desk, _erase))
    once_more = actions.add_parser("again", help="after an older copy of the store was put back: erase whom the list names",
                                   epilog="example: gridtally-mdm person again")  # fmt: skip
    once_more.set_defaults(run=with_desk(open_desk, _again))
    out = actions.add_parser("moved-out", help="close an account at the end of its last bill",
                             epilog="example: gridtally-mdm person moved-out 7")  # fmt: skip
    out.add_argument("account", type=int, help="number of the account")
    out.add_argument("--by", default=ACTOR, help="who does it")
    out.set_defaults(run=with_desk(open_desk, _moved_out))


def _export(desk: Desk, options: argparse.Namespace) -> int:
    now_ms, name = desk.clock.now_ms(), options.out or f"person-{options.customer}.json"
    with desk.db.read() as conn, _new_file(name) as out:
        rows = showing.write(conn, find(conn, options.customer), now_ms, out)
    with desk.db.write() as conn:
        record(conn, now_ms, ACTOR, "person.shown", f"customer:{options.customer}", f"{rows} rows")
    if name != "-":
        print(f"{rows} rows of customer {options.customer} are in {name}")
    return 0


@contextlib.contextmanager
def _new_file(name: str) -> Iterator[TextIO]:
    """For its owner alone; what was begun does not stay behind a refusal."""
    if name == "-":
        yield sys.stdout
        return
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError("--out", name, f"{error.strerror}: name a file that is not there yet") from None
    try:
        with open(handle, "w", encoding="utf-8") as out:
            yield out
    except BaseException:
        Path(name).unlink()
        raise


def _erase(desk: Desk, options: argparse.Namespace) -> int:
    if not options.apply:
        return _dry(desk, options.customer)
    file = desk.data_dir / listed.NAME
    done = erasing.erase(desk.db, file, options.customer, options.by, options.reason, desk.clock.now_ms())
    if done.before:
        print(f"customer {done.customer_no} was erased on {_day(done.erased_ms)}: nothing to do")
    else:
        print(f"customer {done.customer_no} is erased: {done.changed} rows changed, {done.deleted} deleted; put on {file}")
    if options.vacuum:
        erasing.vacuum(desk.db)
        print("the files of the store are written anew")
    elif not done.before:
        print("unused places of the files may hold older versions of rows: the same with --vacuum writes the files anew")
    return 0


def _dry(desk: Desk, customer_no: int) -> int:
    """Exit code 7 where something stands against it."""
    with desk.db.read() as conn:
        person, before_ms = find(conn, customer_no), erasing.erased_ms(conn, customer_no)
        if before_ms is not None:
            print(f"customer {customer_no} was erased on {_day(before_ms)}: nothing to do")
            return 0
        found, against = erasing.parts(conn, person), obstacles(conn, person)
    _print_plan(person, found)
    if against:
        print("\nit can not be done yet:\n  " + "\n  ".join(against))
        return RefusedCommand.exit_code
    print("\nnothing was changed; --apply --reason ... --by ... does it, and it can not be taken back")
    return 0


def _print_plan(person: Person, found: tuple[erasing.Part, ...]) -> None:
    numbers = ", ".join(map(str, person.accounts)) or "none"
    print(f"customer {person.customer_no}, accounts {numbers}\n\n{'goes from':22}{'rows':>8}  what")
    for part in found:
        if part.gone:
            print(f"{part.held.table:22}{part.rows:>8,}  {part.gone}")
    print("\nstays, under the customer's number:")
    for name, why in WHYS.items():
        tables = [f"{part.held.table} {part.rows:,}" for part in found if part.held.why == name and not part.held.goes]
        if tables:
            print(f"  {why.text}; {why.until}:\n    {', '.join(tables)}")
    print("kept whole, with others in the same rows:")
    for table, why in APART.items():
        print(f"  {table:18}{why.text}; {why.until}")


def _again(desk: Desk, _options: argparse.Namespace) -> int:
    """Exit code 7 where somebody can not be erased yet."""
    results = again(desk.db, desk.data_dir / listed.NAME, ACTOR, desk.clock.now_ms())
    for result in results:
        print(result.text)
    if not results:
        print("nobody on the list of erasures is in the store")
    return RefusedCommand.exit_code if any(not result.done for result in results) else 0


def _moved_out(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        end_ms = move_out(conn, options.account, options.by, desk.clock.now_ms())
    print(f"account {options.account} is closed since {_day(end_ms)}")
    return 0


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
