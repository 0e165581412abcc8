"""An explanation in the reader's words: the same sentences on display, portal and desk."""

from __future__ import annotations

from gridtally_shared.ledger.evidence import TestResult
from gridtally_shared.messages.catalogue import phrase, places
from gridtally_shared.messages.explain import Explanation, Sentence
from gridtally_shared.messages.words import MOMENTS, Words
from gridtally_shared.records import dataclass

NEVER = frozenset({*MOMENTS, "version"})
"""A moment or version 0 is none."""


@dataclass(frozen=True, slots=True)
class TestTold:
    """One test: whether it was met, in a word beside the mark, what was asked, what was seen."""

    __test__ = False

    holds: bool
    mark: str
    asked: str
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    headline: str
    because: tuple[str, ...]
    remedy: tuple[str, ...]
    rule: str
    title: str
    tests_title: str
    tests: tuple[TestTold, ...]

    @property
    def text(self) -> str:
        """What a person has to know, in one run."""
        return " ".join((self.headline, *self.because, *self.remedy))


def told(explanation: Explanation, words: Words) -> Told:
    """The explanation in words."""
    met = sum(t.holds for t in explanation.tests)
    count = {"k": str(met), "n": str(len(explanation.tests))}
    return Told(
        _say(words, explanation.headline), tuple(_say(words, s) for s in explanation.because),
        tuple(_say(words, s) for s in explanation.remedy), _say(words, explanation.rule) if explanation.rule else "",
        words.say("why", "title"), words.say("why", "tests_at", count), tuple(_test(words, t) for t in explanation.tests),
    )  # fmt: skip


def _say(words: Words, sentence: Sentence) -> str:
    return words.say("why", sentence.code, dict(sentence.params))


def _test(words: Words, test: TestResult) -> TestTold:
    """A test this version has no words for shows its name and what was seen, as they were stored."""
    mark = words.say("why", "yes" if test.holds else "no")
    asked = phrase("why", f"test_{test.name}", words.language)
    if asked is None:
        return TestTold(test.holds, mark, test.name, test.seen)
    params = {p.name: p.value for p in test.params if p.value and not (p.name in NEVER and p.value == "0")}
    seen = phrase("why", f"seen_{test.name}", words.language)
    filled = seen is not None and places(seen) <= params.keys()
    return TestTold(test.holds, mark, asked, words.say("why", f"seen_{test.name}", params) if filled else "")
