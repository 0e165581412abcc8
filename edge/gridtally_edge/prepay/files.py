"""An instrument file brought by hand: all its instruments in one transaction, each as if the network had brought it.

* The file is signed as a whole and for this concentrator; one that is not is refused whole, and nothing changes.
* The same file again changes nothing: every instrument is known.

Source: prepayment.md 5.2 (carriers).
"""

from __future__ import annotations

from gridtally_edge.prepay import instruments
from gridtally_edge.prepay.events import FileAnswered, FileBrought
from gridtally_edge.prepay.instruments import Taken
from gridtally_edge.prepay.rows import InstrumentRow, one
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.carrier import read_batch
from gridtally_shared.signing import open_unverified

CARRIER = "file"


def brought(turn: Turn, event: FileBrought) -> list[Taken]:
    """Take in a file and answer; what its instruments did."""
    try:
        batch = read_batch(turn.identity.command_keys, event.text)
        if batch.dcu != turn.identity.dcu:
            raise ContractError(f"this file is for {batch.dcu}, not for {turn.identity.dcu}: bring it there")
        numbers = [_named(envelope) for envelope in batch.envelopes]
    except ContractError as error:
        turn.effects.append(FileAnswered(event.entry_id, "refused", text=str(error)))
        return []
    before = [one(turn.db, InstrumentRow, *number) for number in numbers]
    known = sum(row is not None and row.state == "applied" for row in before)
    taken = [t for t in (instruments.arrived(turn, envelope, CARRIER) for envelope in batch.envelopes) if t is not None]
    taken += [Taken(account.account_no, credited=True) for account in instruments.unpark(turn)]
    states = [row.state if (row := one(turn.db, InstrumentRow, *number)) else "refused" for number in numbers]
    counts = (states.count("applied") - known, known, states.count("parked"), states.count("refused"))
    turn.effects.append(FileAnswered(event.entry_id, "accepted", *counts))
    return taken


def _named(envelope: bytes) -> tuple[int, int, int]:
    instrument = decode(Instrument, open_unverified(envelope)[1])
    return instrument.account_no, instrument.account_epoch, instrument.gseq
