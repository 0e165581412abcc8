"""Every message of the MQTT contract, version 1. Declared once; golden bytes in tests/contract pin each of them.

Times are int milliseconds UTC, money int nano-currency, energy int Wh. `meter_no`, `account_no` are the integers the
cloud issues. Identifiers of 16 bytes are UUIDv7 or random. Signed messages travel as COSE_Sign1 (signing.py).
One file, long as it is: it is the contract, to be read from top to bottom.
"""

from __future__ import annotations

from enum import IntEnum

from gridtally_shared.contract.codec import key
from gridtally_shared.contract.prepay_messages import (
    CalendarDocument,
    CarriedCharge,
    LeaseAsk,
    MeterHold,
    MirrorAsk,
    PolicyDocument,
    SignedCheckpoint,
    SiteEntry,
    TimeLeftTold,
)
from gridtally_shared.meter_settings import Setting
from gridtally_shared.records import dataclass

CONTRACT_VERSION = 1
ACCEPTED_VERSIONS = (1,)


class Lane(IntEnum):
    """Each lane is a stream of its own: (dcu, stream_id, lane, seq). Lower goes first."""

    URGENT = 1
    LIVE = 2
    BACKLOG = 3


class EntryKind(IntEnum):
    INTERVALS = 1
    READINGS = 2
    EVENT = 3
    JOURNAL = 4
    COMMAND_RECEIPT = 5
    METER_SEEN = 6
    METER_STATUS = 7
    NODE = 8
    CHECKPOINT = 9
    LEASE_ASK = 10
    MIRROR_ASK = 11
    TIME_LEFT = 12
    SITE = 13


class NodeState(IntEnum):
    """LEFT nodes keep their identity; WAITING ones are not on the white list."""

    JOINED = 1
    LEFT = 2
    WAITING = 3


class ClockState(IntEnum):
    TRUSTED = 0
    HOLDOVER = 1
    UNTRUSTED = 2


# ---- up: hello, will, batches -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamHead:
    """`mark`: in a welcome, of the entry `receipted` as the cloud took it (marks.py); b"" where it is not known."""

    stream_id: bytes = key(0)
    lane: int = key(1)
    next_seq: int = key(2)
    receipted: int = key(3)
    mark: bytes = key(4, b"")


@dataclass(frozen=True, slots=True)
class AccountHead:
    """How far an account's journal goes on one side: last sequence and its entry hash."""

    account_no: int = key(0)
    epoch: int = key(1)
    seq: int = key(2)
    entry_hash: bytes = key(3)
    gseq_prefix: int = key(4, 0)
    gseq_bitmap: int = key(5, 0)


@dataclass(frozen=True, slots=True)
class CounterHead:
    """The highest command counter that an edge took of one signing key."""

    key_id: bytes = key(0)
    highest: int = key(1)


@dataclass(frozen=True, slots=True)
class Hello:
    """Birth: sent at each connect. `config_version` is the newest signed configuration the edge holds. `accounts` and `counters` tell
    a cloud that was put back from an older copy which numbers are used."""

    contract: int = key(0)
    dcu: str = key(1)
    boot_id: bytes = key(2)
    agent_version: str = key(3)
    at_ms: int = key(4)
    clock_state: int = key(5)
    config_version: int = key(6)
    streams: tuple[StreamHead, ...] = key(7, ())
    accounts: tuple[AccountHead, ...] = key(8, ())
    counters: tuple[CounterHead, ...] = key(9, ())


@dataclass(frozen=True, slots=True)
class Gone:
    """The will: the broker says it when the DCU vanishes."""

    boot_id: bytes = key(0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One outbox row. `body` is the encoded payload of `kind` (ENTRY_TYPES)."""

    seq: int = key(0)
    kind: int = key(1)
    body: bytes = key(2)


@dataclass(frozen=True, slots=True)
class Batch:
    stream_id: bytes = key(0)
    lane: int = key(1)
    entries: tuple[Entry, ...] = key(2)
    sent_at_ms: int = key(3)


@dataclass(frozen=True, slots=True)
class ChannelBlock:
    """`n` intervals of `period_s` from `start_ms` on; `values` is the native block codec; `quality` one flag word an
    interval as little-endian uint16, empty when all are OK."""

    meter_no: int = key(0)
    quantity: int = key(1)
    start_ms: int = key(2)
    period_s: int = key(3)
    n: int = key(4)
    values: bytes = key(5)
    quality: bytes = key(6, b"")


@dataclass(frozen=True, slots=True)
class Intervals:
    blocks: tuple[ChannelBlock, ...] = key(0)


@dataclass(frozen=True, slots=True)
class Value:
    meter_no: int = key(0)
    quantity: int = key(1)
    at_ms: int = key(2)
    value: int = key(3)
    quality: int = key(4, 0)


@dataclass(frozen=True, slots=True)
class Readings:
    """Register samples and momentary values of one sweep, many meters together."""

    values: tuple[Value, ...] = key(0)


@dataclass(frozen=True, slots=True)
class Event:
    """`meter_no` 0 stands for the DCU itself. `code` is a row of events.EVENT_TYPES."""

    meter_no: int = key(0)
    code: int = key(1)
    at_ms: int = key(2)
    detail: str = key(3, "")


@dataclass(frozen=True, slots=True)
class JournalRange:
    """Consecutive entries of one account's hash-chained journal, each in its own encoded form (ledger/entries.py)."""

    account_no: int = key(0)
    epoch: int = key(1)
    first_seq: int = key(2)
    entries: tuple[bytes, ...] = key(3)


@dataclass(frozen=True, slots=True)
class CommandReceipt:
    """What became of a command: message id, meter id, completed time (C3-FR15), state and reason of lifecycle.py.
    `result` is the CBOR map of a done read or the switch state read back."""

    cmd_id: bytes = key(0)
    meter_no: int = key(1)
    state: int = key(2)
    at_ms: int = key(3)
    reason: str = key(4, "")
    result: bytes = key(5, b"")


@dataclass(frozen=True, slots=True)
class MeterSeen:
    """A local finding that becomes a proposal: a meter with this serial answers on this line."""

    serial: str = key(0)
    line: str = key(1)
    driver: str = key(2)
    address: str = key(3)
    at_ms: int = key(4)


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """Last contact and what the meter said of its switch (SwitchState number of the drivers: 0 open, 1 closed, 2 armed,
    3 not fitted, 4 unknown)."""

    meter_no: int = key(0)
    at_ms: int = key(1)
    answering: bool = key(2)
    switch: int = key(3)
    clock_offset_ms: int = key(4, 0)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The place of a node in a mesh or PLC network, reported whenever it changes (BYPL-11.1). `node` is its lasting
    identity (EUI-64, EUI-48, serial of the module), `address` its present short one, `parent` the node above it ("" is the
    coordinator), `quality` link quality 0..255. `serial` is the meter behind it, once it was read."""

    line: str = key(0)
    node: str = key(1)
    state: int = key(2)
    at_ms: int = key(3)
    address: str = key(4, "")
    parent: str = key(5, "")
    hops: int = key(6, 0)
    quality: int = key(7, 0)
    serial: str = key(8, "")


# ---- down: receipts, signed instruments, commands, configuration ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """The cloud has committed everything up to and including `upto` of this lane (contiguous). Only this, never a
    PUBACK, lets the edge delete. `server_ms` and `echo_ms` (the `sent_at_ms` answered) let the edge judge its clock."""

    store_id: bytes = key(0)
    stream_id: bytes = key(1)
    lane: int = key(2)
    upto: int = key(3)
    server_ms: int = key(4)
    echo_ms: int = key(5, 0)


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to hello, signed (its `at_ms` is the cloud's time): what the cloud holds of this DCU. Where `new_stream_ids`
    names a stream, the edge starts a new one: its old disk image is behind the receipts. `hello_at_ms` is the `at_ms` of the hello it
    answers, by which its age is known; without it (0) it sets no clock."""

    store_id: bytes = key(0)
    dcu: str = key(1)
    boot_id: bytes = key(2)
    at_ms: int = key(3)
    streams: tuple[StreamHead, ...] = key(4, ())
    accounts: tuple[AccountHead, ...] = key(5, ())
    new_stream_ids: tuple[bytes, ...] = key(6, ())
    config_version: int = key(7, 0)
    hello_at_ms: int = key(8, 0)


class InstrumentType(IntEnum):
    """What an instrument does; its form and detail are in instruments/forms.py."""

    CREDIT = 1
    REFUND = 2
    OPENING = 3
    CREDIT_KWH = 4
    CREDIT_TIME = 5
    DEBT = 6
    LEASE = 7
    LEASE_RETURN = 8
    CREDIT_CLEAR = 9
    LIMIT_SET = 10
    MODE_SET = 11
    HOLD = 12
    PROTECT = 13
    TARIFF_LOAD = 14
    KEY_ROTATE = 15
    TAMPER_CLEAR = 16
    UNBALANCE_SET = 17
    TEST = 18
    CORRECTION = 19


@dataclass(frozen=True, slots=True)
class Instrument:
    """Money on its way to the edge (prepayment.md 5.2), signed. `gseq` is gap-free per account and epoch; paid money has
    no expiry; `previous` is the hash of the instrument before it; `detail` the CBOR of what its type needs beside an amount."""

    version: int = key(0)
    dcu: str = key(1)
    account_no: int = key(2)
    account_epoch: int = key(3)
    gseq: int = key(4)
    type: int = key(5)
    amount_nano: int = key(6)
    currency: str = key(7)
    payment_ref: bytes = key(8)
    issued_at_ms: int = key(9)
    previous: bytes = key(10)
    detail: bytes = key(11, b"")


class CommandType(IntEnum):
    SWITCH_OPEN = 1
    SWITCH_CLOSE = 2
    READ_INSTANT = 3
    READ_INTERVALS = 4
    READ_EVENTS = 5
    READ_SWITCH = 6
    SET_CLOCK = 7
    MESSAGE = 8
    READ_DAILY = 9
    READ_BILLING = 10
    READ_NAME_PLATE = 11
    READ_SETTINGS = 12
    WRITE_SETTINGS = 13
    RESET = 14
    RUN_DIAGNOSTICS = 15
    CANCEL = 16
    SCHEDULE = 17
    TOKEN = 18
    TEST_SUPPLY = 19
    LIMIT = 20


@dataclass(frozen=True, slots=True)
class Command:
    """An order to a DCU or one of its meters, signed (reliability-security.md 5). `counter` rises per (dcu, key id);
    expiry counts from `not_before_ms`. `from_ms`/`to_ms` bound a read; `switch_counter` is the one order of switch
    actions per switch across all senders (safety.md 3); `text` is the message to display; `settings` what to write, or
    with empty bodies what to read; `reset` a ResetKind; `detail` the CBOR of what its type needs beside; `target` the cmd_id
    of another command that it cancels or moves."""

    version: int = key(0)
    cmd_id: bytes = key(1)
    dcu: str = key(2)
    meter_no: int = key(3)
    type: int = key(4)
    safety: int = key(5)
    priority: int = key(6)
    counter: int = key(7)
    issued_at_ms: int = key(8)
    not_before_ms: int = key(9)
    expires_ms: int = key(10)
    order_id: bytes = key(11)
    from_ms: int = key(12, 0)
    to_ms: int = key(13, 0)
    switch_counter: int = key(14, 0)
    text: str = key(15, "")
    cause: str = key(16, "")
    settings: tuple[Setting, ...] = key(17, ())
    reset: int = key(18, 0)
    detail: bytes = key(19, b"")
    target: bytes = key(20, b"")


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """A meter this DCU serves: the cloud's number for a serial, the account behind it (0: none) and whether a local
    decision may open its switch. Where this DCU runs no account: `run_account_no` is the one the MDM runs itself (0: none), and `held` what
    keeps the supply off, as far as the MDM has heard; else `held` says of what was said before this DCU ran it whether it still stands."""

    meter_no: int = key(0)
    serial: str = key(1)
    account_no: int = key(2, 0)
    interval_s: int = key(3, 900)
    commodity: str = key(4, "electricity")
    run_account_no: int = key(5, 0)
    held: tuple[MeterHold, ...] = key(6, ())


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """A prepaid account whose epoch this DCU holds. `zero_action` is 'none' or 'disconnect'; `offline_cut` is 'never',
    'grace' or 'allowed' (safety.md 6); `protected_hours` are local 'HH:MM-HH:MM' spans without cuts.

    `policy_id` names a rule catalogue, which then stands for the single rules of this record; `contract_w` and `flags` are
    what a tariff asks about the account; `mode` an AccountMode, `managed` a Managed; `keypad_key` the secret of its keypad
    codes; `feeder` and `load_class` group supplies for cut rates and protections; `wallet_no` a wallet shared by several
    accounts (0: none). `closing_wh`, `opening_wh` and `swapped_ms` are of the last swap of a meter or an edge: where the register
    before it ended, where this one begins for the account, and when; `carried` (none or one) how far the epoch before this one had
    charged the open cycle; `standing` where its engine left the supply (prepay/standing.py), '' where nothing is known."""

    account_no: int = key(0)
    account_epoch: int = key(1)
    meter_no: int = key(2)
    currency: str = key(3)
    zone: str = key(4)
    tariff_id: str = key(5)
    low_balance_nano: int = key(6)
    zero_action: str = key(7, "none")
    offline_cut: str = key(8, "never")
    offline_grace_h: int = key(9, 0)
    protected_hours: tuple[str, ...] = key(10, ())
    holds: tuple[str, ...] = key(11, ())
    restore_min_nano: int = key(12, 1)
    arm_only: bool = key(13, False)
    label: str = key(14, "")
    pin_hash: str = key(15, "")
    language: str = key(16, "en")
    notice_lead_s: int = key(17, 0)
    policy_id: str = key(18, "")
    contract_w: int = key(19, 0)
    flags: tuple[str, ...] = key(20, ())
    mode: int = key(21, 0)
    managed: int = key(22, 0)
    keypad_key: bytes = key(23, b"")
    feeder: str = key(24, "")
    load_class: str = key(25, "")
    calendar_id: str = key(26, "")
    wallet_no: int = key(27, 0)
    closing_wh: int | None = key(28, None)
    opening_wh: int | None = key(29, None)
    swapped_ms: int = key(30, 0)
    carried: tuple[CarriedCharge, ...] = key(31, ())
    standing: str = key(32, "")


@dataclass(frozen=True, slots=True)
class TariffDocument:
    """A tariff version as canonical JSON (tariff/document.py reads it); active from `from_ms` until the next version. `made_ms` is when
    the cloud made it; 0 from a cloud that does not say."""

    tariff_id: str = key(0)
    version: int = key(1)
    from_ms: int = key(2)
    document: str = key(3)
    made_ms: int = key(4, 0)


@dataclass(frozen=True, slots=True)
class DcuConfig:
    """All the cloud decides for one DCU, signed and versioned; the edge only ever moves to a higher `version`."""

    version: int = key(0)
    dcu: str = key(1)
    issued_at_ms: int = key(2)
    meters: tuple[MeterConfig, ...] = key(3, ())
    accounts: tuple[AccountConfig, ...] = key(4, ())
    tariffs: tuple[TariffDocument, ...] = key(5, ())
    cut_share_per_hour_permille: int = key(6, 100)
    cut_lease_until_ms: int = key(7, 0)
    policies: tuple[PolicyDocument, ...] = key(8, ())
    calendars: tuple[CalendarDocument, ...] = key(9, ())


# ---- provisioning (reliability-security.md 3.2) ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProvisionHello:
    request_id: bytes = key(0)
    serial: str = key(1)
    agent_version: str = key(2)
    boot_id: bytes = key(3)
    at_ms: int = key(4)
    clock_state: int = key(5)


@dataclass(frozen=True, slots=True)
class ProvisionChallenge:
    request_id: bytes = key(0)
    nonce: bytes = key(1)
    at_ms: int = key(2)
    expires_ms: int = key(3)


@dataclass(frozen=True, slots=True)
class ProvisionEnrol:
    """`csr` carries the P-256 TLS key, `journal_key` the Ed25519 public key; `proof` is HMAC-SHA256 under the install
    secret over nonce, hash of the CSR and the journal key."""

    request_id: bytes = key(0)
    csr: bytes = key(1)
    journal_key: bytes = key(2)
    proof: bytes = key(3)


@dataclass(frozen=True, slots=True)
class ProvisionIssued:
    """`dcu` is the name (certificate CN). `transport` says 'mtls' or 'loopback-plain' (embedded broker: no transport
    security)."""

    request_id: bytes = key(0)
    dcu: str = key(1)
    certificate: bytes = key(2)
    ca_chain: bytes = key(3)
    command_key: bytes = key(4)
    activation_token: bytes = key(5)
    host: str = key(6)
    port: int = key(7)
    transport: str = key(8)


@dataclass(frozen=True, slots=True)
class ProvisionRejected:
    request_id: bytes = key(0)
    reason: str = key(1)
    retry_after_s: int = key(2, 0)


@dataclass(frozen=True, slots=True)
class Activate:
    serial: str = key(0)
    token: bytes = key(1)


@dataclass(frozen=True, slots=True)
class Activated:
    dcu: str = key(0)
    at_ms: int = key(1)


ENTRY_TYPES: dict[EntryKind, type] = {
    EntryKind.INTERVALS: Intervals,
    EntryKind.READINGS: Readings,
    EntryKind.EVENT: Event,
    EntryKind.JOURNAL: JournalRange,
    EntryKind.COMMAND_RECEIPT: CommandReceipt,
    EntryKind.METER_SEEN: MeterSeen,
    EntryKind.METER_STATUS: MeterStatus,
    EntryKind.NODE: NodeReport,
    EntryKind.CHECKPOINT: SignedCheckpoint,
    EntryKind.LEASE_ASK: LeaseAsk,
    EntryKind.MIRROR_ASK: MirrorAsk,
    EntryKind.TIME_LEFT: TimeLeftTold,
    EntryKind.SITE: SiteEntry,
}
