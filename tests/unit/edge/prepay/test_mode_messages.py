"""The message that changes the way of paying is checked before anything is done (ETSI TR 102 691 5.2.5, step 2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.prepay import events as p
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.instruments.details import ModeOrder
from gridtally_shared.ledger.entries import Kind
from support.prepay_bench import HOUR_MS, Bench

POSTPAID = encode(ModeOrder(AccountMode.POSTPAID))


def modes(bench: Bench) -> list[int]:
    return [e.mode for e in bench.entries() if e.kind == Kind.MODE]


@pytest.mark.covers("ETSI-5.2.5-basic-2")
def test_schema_signature_target_and_age_are_checked_and_a_good_one_is_taken(tmp_path: Path) -> None:
    """As for settings: what is damaged, another's, for another or older than what was done changes nothing."""
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    number = bench.next_gseq[101]

    def refused(envelope: bytes) -> bool:
        before = modes(bench)
        bench.tell(p.InstrumentArrived(envelope))
        bench.now_ms += HOUR_MS
        bench.trust()
        bench.read(1, 1_000_100)
        return modes(bench) == before

    def order(gseq: int, **changes: object) -> bytes:
        return bench.instrument(1, "0", gseq, type=InstrumentType.MODE_SET, **{"detail": POSTPAID, **changes})

    good = order(number)
    flipped = bytearray(good)
    flipped[-1] ^= 1
    assert refused(bytes(flipped))  # signature
    assert refused(good[:-4])  # schema: not a message
    assert refused(order(number, dcu="dcu-2"))  # target: another concentrator
    assert refused(order(number, account_no=999))  # target: an account that is not here
    assert refused(order(number, account_epoch=9))  # age: another epoch
    assert not refused(order(number))  # and a good one is taken
    assert modes(bench) == [AccountMode.POSTPAID]
    bench.credit(1, "0", type=InstrumentType.MODE_SET, detail=encode(ModeOrder(AccountMode.PREPAID)))
    bench.now_ms += HOUR_MS
    bench.trust()
    bench.read(1, 1_000_200)
    assert refused(bench.instrument(1, "0", type=InstrumentType.MODE_SET, detail=b"\xa1\x00"))  # schema: signed, and no order
    assert refused(good)  # age: the old one again, after a newer
    assert modes(bench) == [AccountMode.POSTPAID, AccountMode.PREPAID]
