"""What a message says when it leaves the house: subject and text in the language of its account.

* Messages that edge and cloud share come from `gridtally_shared.messages`; those of the cloud alone (`told.*`) from the pages'
  catalogue. A code without words in either is not sent.
* The text of a message is made once, when it is written: what a person was told stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from gridtally_cloud.customers.model import Account
from gridtally_cloud.web.i18n import Language, best_language, catalogue, places
from gridtally_shared.messages.catalogue import phrase
from gridtally_shared.messages.catalogue import places as places_of
from gridtally_shared.messages.words import Words

Params = Iterable[tuple[str, str]]
NOT_MONEY = frozenset({"gseq", "n"})


def text_of(account: Account, code: str, params: Params) -> str:
    """The sentence; '' where there are no words for it, or a parameter of it is missing."""
    given, language = dict(params), best_language(account.language)
    shared = phrase("notices", code, language)
    if shared is not None:
        words = Words(language, account.currency, ZoneInfo(account.zone))
        return words.message(code, given, given.get("text", "")) if places_of(shared) <= given.keys() else ""
    sentence = catalogue(language).get(f"told.{code}")
    if sentence is None or not places(sentence) <= given.keys():
        return ""
    say = Language(language, ZoneInfo(account.zone))
    return say.t(f"told.{code}", **{name: _value(say, name, given[name], account.currency) for name in places(sentence)})


def subject_of(account: Account) -> str:
    """What stands above the text where a channel has a heading."""
    say = Language(best_language(account.language), ZoneInfo(account.zone))
    return say.t("told.subject", no=account.account_no)


def _value(say: Language, name: str, value: str, currency: str) -> str:
    if name == "why":
        return say.name_of("pay_reason", value, value)
    if name in NOT_MONEY or not value.lstrip("-").isdigit() or len(value) > 19:
        return value
    if name == "t":
        return say.duration(int(value))
    return say.when(int(value)) if name == "d" else say.money(int(value), currency)
