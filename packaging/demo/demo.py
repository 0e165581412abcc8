"""`make demo`: everything on this machine, from the meter to money. Live picture, or headless with a report.

    make demo
    make demo ARGS="--headless --days 2 --report demo.json"
    make demo ARGS="--broker mosquitto"

One home goes the whole way: a low-balance message, emergency credit, a cut while offline, a keypad code, and why it was off.

Exit codes: 0 all is well (headless: nothing lost, doubled or mismatched, all five shown), 1 something is amiss, 3 something is missing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import FrameType
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import select

from demo import facts, gather, report, view
from demo import street as acacia
from demo.deployment import BROKERS, Deployment, Plan
from demo.household import Diary, Household
from demo.narrator import Line, lines, summary
from demo.processes import DemoFailed, wait_for
from demo.story import Act, CutUplink, MendUplink, Pay, Story
from gridtally_cloud.customers.tables import account
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.errors import GridtallyError

DAY_IN_S = 90.0
TURN_S = 0.25
SETTLE_S = 120.0

console = Console()
_BAR = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn())


class Demo:
    """The running deployment, its story, and a read-only eye on the MDM's store."""

    def __init__(self, deployment: Deployment, days: float | None) -> None:
        self.deployment = deployment
        self.began_s = time.monotonic()
        self.db = Database(deployment.store_file)
        with self.db.read() as conn:
            home = facts.home(conn, deployment.street.meters[0].serial)
        self.story = Story(deployment.start_ms, days, home.account_no)
        self.household = Household(deployment, home.account_no, home.name, Diary(deployment.money_file, home.account_no))
        self.stop = Event()

    def now_ms(self) -> int:
        assert self.deployment.clock is not None
        return self.deployment.clock.now_ms()

    def turn(self) -> None:
        """One look around: whether everything still runs, and what the story asks for."""
        self.deployment.processes.check()
        with self.db.read() as conn:
            dark = facts.dark_homes(conn)
        self.household.check()
        for act in self.story.due(self.now_ms(), dark, self.household.journal()):
            self._do(act)

    def lines(self) -> tuple[Line, ...]:
        """The chapters of the home's story, for people."""
        return lines(self.household.shown(self.story), self.household.name)

    def _do(self, act: Act) -> None:
        relay = self.deployment.relay
        assert relay is not None
        if isinstance(act, CutUplink):
            relay.cut()
        elif isinstance(act, MendUplink):
            relay.mend()
        elif isinstance(act, Pay):
            self.deployment.mdm_tool("credit", str(act.account_no), acacia.RECHARGE)
        else:
            self.household.do(act)

    # ---- live ------------------------------------------------------------------------------------------------

    def live(self) -> int:
        eye = gather.Eye(self.deployment, self.db, self.story, self.lines)
        with Live(console=console, screen=True, auto_refresh=False) as screen:
            while not self.stop.is_set():
                self.turn()
                screen.update(view.draw(eye.look(self.now_ms())), refresh=True)
                self.stop.wait(TURN_S)
        return 0

    # ---- headless --------------------------------------------------------------------------------------------

    def headless(self, path: Path | None) -> int:
        self._live_on()
        if self.stop.is_set():
            return 130
        self.household.finish()
        made = self._settled()
        if path is not None:
            made.write(path)
        print_report(made)
        return 1 if made.amiss else 0

    def _live_on(self) -> None:
        """Until the last day is over, with a bar on a terminal and a line every six hours elsewhere."""
        end_ms = self.story.end_ms
        assert end_ms is not None
        said_ms, told = 0, 0
        with Progress(*_BAR, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=end_ms - self.story.start_ms)
            while (now_ms := self.now_ms()) < end_ms and not self.stop.is_set():
                self.turn()
                bar.update(task, completed=now_ms - self.story.start_ms, description=self._moment(now_ms))
                if not console.is_terminal and now_ms - said_ms >= 6 * MS_PER_HOUR:
                    said_ms = now_ms
                    console.print(f"  {self._moment(now_ms)}", highlight=False)
                told = self._tell(told)
                self.stop.wait(TURN_S)

    def _tell(self, told: int) -> int:
        """Print each chapter once it is written; how many there are."""
        written = [line for line in self.lines() if line.at]
        for line in written[told:]:
            console.print(f"  {line.at}  {line.title}: {line.text}", highlight=False, markup=False, soft_wrap=True)
        return len(written)

    def _moment(self, now_ms: int) -> str:
        local = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(acacia.ZONE))
        status = facts.status(self.deployment.status_file)
        return f"{local:%a %H:%M}  uplink {'cut' if self.story.cut else 'up ':3}  {status.get('intervals', 0):6} intervals at the edge"

    def _settled(self) -> report.Report:
        """Time slows down, the outbox drains, the bills are issued; then count."""
        deployment, story = self.deployment, self.story
        assert deployment.clock is not None
        assert deployment.relay is not None
        assert story.end_ms is not None
        deployment.clock.set_factor(1.0)
        if story.cut:
            story.mended(self.now_ms())
            deployment.relay.mend()
        bills = self._issue_bills(story.end_ms)
        self.household.ask_late()
        deadline = time.monotonic() + SETTLE_S
        while True:
            made = report.make(self.db, deployment.money_file, deployment.street, story, story.end_ms, deployment.plan.broker, bills,
                               time.monotonic() - self.began_s, self.household.shown(story))  # fmt: skip
            if not made.amiss or time.monotonic() > deadline:
                return made
            self.stop.wait(1.0)

    def _issue_bills(self, end_ms: int) -> int:
        """A statement or bill for every account over the whole days of the run."""
        zone = ZoneInfo(acacia.ZONE)
        days = [datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).date().isoformat() for ms in (self.story.start_ms, end_ms)]
        if days[0] == days[1]:
            return 0
        wait_for(lambda: self._drained(), SETTLE_S, "the DCU's outbox drains")
        with self.db.read() as conn:
            numbers = list(conn.execute(select(account.c.account_no).order_by(account.c.account_no)).scalars())
        for number in numbers:
            self.deployment.mdm_tool("bill", str(number), "--from", days[0], "--to", days[1])
        return len(numbers)

    def _drained(self) -> bool:
        uplink = facts.status(self.deployment.status_file).get("uplink", {})
        return bool(uplink) and uplink["waiting"] == uplink["in_flight"] == 0


def print_report(made: report.Report) -> None:
    console.print(
        f"\n{made.meters} meters ({', '.join(made.protocols)}) over {made.days:g} days, broker {made.broker}, {made.wall_s:.0f} s\n"
        f"  intervals      {made.intervals_stored} of {made.intervals_expected} stored, {made.intervals_duplicated} doubled\n"
        f"  uplink         {made.uplink_outages} outage\n"
        f"  supply         {made.cuts} cut, {made.cuts_while_offline} of them while offline; {made.restores} restored\n"
        f"  ledger         {made.ledger_mismatches} mismatches between edge and cloud\n"
        f"  checkpoints    {made.checkpoints} countersigned\n"
        f"  bills          {made.bills}\n",
        highlight=False,
    )
    for line in summary(made.shown):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    for text in made.amiss:
        console.print(f"AMISS: {text}", style="bold red")
    if not made.amiss:
        console.print("nothing lost, nothing doubled, nothing mismatched; all five things shown", style="bold green")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headless", action="store_true", help="no live picture; run to the end and report")
    parser.add_argument("--days", type=float, default=2.0, help="virtual days of a headless run (2), at least 1")
    parser.add_argument("--report", type=Path, help="write the report as JSON to this file")
    parser.add_argument("--broker", choices=BROKERS, default="embedded", help="embedded, or Debian's mosquitto")
    parser.add_argument("--dlms", type=int, default=8, help="DLMS meters on a serial line (8)")
    parser.add_argument("--modbus", type=int, default=8, help="Modbus meters on a serial line (8)")
    parser.add_argument("--mesh", type=int, default=4, help="DLMS meters of an IP mesh (4)")
    parser.add_argument("--coordinator", type=int, default=4, help="DLMS meters behind a coordinator modem (4)")
    parser.add_argument("--day-seconds", type=float, default=DAY_IN_S, help=f"real seconds of a virtual day ({DAY_IN_S:.0f})")
    parser.add_argument("--folder", type=Path, help="keep all files in this folder (default: a temporary one)")
    options = parser.parse_args(argv)
    if options.days < 1 or options.dlms < 1:
        parser.error("the story needs a day and a DLMS meter: --days 1 and --dlms 1 are the least")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if not options.headless and not console.is_terminal:
        console.print("no terminal here: running headless (say so with --headless)", highlight=False)
        options.headless = True
    with tempfile.TemporaryDirectory(prefix="gridtally-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        plan = Plan(options.broker, options.dlms, options.modbus, MS_PER_DAY / 1000 / options.day_seconds,
                    mesh=options.mesh, coordinator=options.coordinator, story=True)  # fmt: skip
        deployment = Deployment(folder, plan)
        try:
            return _run(deployment, options)
        except (DemoFailed, GridtallyError) as error:
            console.print(f"gridtally demo: {error}", style="red", highlight=False)
            return 3
        except KeyboardInterrupt:
            return 130
        finally:
            deployment.stop()


def _run(deployment: Deployment, options: argparse.Namespace) -> int:
    console.print(f"gridtally demo in {deployment.folder}", highlight=False)
    deployment.start(lambda part: console.print(f"  starting: {part}", highlight=False))
    demo = Demo(deployment, options.days if options.headless else None)

    def ended(_number: int, _frame: FrameType | None) -> None:
        demo.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ended)
    for name, value in gather.addresses(deployment):
        console.print(f"  {name:12} {value}", highlight=False)
    try:
        return demo.headless(options.report) if options.headless else demo.live()
    finally:
        demo.household.close()


if __name__ == "__main__":
    sys.exit(main())
