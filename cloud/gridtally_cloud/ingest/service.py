"""From a message of an edge to committed rows and an answer: one batch, one transaction, then the receipt.

* `handle` takes (topic, payload) and returns what to publish once it has returned, that is after the commit.
* Handlers stand in two tables: channel -> handler, entry kind -> handler.
* Duplicates are harmless, order does not matter, and nothing that can not be read stops a stream (poison.py).
* A store that can not be written (disk full, locked) raises; there is then no receipt and the edge sends again.

Source: architecture.md sections 3 and 4; seed 003 step S1.9 (receipt to the MDM).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from gridtally_cloud.assets import presence
from gridtally_cloud.commands import receipts
from gridtally_cloud.ingest import checkpoints, journal, measurements, mirror, poison, streams
from gridtally_cloud.ingest.arrival import Arrival, Reply, StreamKey
from gridtally_cloud.meters import topology
from gridtally_cloud.prepay import instruments, leases, site_intake, time_left
from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database
from gridtally_shared.contract import channels
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.marks import mark_of
from gridtally_shared.contract.messages import (
    ACCEPTED_VERSIONS,
    ENTRY_TYPES,
    Batch,
    Entry,
    EntryKind,
    Gone,
    Hello,
    Receipt,
    Welcome,
)
from gridtally_shared.contract.prepay_messages import MirrorAsk
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer, sign1

log = logging.getLogger(__name__)


def _forgotten(arrival: Arrival, ask: MirrorAsk) -> None:
    """A journal that differs from its mirror is on an old disk, which has forgotten orders too; the streams of one that wrote on without a
    link do not show it."""
    mirror.take_ask(arrival, ask)
    receipts.resend_open(arrival.conn, arrival.dcu, arrival.now_ms)


ENTRY_HANDLERS: Mapping[EntryKind, Callable[[Arrival, Any], None]] = {
    EntryKind.INTERVALS: measurements.take_intervals,
    EntryKind.READINGS: measurements.take_readings,
    EntryKind.EVENT: measurements.take_event,
    EntryKind.JOURNAL: journal.take_journal,
    EntryKind.COMMAND_RECEIPT: receipts.take_receipt,
    EntryKind.METER_SEEN: measurements.take_seen,
    EntryKind.METER_STATUS: measurements.take_status,
    EntryKind.NODE: topology.take_node,
    EntryKind.CHECKPOINT: checkpoints.take_checkpoint,
    EntryKind.LEASE_ASK: leases.take_ask,
    EntryKind.MIRROR_ASK: _forgotten,
    EntryKind.TIME_LEFT: time_left.take_time_left,
    EntryKind.SITE: site_intake.take_site_entry,
}

TOGETHER: Mapping[int, Callable[[Arrival, Sequence[Any]], Mapping[int, ContractError]]] = {
    EntryKind.JOURNAL: journal.take_ranges,
    EntryKind.METER_STATUS: measurements.take_statuses,
    EntryKind.CHECKPOINT: checkpoints.take_checkpoints,
    EntryKind.TIME_LEFT: time_left.take_times_left,
}
"""Several messages of one kind at once; the answer names what is to be set aside by its place."""

UP_CHANNELS = ("hello", "gone", "urgent", "live", "backlog")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish on `channel` of a DCU, already in its final bytes."""

    channel: str
    dcu: str
    payload: bytes

    @property
    def topic(self) -> str:
        return channels.BY_NAME[self.channel].topic(self.dcu)


Answer = tuple[Outgoing, ...]


class Ingest:
    """`signer` signs the welcome. `config_of` gives the newest configuration version of a DCU."""

    def __init__(self, db: Database, signer: Signer) -> None:
        self._db, self._signer = db, signer
        with db.read() as conn:
            self._store_id = meta.store_id(conn)
        self._by_message: dict[type, Callable[[Connection, str, Any, Any, int], Answer]] = {
            Hello: self._hello,
            Gone: self._gone,
            Batch: self._batch,
        }

    def handle(self, topic: str, payload: bytes, now_ms: int) -> Answer:
        """Take in one message and commit it. Returns the answers to publish now."""
        try:
            channel, dcu = channels.parse_topic(topic)
            handler = self._by_message[channel.message]
        except (ContractError, KeyError):
            log.warning("a message on a topic that is not ours", extra={"topic": topic})
            return ()
        try:
            message = _read(channel, payload)
            with self._db.write() as conn:
                return handler(conn, dcu, channel, message, now_ms)
        except ContractError as error:
            log.warning("a message was set aside", extra={"dcu": dcu, "channel": channel.name, "reason": str(error)})
            with self._db.write() as conn:
                poison.set_aside_message(conn, dcu, channel.name, payload, str(error), now_ms)
            return ()

    # ---- batches

    def _batch(self, conn: Connection, dcu: str, channel: channels.Channel, batch: Batch, now_ms: int) -> Answer:
        presence.require_known(conn, dcu)
        if channel.lane != batch.lane or len(batch.stream_id) != 16:
            raise ContractError(f"batch for lane {batch.lane} in channel {channel.name}")
        if any(entry.seq < 1 for entry in batch.entries):
            raise ContractError("an entry without a number")
        key = StreamKey(dcu, batch.stream_id, batch.lane)
        before = streams.received(conn, key)
        if before is None:
            return ()
        new = before.new(entry.seq for entry in batch.entries)
        replies: list[Reply] = []
        fresh = {e.seq: e for e in batch.entries if e.seq in new}.values()
        take_entries(Arrival(conn, key, 0, now_ms, replies), tuple(fresh))
        upto = streams.advance(conn, key, {entry.seq: mark_of(entry) for entry in fresh}, before, now_ms)
        presence.heard(conn, dcu, now_ms)
        receipt = Receipt(self._store_id, batch.stream_id, batch.lane, upto, now_ms, batch.sent_at_ms)
        signed = (Outgoing(r.channel, dcu, sign1(self._signer, r.channel, r.payload)) for r in replies)
        return (Outgoing("receipt", dcu, encode(receipt)), *signed)

    # ---- presence

    def _hello(self, conn: Connection, dcu: str, _channel: channels.Channel, hello: Hello, now_ms: int) -> Answer:
        if hello.contract not in ACCEPTED_VERSIONS:
            raise ContractError(f"{dcu} speaks contract {hello.contract}, this MDM {ACCEPTED_VERSIONS}: update the older side")
        if hello.dcu != dcu:
            raise ContractError(f"a hello of {hello.dcu!r} on the topic of {dcu!r}")
        presence.require_known(conn, dcu)
        same_boot = presence.boot_of(conn, dcu) == hello.boot_id
        presence.hello(conn, hello, now_ms)
        instruments.take_numbers(conn, self._signer, hello, now_ms)
        renew = streams.retire_old_images(conn, dcu, hello.streams, same_boot)
        if renew:
            receipts.resend_open(conn, dcu, now_ms)
        newest = presence.newest_config(conn, dcu)
        welcome = Welcome(self._store_id, dcu, hello.boot_id, now_ms, streams.heads(conn, dcu),
                          mirror.account_heads(conn, dcu), renew, newest, hello.at_ms)  # fmt: skip
        return (Outgoing("welcome", dcu, sign1(self._signer, "welcome", encode(welcome))),)

    def _gone(self, conn: Connection, dcu: str, _channel: channels.Channel, gone: Gone, now_ms: int) -> Answer:
        presence.require_known(conn, dcu)
        presence.gone(conn, dcu, gone.boot_id, now_ms)
        return ()


def _read(channel: channels.Channel, payload: bytes) -> Any:
    if len(payload) > channels.MAX_PAYLOAD_BYTES:
        raise ContractError(f"a message of {len(payload)} bytes; at most {channels.MAX_PAYLOAD_BYTES} are allowed")
    return decode(channel.message, payload)


def take_entries(arrival: Arrival, entries: Sequence[Entry]) -> None:
    """Store the entries of a batch in their order, at once where all fit; else neighbours of one kind at once, where there is a way and
    these fit; else each for itself."""
    if len(entries) > 1 and _taken_together(arrival, entries):
        return
    for kind, neighbours in groupby(entries, key=lambda entry: entry.kind):
        together = tuple(neighbours)
        if kind in TOGETHER and 1 < len(together) < len(entries) and _taken_together(arrival, together):
            continue
        for entry in together:
            take_entry(arrival.of(entry), entry)


def _taken_together(arrival: Arrival, entries: Sequence[Entry]) -> bool:
    """False, and nothing of them is stored, where one of them needs to be found by taking fewer."""
    try:
        with _whole(arrival):
            for kind, neighbours in groupby(entries, key=lambda entry: entry.kind):
                _take_neighbours(arrival, kind, tuple(neighbours))
    except OperationalError:
        raise
    except Exception as error:
        log.warning("entries are taken in one by one", extra={"dcu": arrival.dcu, "entries": len(entries), "reason": str(error)})
        return False
    return True


def _take_neighbours(arrival: Arrival, kind: int, entries: Sequence[Entry]) -> None:
    if kind not in TOGETHER or len(entries) == 1:
        for entry in entries:
            dispatch(arrival.of(entry), entry)
        return
    refused = TOGETHER[kind](arrival, [decode(ENTRY_TYPES[EntryKind(kind)], entry.body) for entry in entries])
    for place, refusal in refused.items():
        poison.set_aside_entry(arrival.of(entries[place]), kind, entries[place].body, str(refusal))


@contextmanager
def _whole(arrival: Arrival) -> Iterator[None]:
    """All of the block or nothing: of one that fails no row stays, and nothing it wanted to answer is said."""
    said = len(arrival.replies)
    try:
        with arrival.conn.begin_nested():
            yield
    except BaseException:
        del arrival.replies[said:]
        raise


def take_entry(arrival: Arrival, entry: Entry) -> None:
    """Store one entry, or set it aside whole when it does not fit; nothing of a failed one remains."""
    try:
        with _whole(arrival):
            dispatch(arrival, entry)
    except ContractError as error:
        poison.set_aside_entry(arrival, entry.kind, entry.body, str(error))
    except OperationalError:
        raise
    except Exception as error:
        log.exception("an entry could not be stored", extra={"dcu": arrival.dcu, "seq": arrival.seq})
        poison.set_aside_entry(arrival, entry.kind, entry.body, f"fault in the MDM: {type(error).__name__}: {error}")


def dispatch(arrival: Arrival, entry: Entry) -> None:
    """Hand an entry to the handler of its kind. Raises ContractError when it can not be read or does not fit."""
    kinds = {int(kind): kind for kind in EntryKind}
    if entry.kind not in kinds:
        raise ContractError(f"entry of unknown kind {entry.kind}")
    kind = kinds[entry.kind]
    ENTRY_HANDLERS[kind](arrival, decode(ENTRY_TYPES[kind], entry.body))
