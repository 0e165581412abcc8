"""The five things the demo must show, each with time, account and evidence; what is missing makes the run fail.

Source: issue 4, last line of its proof.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LowBalance:
    """`message_no` is the message's number at the edge; `on_page`: the balance page showed this very text."""

    at: str
    account_no: int
    message_no: int
    code: str
    text: str
    on_page: bool


@dataclass(frozen=True, slots=True)
class EmergencyCredit:
    """`answer` is what the page said after its button; `used` what was spent of it before the supply was cut."""

    offered_at: str
    accepted_at: str
    account_no: int
    offer: str
    answer: str
    used: str
    used_nano: int


@dataclass(frozen=True, slots=True)
class OfflineCut:
    """`entry` is the decision's number in the journal, `checks` how many tests it met; `offline` what the offline test saw."""

    ordered_at: str
    done_at: str
    account_no: int
    entry: int
    checks: str
    offline: str
    policy: str
    switch_open: bool
    uplink_cut: bool


@dataclass(frozen=True, slots=True)
class KeypadCode:
    """`code` was issued by the MDM and typed at the concentrator's counter while the uplink was still cut. `counted` is how often
    the journal holds its number at the end, when the signed instrument has come by the network as well."""

    typed_at: str
    supply_at: str
    account_no: int
    instrument: int
    amount: str
    code: str
    answer: str
    carrier: str
    uplink_cut: bool
    credit_to_supply_s: float
    counted: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the pages say about why this supply is off: the display while offline, the portal after a later cut."""

    at: str
    account_no: int
    display_url: str
    display_says: tuple[str, ...]
    portal_at: str
    portal_url: str
    portal_says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    low_balance: LowBalance | None = None
    emergency_credit: EmergencyCredit | None = None
    offline_cut: OfflineCut | None = None
    keypad_code: KeypadCode | None = None
    explanation: Explanation | None = None

    @property
    def missing(self) -> list[str]:
        """What was not shown, or not as it must be, in words."""
        low, credit, cut, code, why = self.low_balance, self.emergency_credit, self.offline_cut, self.keypad_code, self.explanation
        tests = (
            (low is not None, "no message of a low balance"),
            (low is None or low.on_page, "the balance page did not show the message of the low balance"),
            (credit is not None, "no emergency credit was offered and taken"),
            (credit is None or credit.used_nano > 0, "the emergency credit was taken and not used"),
            (cut is not None, "no supply was cut"),
            (cut is None or (cut.uplink_cut and cut.switch_open), "the supply was not cut while the uplink was"),
            (code is not None, "no keypad code brought the supply back"),
            (code is None or _is_code(code.code), "what was typed is no code of 24 digits"),
            (code is None or (code.uplink_cut and code.carrier == "keypad"), "the code was not typed while the uplink was cut"),
            (code is None or code.counted == 1, "the credit of the code did not count once"),
            (why is not None and bool(why.display_says), "the balance page did not say why the supply was off"),
            (why is not None and bool(why.portal_says), "the portal did not say why the supply was off"),
        )
        return [text for held, text in tests if not held]


def _is_code(text: str) -> bool:
    digits = text.replace(" ", "")
    return digits.isdigit() and len(digits) == 24
