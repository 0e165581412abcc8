"""What the agent's rim keeps of the meters, and sends beside the money: readings.db, its states and its outbox.

Only worlds in which the MDM runs accounts have it: there what comes up late, twice or never decides of a supply. A sweep is
stored before the money hears of it, as the agent does it; a meter that answers with another serial tells nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gridtally_edge.drivers.model import MeterEvent, Reading
from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.readings import MeterState, MeterUpdate, ReadingsJournal
from gridtally_edge.journal.schema import READINGS
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.polling.street import SILENT_AFTER
from gridtally_edge.polling.update import state_after_switch
from gridtally_edge.prepay.events import MeterRead, SwitchOutcome
from gridtally_shared.contract.messages import Lane
from gridtally_shared.events import BY_NAME
from gridtally_shared.quantities import ENERGY_IMPORT

if TYPE_CHECKING:
    from simulation.edge import EdgeNode

OTHER_SERIAL = BY_NAME["serial_mismatch"].code


class Readings:
    """`failures`: polls of a meter in a row that brought nothing of it."""

    def __init__(self, edge: EdgeNode, path: Path) -> None:
        self._edge, self._path = edge, path
        self.failures: Counter[int] = Counter()
        migrate(path, READINGS)
        self.open()
        self._db.execute("UPDATE outbox_stream SET stream_id = ?", (edge.world.random.randbytes(16),))
        self.close()

    @property
    def outbox(self) -> Outbox:
        return self._journal.outbox

    def open(self) -> None:
        self._db = open_store(self._path, READINGS)
        self._journal = ReadingsJournal(self._db)

    def close(self) -> None:
        self._db.close()

    def image(self) -> bytes:
        return self._db.serialize()

    def restore(self, image: bytes) -> None:
        for tail in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + tail).unlink(missing_ok=True)
        self._path.write_bytes(image)

    def sweep(self, asked: Iterable[int], reads: tuple[MeterRead, ...], lane: Lane) -> None:
        """What a sweep over these meters brought."""
        now_ms, found = self._edge.now_ms(), {read.meter_no: read for read in reads}
        updates = tuple(self._update(no, found.get(no), now_ms) for no in asked)
        self._journal.commit_sweep(updates, lane, now_ms)

    def switched(self, meter_no: int, outcome: SwitchOutcome, lane: Lane) -> None:
        """What an order read back of the switch."""
        state = state_after_switch(self._state(meter_no), outcome)
        self._journal.commit_sweep((self._made(state),), lane, self._edge.now_ms())

    def _state(self, meter_no: int) -> MeterState:
        return self._journal.states.get(meter_no) or MeterState(meter_no)

    def _made(self, state: MeterState, *readings: Reading, events: tuple[MeterEvent, ...] = ()) -> MeterUpdate:
        return MeterUpdate(state, self._edge.world.plan.interval_ms, readings, events=events)

    def _update(self, meter_no: int, read: MeterRead | None, now_ms: int) -> MeterUpdate:
        before, bound = self._state(meter_no), self._edge.world.bound_serial(meter_no)
        if read is None or read.serial != bound:
            self.failures[meter_no] += 1
            state = replace(before, answering=before.answering and self.failures[meter_no] < SILENT_AFTER)
            other = read is not None
            return self._made(state, events=(MeterEvent(OTHER_SERIAL, now_ms, read.serial if read else ""),) if other else ())
        self.failures[meter_no] = 0
        state = replace(before, serial=read.serial, contact_ms=max(before.contact_ms, read.at_ms), answering=True, switch=read.switch)
        return self._made(state, Reading(ENERGY_IMPORT.code, read.at_ms, read.register_wh or 0))
