"""A file brought by hand: as if the network had brought it, all in one transaction, refused whole where it is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.rows import InstrumentRow, some
from gridtally_shared.instruments.carrier import InstrumentBatch, batch_text
from gridtally_shared.money import nano
from gridtally_shared.signing import KeySigner
from support.prepay_bench import SIGNER, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, 2)


def text_of(bench: Bench, *envelopes: bytes, dcu: str = "dcu-1", signer: KeySigner = SIGNER) -> str:
    return batch_text(signer, InstrumentBatch(1, dcu, bench.now_ms, envelopes))


def bring(bench: Bench, text: str) -> p.FileAnswered:
    return next(e for e in bench.tell(p.FileBrought(b"f" * 16, text)) if isinstance(e, p.FileAnswered))


def test_a_file_counts_once_whatever_came_before_and_after(bench: Bench) -> None:
    one, two, three = bench.instrument(1, "10", 1), bench.instrument(2, "20", 1), bench.instrument(1, "30", 2)
    bench.tell(p.InstrumentArrived(one))
    answer = bring(bench, text_of(bench, one, two, three))
    assert (answer.result, answer.applied, answer.known, answer.waiting, answer.refused) == ("accepted", 2, 1, 0, 0)
    again = bring(bench, text_of(bench, one, two, three))
    assert (again.applied, again.known) == (0, 3)
    for envelope in (one, two, three):
        bench.tell(p.InstrumentArrived(envelope))
    assert (bench.balance(1), bench.balance(2)) == (nano("40"), nano("20"))
    assert [r.carrier for r in some(bench.db, InstrumentRow, "ORDER BY account_no, gseq")] == ["mqtt", "file", "file"]


def test_what_waits_and_what_is_refused_is_counted(bench: Bench) -> None:
    bad, far = bench.instrument(1, "10", 1, currency="EUR"), bench.instrument(1, "10", 100)
    answer = bring(bench, text_of(bench, bad, far, bench.instrument(2, "5", 1)))
    assert (answer.applied, answer.waiting, answer.refused) == (1, 1, 1)


def test_a_file_that_is_not_ours_changes_nothing(bench: Bench) -> None:
    good = bench.instrument(1, "10", 1)
    stranger = KeySigner.from_seed(b"s" * 32)
    text = text_of(bench, good)
    cases = {
        text_of(bench, good, dcu="dcu-2"): "for dcu-2",
        text_of(bench, good, signer=stranger): "a key this side does not know",
        text[: len(text) // 2]: "spoilt",
        text_of(bench, b"noise"): "CBOR",
    }
    for brought, said in cases.items():
        answer = bring(bench, brought)
        assert answer.result == "refused"
        assert said in answer.text
    assert bench.balance(1) == 0
    assert not some(bench.db, InstrumentRow, "")
