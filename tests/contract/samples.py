"""One sample of every message of the contract, with all fields set: the golden bytes pin the wire form of version 1."""

from __future__ import annotations

from gridtally_shared.contract import messages as m
from gridtally_shared.contract import prepay_messages as p
from gridtally_shared.meter_settings import Setting

UUID = bytes(range(16))
HASH = bytes(range(32))
AT = 1_795_305_600_000

SAMPLES: dict[str, object] = {
    type(sample).__name__: sample
    for sample in (
        m.StreamHead(UUID, 1, 43, 41),
        m.AccountHead(7, 1, 12, HASH, 3, 0b101),
        m.Hello(1, "dcu-1", UUID, "0.1.0", AT, 0, 4, (m.StreamHead(UUID, 1, 43, 41),), (m.AccountHead(7, 1, 12, HASH),)),
        m.CounterHead(UUID[:8], 77),
        m.Gone(UUID),
        m.Entry(42, 3, b"\x01\x02"),
        m.Batch(UUID, 2, (m.Entry(42, 3, b"\x01\x02"),), AT),
        m.ChannelBlock(11, 11, AT, 900, 4, b"\x01abc", b"\x00\x00\x01\x00"),
        m.Intervals((m.ChannelBlock(11, 11, AT, 900, 4, b"\x01abc"),)),
        m.Value(11, 1, AT, 123_456_789, 8),
        m.Readings((m.Value(11, 1, AT, 123_456_789),)),
        m.Event(11, 301, AT, "by order"),
        m.JournalRange(7, 1, 12, (b"\xa1\x00\x01",)),
        m.CommandReceipt(UUID, 11, 20, AT, "switch_stuck", b"\xa0"),
        m.MeterSeen("GT000011", "line-1", "is15959", "17", AT),
        m.NodeReport("plc-1", "00124B0001020304", 1, AT, "0011", "00124B0001020301", 2, 180, "GT000011"),
        m.MeterStatus(11, AT, True, 1, -250),
        m.Receipt(UUID, UUID, 2, 41, AT, AT - 5),
        m.Welcome(UUID, "dcu-1", UUID, AT, (m.StreamHead(UUID, 1, 43, 41),), (m.AccountHead(7, 1, 12, HASH),), (UUID,), 4, AT),
        m.Instrument(1, "dcu-1", 7, 1, 3, 1, 12_500_000_000, "EUR", HASH, AT, HASH, b"\xa0"),
        m.Command(
            1, UUID, "dcu-1", 11, 1, 3, 10, 9, AT, AT, AT + 900_000, UUID, AT - 1, AT, 5, "hello", "unpaid",
            (Setting(3, b"\xa1\x00\x19\x03\x84"),), 2, b"\xa0", UUID,
        ),
        m.MeterConfig(11, "GT000011", 7, 1800, "water", 9, (p.MeterHold("work", False, (UUID,)),)),
        m.AccountConfig(
            7, 1, 11, "EUR", "Europe/Madrid", "home", 2_000_000_000, "disconnect", "allowed", 2,
            ("22:00-06:00",), ("medical",), 5, True, "Calle 1", "scrypt$aa$bb", "es", 3600,
            "in-up", 4_600, ("rural",), 1, 1, HASH, "F-12", "small", "up", 3,
        ),
        m.TariffDocument("home", 2, AT, '{"kind":"flat"}'),
        m.DcuConfig(
            4, "dcu-1", AT, (m.MeterConfig(11, "GT000011", 7),),
            (m.AccountConfig(7, 1, 11, "EUR", "UTC", "home", 0),),
            (m.TariffDocument("home", 2, AT, "{}"),), 50, AT + 1,
            (p.PolicyDocument("in-up", 3, AT, "{}"),), (p.CalendarDocument("up", 1, AT, "{}"),),
        ),
        m.ProvisionHello(UUID, "SN-1", "0.1.0", UUID, AT, 2),
        m.ProvisionChallenge(UUID, HASH, AT, AT + 600_000),
        m.ProvisionEnrol(UUID, b"csr", HASH, HASH),
        m.ProvisionIssued(UUID, "dcu-1", b"cert", b"chain", HASH, HASH, "127.0.0.1", 8883, "mtls"),
        m.ProvisionRejected(UUID, "unknown_serial", 60),
        m.Activate("SN-1", HASH),
        m.Activated("dcu-1", AT),
        p.PolicyDocument("in-up", 3, AT, "{}"),
        p.CalendarDocument("up", 1, AT, "{}"),
        p.VersionMark(3, 739_000, AT),
        p.CarriedCharge("[]", (p.VersionMark(3, 739_000, AT), p.VersionMark(4, 739_010))),
        p.Checkpoint("dcu-1", 7, 1, 42, HASH, 12_500_000_000, 11, 480_000, AT),
        p.SignedCheckpoint(b"envelope"),
        p.SiteEntry(UUID, 11, 9, AT, b"\xa0", 9),
        p.MeterHold("work", False, (UUID,)),
        p.LeaseAsk(7, 1, 2, 300_000_000, AT),
        p.MirrorAsk(7, 1, 43),
        p.TimeLeftTold(7, 1, AT, 12_500_000_000, AT + 172_800_000, AT + 100_000_000, "history"),
    )
}  # fmt: skip
