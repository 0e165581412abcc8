"""The home's story as lines for people: in the live picture, in the log of a headless run, under its report. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from demo.shown import EmergencyCredit, Explanation, KeypadCode, LowBalance, OfflineCut, Shown

NOT_SHOWN = ("not shown",)


@dataclass(frozen=True, slots=True)
class Line:
    """`at` is the local time of what has happened, '' of what is still to come; `text` what to notice then or now."""

    at: str
    title: str
    text: str

    @property
    def clock(self) -> str:
        """Hours and minutes."""
        return self.at[11:16]


def lines(shown: Shown, name: str) -> tuple[Line, ...]:
    """The five chapters in order, told or announced."""
    low, credit, cut, code, why = shown.low_balance, shown.emergency_credit, shown.offline_cut, shown.keypad_code, shown.explanation
    return (
        _low(low) if low else Line("", "Low balance", f"soon {name} is told by the balance page, the meter and the portal"),
        _credit(credit) if credit else Line("", "Emergency credit", f"{name} will be offered some, and takes it at the balance page"),
        _cut(cut) if cut else Line("", "Cut while offline", "the concentrator decides alone: every test is kept as evidence"),
        _why(why) if why else Line("", "Why is it off?", "the balance page and the portal will say it in a sentence"),
        _code(code) if code else Line("", "Keypad code", "24 digits from town bring the light back, still without a network"),
    )


def _low(low: LowBalance) -> Line:
    return Line(low.at, "Low balance", f"“{low.text}” (account {low.account_no}, message {low.message_no})")


def _credit(credit: EmergencyCredit) -> Line:
    return Line(credit.accepted_at, "Emergency credit", f"“{credit.offer}” Taken with a button on the page; {credit.used} used so far")


def _cut(cut: OfflineCut) -> Line:
    link = "while the uplink is cut" if cut.uplink_cut else "with the uplink there"
    evidence = f"{cut.checks} tests met: entry {cut.entry} of account {cut.account_no}"
    return Line(cut.ordered_at, "Cut while offline", f"ordered {link}, {evidence}")


def _why(why: Explanation) -> Line:
    later = f"; the portal said it of a later cut at {why.portal_at[11:16]}" if why.portal_says else ""
    return Line(why.at, "Why is it off?", f"{why.display_url} says: “{' '.join(why.display_says[:2])}”{later}")


def _code(code: KeypadCode) -> Line:
    speed = f"{code.credit_to_supply_s:.1f} s from credit to supply"
    return Line(code.typed_at, "Keypad code", f"{code.code} ({code.amount}) typed at home, offline: {speed}")


def summary(shown: Shown) -> tuple[str, ...]:
    """What a headless run prints under its figures."""
    low, credit, cut, code, why = shown.low_balance, shown.emergency_credit, shown.offline_cut, shown.keypad_code, shown.explanation
    parts = (
        ("low balance", _facts_of_low(low) if low else NOT_SHOWN),
        ("emergency", _facts_of_credit(credit) if credit else NOT_SHOWN),
        ("offline cut", _facts_of_cut(cut) if cut else NOT_SHOWN),
        ("keypad code", _facts_of_code(code) if code else NOT_SHOWN),
        ("explanation", _facts_of_why(why) if why else NOT_SHOWN),
    )
    return tuple(f"{name if n == 0 else '':14} {text}" for name, texts in parts for n, text in enumerate(texts))


def _facts_of_low(low: LowBalance) -> tuple[str, ...]:
    return (f"{low.at} account {low.account_no}: message {low.message_no} ({low.code}) “{low.text}”",)


def _facts_of_credit(credit: EmergencyCredit) -> tuple[str, ...]:
    return (f"{credit.offered_at} account {credit.account_no}: “{credit.offer}”",
            f"{credit.accepted_at} taken, the page: “{credit.answer}”; {credit.used} used")  # fmt: skip


def _facts_of_cut(cut: OfflineCut) -> tuple[str, ...]:
    return (f"{cut.ordered_at} account {cut.account_no}: ordered under {cut.policy}, entry {cut.entry}, {cut.checks} tests met",
            f"{cut.done_at} the meter says open; {cut.offline}")  # fmt: skip


def _facts_of_code(code: KeypadCode) -> tuple[str, ...]:
    return (f"{code.typed_at} account {code.account_no}: {code.code} for {code.amount}, {code.answer}; credit to supply "
            f"{code.credit_to_supply_s:.1f} s, counted {code.counted} time",)  # fmt: skip


def _facts_of_why(why: Explanation) -> tuple[str, ...]:
    return (f"{why.at} {why.display_url} (account {why.account_no}): “{' '.join(why.display_says)}”",
            f"{why.portal_at} {why.portal_url}: “{' '.join(why.portal_says)}”")  # fmt: skip
