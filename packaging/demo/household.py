"""The home that goes the whole way: reads its page, takes the emergency credit, goes to town for a code and types it at home.

Everything is done as a person would: at the pages, with the MDM's command at the desk, at the concentrator's counter. One
thread does it beside the launcher's own, so that the picture goes on. While it waits for an answer virtual time runs at the pace of real
time: the seconds from credit to supply are honest ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event, Lock
from zoneinfo import ZoneInfo

from demo import facts, pages
from demo import street as acacia
from demo.chapters import Chapters, Notice
from demo.deployment import Deployment
from demo.processes import wait_for
from demo.shown import EmergencyCredit, Explanation, KeypadCode, LowBalance, OfflineCut, Shown
from demo.story import Act, AskPortal, BringCode, ReadMessage, Story, TakeEmergency
from gridtally_shared.messages.words import Words
from gridtally_shared.money import display

LINES_SAID = 4
SUPPLY_BACK_S = 120.0
JOURNAL_THERE_S = 120.0
WORDS = Words("en", acacia.CURRENCY, ZoneInfo(acacia.ZONE))
MS = 1_000


def stamp(at_ms: int) -> str:
    """Local time of the street, to the second."""
    return datetime.fromtimestamp(at_ms / MS, WORDS.zone).isoformat(timespec="seconds")


def told(notice: Notice) -> str:
    """A message as its household reads it."""
    return pages.plain(WORDS.message(notice.code, notice.params))


@dataclass(slots=True)
class Diary:
    """The chapters of one account's journal so far; each call reads on. For any thread."""

    money_db: Path
    account_no: int
    _found: Chapters = field(default_factory=Chapters)
    _seq: int = 0
    _lock: Lock = field(default_factory=Lock)

    def __call__(self) -> Chapters:
        with self._lock:
            for entry in facts.home_entries(self.money_db, self.account_no, self._seq):
                self._seq = entry.seq
                self._found.take(entry)
            return self._found


@dataclass(slots=True)
class Bought:
    """A code from the desk, and what the counter at home said to it."""

    gseq: int
    amount: str
    code: str
    typed_ms: int = 0
    answer: str = ""
    uplink_cut: bool = False


@dataclass(slots=True)
class Household:
    """`name` is whose home it is, `journal` gives its chapters so far. Findings of the pages are kept for the report."""

    deployment: Deployment
    account_no: int
    name: str
    journal: Diary
    low_on_page: bool = False
    emergency_answer: str = ""
    bought: Bought | None = None
    why_at_ms: int = 0
    why_display: tuple[str, ...] = ()
    why_portal_ms: int = 0
    why_portal: tuple[str, ...] = ()
    why_portal_url: str = ""
    _portal_says: tuple[str, ...] = ()
    _hands: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "household"))
    _at_work: list[Future[None]] = field(default_factory=list)
    _ended: Event = field(default_factory=Event)

    def do(self, act: Act) -> None:
        """Take on one of the home's acts; it is done in the background, in order."""
        self._at_work.append(self._hands.submit(_DEEDS[type(act)], self))

    def check(self) -> None:
        """Raises what went wrong in a deed."""
        for deed in [d for d in self._at_work if d.done()]:
            self._at_work.remove(deed)
            deed.result()

    def finish(self) -> None:
        """Wait for what is still being done."""
        for deed in self._at_work:
            deed.result()
        self._at_work.clear()

    def close(self) -> None:
        """Nothing more is begun, and nothing waited for."""
        self._ended.set()
        self._hands.shutdown(wait=False, cancel_futures=True)

    # ---- deeds ----------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        assert self.deployment.clock is not None
        return self.deployment.clock.now_ms()

    def _page(self) -> pages.Browser:
        return pages.balance_page(self.deployment.display_url, self.account_no, self.deployment.pin)

    def read_message(self) -> None:
        low = self.journal().low
        self.low_on_page = low is not None and told(low) in self._page().get().text

    def take_emergency(self) -> None:
        after = self._page().post("emergency")
        said = [line for line in after.lines if "emergency credit" in line.lower()]
        self.emergency_answer = said[0] if said else ""

    def bring_code(self) -> None:
        relay = self.deployment.relay
        assert relay is not None
        self._ask_display()
        with self._slowly():
            bought = self._buy()
            bought.typed_ms = self.now_ms
            answer = self.deployment.dcu_tool("keypad", str(self.account_no), bought.code, "--json", "--wait", "60")
            bought.answer, bought.uplink_cut = json.loads(answer)["result"], not relay.is_open
            self.bought = bought
            wait_for(lambda: self.journal().restored_ms or self._ended.is_set(), SUPPLY_BACK_S, "the supply is back after the code")

    @contextmanager
    def _slowly(self) -> Iterator[None]:
        """At the pace of a wall clock for as long as somebody waits for an answer."""
        clock = self.deployment.clock
        assert clock is not None
        pace = clock.factor()
        clock.set_factor(1.0)
        try:
            yield
        finally:
            clock.set_factor(pace)

    def _buy(self) -> Bought:
        """In town, where the MDM can be reached: credit at the desk, and its code on the receipt."""
        paid = json.loads(self.deployment.mdm_tool("credit", str(self.account_no), acacia.CODE_CREDIT, "--json"))
        issued = json.loads(self.deployment.mdm_tool("instrument", "code", str(self.account_no), str(paid["gseq"]), "--json"))
        return Bought(paid["gseq"], issued["amount"], issued["code"])

    def _ask_display(self) -> None:
        """Why is it dark? The local page says so without a network."""
        found = self._page().get()
        self.why_at_ms, self.why_display = self.now_ms, found.about(self._off_since(), LINES_SAID)

    def ask_portal(self) -> None:
        """The same question, from afar: the journal's entries may still be on their way."""
        with self._slowly():
            browser = pages.portal(self.deployment.mdm_url, acacia.CONSUMER_LOGIN, self.deployment.password)
            wait_for(lambda: self._says_why(browser) or self._ended.is_set(), JOURNAL_THERE_S, self._unsaid)

    def ask_late(self) -> None:
        """The day was over before the cloud knew of the second cut: the portal is asked now."""
        home = self.journal()
        if not self.why_portal and home.off_since_ms is not None and home.spells > 1:
            self.ask_portal()

    def _says_why(self, browser: pages.Browser) -> bool:
        found = browser.get(acacia.EXPLANATION_PATH.format(account_no=self.account_no))
        self.why_portal_ms, self.why_portal, self.why_portal_url = self.now_ms, found.about(self._off_since(), LINES_SAID), found.url
        self._portal_says = found.lines
        return bool(self.why_portal)

    def _unsaid(self) -> str:
        """What was waited for in vain, and what stood there instead."""
        return f"the portal says “{self._off_since()}” (it says: {' / '.join(self._portal_says)})"

    def _off_since(self) -> str:
        """What the explanation must say of this very cut."""
        since_ms = self.journal().off_since_ms
        return WORDS.say("why", "off_balance", {"d": str(since_ms)}) if since_ms is not None else "nothing is off"

    # ---- what was shown -------------------------------------------------------------------------------------

    def shown(self, story: Story) -> Shown:
        found = self.journal()
        return Shown(self._low(found), self._emergency(found), self._cut(found, story), self._code(found), self._explanation())

    def _low(self, found: Chapters) -> LowBalance | None:
        if found.low is None:
            return None
        number = facts.message_no(self.deployment.money_file, self.account_no, found.low.code, found.low.at_ms)
        return LowBalance(stamp(found.low.at_ms), self.account_no, number, found.low.code, told(found.low), self.low_on_page)

    def _emergency(self, found: Chapters) -> EmergencyCredit | None:
        if found.offer is None or found.taken is None:
            return None
        used_nano = found.emergency_used_nano
        return EmergencyCredit(stamp(found.offer.at_ms), stamp(found.taken.at_ms), self.account_no, told(found.offer),
                               self.emergency_answer, display(used_nano, acacia.CURRENCY), used_nano)  # fmt: skip

    def _cut(self, found: Chapters, story: Story) -> OfflineCut | None:
        cut = found.cut
        if cut is None:
            return None
        tests, is_offline = cut.decision.tests, story.is_offline(cut.ordered_ms) and cut.param("offline", "online") == "no"
        return OfflineCut(stamp(cut.ordered_ms), stamp(cut.done_ms), self.account_no, cut.seq,
                          f"{sum(t.holds for t in tests)} of {len(tests)}", cut.seen("offline"),
                          f"{cut.decision.policy} {cut.decision.policy_version}", cut.is_open, is_offline)  # fmt: skip

    def _code(self, found: Chapters) -> KeypadCode | None:
        bought, credit = self.bought, found.credit
        if bought is None or credit is None or found.restored_ms is None or credit.gseq != bought.gseq:
            return None
        carrier = facts.carrier(self.deployment.money_file, self.account_no, bought.gseq)
        return KeypadCode(
            stamp(bought.typed_ms), stamp(found.restored_ms), self.account_no, bought.gseq, f"{acacia.CURRENCY} {bought.amount}",
            bought.code, bought.answer, carrier, bought.uplink_cut, (found.restored_ms - credit.at_ms) / MS,
            sum(c.gseq == bought.gseq for c in found.credits),
        )  # fmt: skip

    def _explanation(self) -> Explanation | None:
        if not self.why_at_ms:
            return None
        portal_at = stamp(self.why_portal_ms) if self.why_portal_ms else ""
        return Explanation(stamp(self.why_at_ms), self.account_no, self.deployment.display_url, self.why_display, portal_at,
                           self.why_portal_url, self.why_portal)  # fmt: skip


_DEEDS: dict[type[Act], Callable[[Household], None]] = {
    ReadMessage: Household.read_message,
    TakeEmergency: Household.take_emergency,
    BringCode: Household.bring_code,
    AskPortal: Household.ask_portal,
}
