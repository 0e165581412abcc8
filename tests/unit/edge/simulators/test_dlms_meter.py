"""The simulated DLMS meter: windows, losses, oddities, block transfer of any PDU, ciphers, rights, firmware, keys, pushes.

Our client drives it here; that both follow the standard is shown against foreign peers in tests/interop.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr, hdlc, wrapper
from gridtally_edge.protocols.dlms.access import AccessDenied, Attribute, Result, attribute, entry_selector, range_selector
from gridtally_edge.protocols.dlms.acse import Aare, Mechanism, Rlre
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.ciphering import CipherKeys
from gridtally_edge.protocols.dlms.client import PROPOSED, DlmsClient, Login
from gridtally_edge.protocols.dlms.cosem_time import datetime_octets, decode_datetime
from gridtally_edge.protocols.dlms.counters import MemoryCounters
from gridtally_edge.protocols.dlms.hdlc import Address, Frame
from gridtally_edge.protocols.dlms.hdlc_link import HdlcLink
from gridtally_edge.protocols.dlms.image import Image, ImageStatus, ImageTransfer
from gridtally_edge.protocols.dlms.initiate import Conformance
from gridtally_edge.protocols.dlms.key_transfer import KeyId, transfer_keys
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.notification import DataNotification, confirmation_of
from gridtally_edge.protocols.dlms.security import Form, Policy, Security
from gridtally_edge.protocols.dlms.services import GetResponse, SetResponse
from gridtally_edge.protocols.dlms.timing import Timing
from gridtally_edge.protocols.dlms.wrapper_link import WrapperLink
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_ciphers import MeterCiphers, Peer
from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_quirks import MEANINGS, Quirk, QuirkBoard
from gridtally_edge.simulators.dlms_slave import INDIA, DlmsSlave, DlmsUnit, WrapperSlave
from gridtally_edge.simulators.house import HouseMeter
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import LinkDown, MeterFault
from support.data import data_path
from support.dlms_bench import Bench
from support.dlms_wire import PASSWORD, START_MS, house

T = TypeVar("T")
SERIAL = attribute(1, "0.0.96.1.0.255", 2)
CLOCK = attribute(8, "0.0.1.0.0.255", 2)
PROFILE = attribute(7, "1.0.99.1.0.255", 2)
ENERGY = attribute(3, "1.0.1.8.0.255", 2)
ECHO = Attribute(8192, attribute(1, "0.0.128.0.0.255", 2).obis, 2)
ECHO_METHOD = replace(ECHO, index=1)
SWITCH_METHOD = attribute(70, "0.0.96.3.10.255", 1)
ORDER = Data(Tag.INT8, 0)
LOW = Login(Mechanism.LLS, PASSWORD.encode())
SECRET = b"0123456789ABCDEF"
KEYS = MeterKeys(b"GTY00017")
LONG = axdr.octet_string(bytes(n % 251 for n in range(3_000)))


class Meter:
    """One simulated meter, and clients of ours for it."""

    def __init__(self, framing: str = "hdlc", **unit: Any) -> None:
        self.house: HouseMeter = house("GT0017", ManualClock(START_MS))
        self.quirks = QuirkBoard()
        self.framing = framing
        made = DlmsUnit(self.house, 17, quirks=self.quirks, **unit)
        self.slave = DlmsSlave([made]) if framing == "hdlc" else WrapperSlave(made)
        self.bench = Bench(self.slave.receive)

    def client(self, login: Login = LOW, client: int = 32, size: int = 128, window: int = 1, **more: Any) -> DlmsClient:
        timing = Timing(1_000, 2)
        wanted = LinkParameters(size, size, window, window)
        hdlc_link = HdlcLink(Address(client), Address(1, 17, 2), wanted, timing)
        return DlmsClient(hdlc_link if self.framing == "hdlc" else WrapperLink(client, 1, timing), login, **more)

    def does(self, client: DlmsClient, work: Callable[[DlmsClient], Conversation[T]]) -> T:
        def whole() -> Conversation[T]:
            yield from client.open()
            result = yield from work(client)
            yield from client.close()
            return result

        return self.bench.run(whole())

    def rows(self, client: DlmsClient) -> int:
        return len(axdr.items_of(self.does(client, lambda c: c.get(PROFILE))))

    @property
    def all_rows(self) -> int:
        return len(self.house.profile(0, START_MS))


def get(target: Attribute) -> Callable[[DlmsClient], Conversation[Data]]:
    return lambda client: client.get(target)


def serial(meter: Meter, client: DlmsClient | None = None) -> str:
    return axdr.text_of(meter.does(client or meter.client(), get(SERIAL)))


def security(policy: Policy = Policy.BOTH, keys: MeterKeys = KEYS, **more: Any) -> Security:
    given_keys = CipherKeys(keys.unicast, keys.authentication)
    return Security(b"GRT12345", given_keys, MemoryCounters(), policy, keys.suite, **more)


# ---- the link ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "window"), [(128, 1), (128, 2), (128, 7), (2_030, 1), (2_030, 5)])
def test_frames_and_windows_as_agreed(size: int, window: int) -> None:
    meter = Meter(frame_size=size, window=window, max_pdu=20_000)
    assert meter.rows(meter.client(size=size, window=window)) == meter.all_rows
    frames = [list(hdlc.scan(answer)) for answer in meter.bench.answers]
    assert max(len(found) for found in frames) == window
    assert max(len(one.frame.information) for found in frames for one in found) == size
    assert all(found[-1].frame.poll and not any(one.frame.poll for one in found[:-1]) for found in frames)


def test_the_smaller_side_decides() -> None:
    meter = Meter(frame_size=300, window=5)
    assert meter.rows(meter.client(size=2_030, window=2)) == meter.all_rows
    answer = next(hdlc.scan(meter.bench.answers[0])).frame.information
    assert answer == LinkParameters(300, 300, 2, 2).octets()


@pytest.mark.parametrize("quirk", [Quirk.REJECT, Quirk.BUSY, Quirk.LOSE_FRAME, Quirk.EMPTY_UA])
@pytest.mark.parametrize("window", [1, 3])
def test_a_client_gets_over_what_the_link_does(quirk: Quirk, window: int) -> None:
    meter = Meter(frame_size=128, window=window, max_pdu=1_000)
    meter.quirks.add(quirk, 3)
    assert meter.rows(meter.client(window=window)) == meter.all_rows
    assert meter.quirks.listed() == () or quirk is Quirk.EMPTY_UA


@pytest.mark.parametrize("quirk", [Quirk.FRAME_REJECT, Quirk.FORGET_LINK])
def test_a_dropped_link_is_made_again(quirk: Quirk) -> None:
    meter = Meter()

    def twice(client: DlmsClient) -> Conversation[str]:
        yield from client.get(SERIAL)
        meter.quirks.add(quirk, 1)
        return axdr.text_of((yield from client.get(SERIAL)))

    assert meter.does(meter.client(), twice) == "GT0017"


def test_a_frame_out_of_turn_is_rejected_and_an_old_one_answered_again() -> None:
    slave = DlmsSlave([DlmsUnit(house("GT0017", ManualClock(START_MS)), 17, window=7)])
    ours, theirs = Address(16), Address(1, 17, 2)

    def say(control: int, information: bytes = b"") -> list[Frame]:
        return list(hdlc.frames_of(slave.receive(hdlc.encode_frame(Frame(theirs, ours, control, information)))))

    say(hdlc.SNRM, LinkParameters(128, 128, 7, 7).octets())
    (ahead,) = say(hdlc.information(2, 0), b"x")
    assert (ahead.kind, ahead.receive_number) == (hdlc.Control.REJ, 0)
    first = say(hdlc.information(0, 0), hdlc.LLC_COMMAND + bytes.fromhex("c001c1000100006001 00ff0200".replace(" ", "")))
    assert say(hdlc.information(0, 0), hdlc.LLC_COMMAND + b"\x00") == first
    (refused,) = say(hdlc.information(1, 1), b"no link header")
    assert (refused.kind, len(refused.information)) == (hdlc.Control.FRMR, 3)
    (gone,) = say(hdlc.receive_ready(1))
    assert gone.kind is hdlc.Control.DM


# ---- oddities ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("quirk", [Quirk.TRAILING, Quirk.DOUBLE_CLOCK, Quirk.NO_RLRE])
def test_oddities_that_a_client_passes_over(quirk: Quirk, framing: str) -> None:
    meter = Meter(framing)
    meter.quirks.add(quirk)
    clock = meter.does(meter.client(), get(CLOCK))
    assert axdr.octets_of(clock) == datetime_octets(START_MS, INDIA)
    assert serial(meter) == "GT0017"


def test_the_doubled_clock_and_the_trailing_octets_are_there() -> None:
    plain, odd = Meter("wrapper"), Meter("wrapper")
    odd.quirks.add(Quirk.DOUBLE_CLOCK)
    for meter in (plain, odd):
        meter.does(meter.client(), get(CLOCK))
    once, twice = (next(a for a in m.bench.answers if a[8:10] == b"\xc4\x01")[8:] for m in (plain, odd))
    assert twice == once + once[4:]


def test_entries_only() -> None:
    meter = Meter(entry_access_only=True)
    ends = [axdr.octet_string(datetime_octets(at_ms, INDIA)) for at_ms in (0, START_MS)]
    with pytest.raises(AccessDenied) as refused:
        meter.does(meter.client(), lambda c: c.get(PROFILE, range_selector(CLOCK, *ends)))
    assert refused.value.no_range_access
    entries = meter.does(meter.client(), lambda c: c.get(PROFILE, entry_selector(1, 5)))
    assert len(axdr.items_of(entries)) == 5


def test_every_oddity_has_its_meaning_in_words() -> None:
    assert set(MEANINGS) == set(Quirk)


# ---- long values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("general", [False, True], ids=["service blocks", "general blocks"])
@pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "ciphered"])
def test_long_values_go_both_ways_in_blocks(framing: str, general: bool, keys: MeterKeys | None) -> None:
    meter = Meter(framing, max_pdu=300, block_transfer=general, access=MeterAccess(password=PASSWORD.encode(), keys=keys))
    proposed = PROPOSED | Conformance.GENERAL_BLOCK_TRANSFER if general else PROPOSED
    client = meter.client(max_pdu=300, proposed=proposed, security=security() if keys else None)

    def there_and_back(client: DlmsClient) -> Conversation[tuple[Data, Data | None]]:
        yield from client.set(ECHO, LONG)
        return (yield from client.get(ECHO)), (yield from client.act(ECHO_METHOD, LONG))

    assert meter.does(client, there_and_back) == (LONG, LONG)


def test_lost_blocks_of_a_window_come_again() -> None:
    meter = Meter("wrapper", max_pdu=300, block_transfer=True)
    meter.quirks.add(Quirk.LOSE_GENERAL_BLOCK, 3)
    client = meter.client(max_pdu=300, proposed=PROPOSED | Conformance.GENERAL_BLOCK_TRANSFER)
    assert meter.rows(client) == meter.all_rows
    assert meter.quirks.listed() == ()


def test_lists_are_read_written_and_run() -> None:
    meter = Meter("wrapper")
    short, other = axdr.octet_string(b"one"), axdr.octet_string(b"two")

    def lists(client: DlmsClient) -> Conversation[tuple[Any, ...]]:
        read = yield from client.get_list((SERIAL, ENERGY, attribute(1, "0.0.99.99.99.255", 2)))
        written = yield from client.set_list(((ECHO, short), (SERIAL, short)))
        run = yield from client.act_list(((ECHO_METHOD, short), (ECHO_METHOD, other)))
        return read, written, run

    read, written, run = meter.does(meter.client(), lists)
    assert (axdr.text_of(read[0]), axdr.integer_of(read[1])) == ("GT0017", meter.house.snapshot().energy_import_wh)
    assert (read[2], written) == (Result(4), (Result(0), Result(3)))
    assert run == (short, other)


def test_a_block_out_of_order_ends_a_long_request() -> None:
    slave = WrapperSlave(DlmsUnit(house("GT0017", ManualClock(START_MS)), 17))
    bench = Bench(slave.receive)
    bench.run(DlmsClient(WrapperLink(32, 1), LOW).open())
    first = bytes.fromhex("c102c1200000008000 00ff0200 00 00000001 02 0904".replace(" ", ""))
    for apdu, answer in ((first, "c502c100000001"), (bytes.fromhex("c103c1010000000302aabb"), "c503c11100000003")):
        got = slave.receive(wrapper.WrapperPdu(32, 1, apdu).octets())
        assert wrapper.scan(got)[0].pdu.apdu.hex() == answer


# ---- logins, ciphers, rights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [{}, {"form": Form.GENERAL}, {"form": Form.CIPHERED}, {"dedicated": True}], ids=["service", "general", "ciphering", "dedicated"]
)
@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_all_ways_of_ciphering(framing: str, more: dict[str, Any]) -> None:
    meter = Meter(framing, access=MeterAccess(mechanism=Mechanism.HLS_GMAC, ciphered=True, keys=KEYS))
    client = meter.client(Login(Mechanism.HLS_GMAC), security=security(**more), proposed=PROPOSED | Conformance.GENERAL_PROTECTION)
    assert meter.rows(client) == meter.all_rows


def test_a_lost_counter_is_repaired_from_the_exception_response() -> None:
    meter = Meter(access=MeterAccess(ciphered=True, password=PASSWORD.encode(), keys=KEYS))
    repairs: list[int] = []
    own = security(on_repair=lambda repair: repairs.append(repair.theirs))
    assert serial(meter, meter.client(security=own)) == "GT0017"
    meter.quirks.add(Quirk.COUNTER_ERROR, 1)
    assert serial(meter, meter.client(security=own)) == "GT0017"
    assert len(repairs) == 1
    assert repairs[0] > 1_000


def test_a_replayed_request_is_refused_and_changes_nothing() -> None:
    meter = Meter("wrapper", access=MeterAccess(ciphered=True, password=PASSWORD.encode(), keys=KEYS))
    meter.does(meter.client(security=security()), lambda c: c.act(SWITCH_METHOD, ORDER))
    order = next(r for r in meter.bench.requests if r[8] == 0xCB)
    meter.house.operate_switch(True)
    answer = wrapper.scan(meter.slave.receive(order))[0].pdu.apdu
    assert answer[:1] == b"\xd8"
    assert meter.house.switch() is SwitchState.CLOSED


def test_each_client_has_the_rights_of_the_standard() -> None:
    meter = Meter(access=MeterAccess(Scheme.IS15959, Mechanism.HLS, PASSWORD.encode(), SECRET))
    high = Login(Mechanism.HLS, SECRET)
    reader, settings, firmware = meter.client(), meter.client(high, 48), meter.client(high, 80)
    for refused in (reader, firmware, meter.client(Login(), 16)):
        with pytest.raises(AccessDenied):
            meter.does(refused, lambda c: c.act(SWITCH_METHOD, ORDER))
    assert meter.house.switch() is SwitchState.CLOSED
    meter.does(settings, lambda c: c.act(SWITCH_METHOD, ORDER))
    assert meter.house.switch() is SwitchState.OPEN
    with pytest.raises(AccessDenied):
        meter.does(settings, lambda c: ImageTransfer(c).send(Image(b"GT2", bytes(100))))
    assert meter.does(firmware, lambda c: ImageTransfer(c).send(Image(b"GT2", bytes(100)))) == 1
    with pytest.raises(AccessDenied):
        meter.does(meter.client(Login(), 16), get(ENERGY))
    for stranger in (meter.client(client=33), meter.client(LOW, 48), meter.client(Login(Mechanism.HLS, b"x" * 16), 48)):
        with pytest.raises(MeterFault):
            serial(meter, stranger)


def test_the_public_client_reads_the_counter_of_another() -> None:
    meter = Meter(access=MeterAccess(Scheme.IS15959, Mechanism.HLS, PASSWORD.encode(), SECRET, True, KEYS))
    own = security(Policy.ENCRYPTED)
    serial(meter, meter.client(security=own))
    shown = meter.does(meter.client(Login(), 16), get(attribute(1, "0.0.43.1.2.255", 2)))
    assert axdr.integer_of(shown) == own.counters.next_of(own.channel) - 1


# ---- firmware and keys ------------------------------------------------------------------------------------------------

IMAGE = Image(b"GT2.0", bytes(n * 7 % 256 for n in range(1_000)))


def load(client: DlmsClient) -> Conversation[tuple[int, ImageStatus, ImageStatus]]:
    transfer = ImageTransfer(client)
    sent = yield from transfer.send(IMAGE)
    return sent, (yield from transfer.verify()), (yield from transfer.activate())


def test_firmware_with_lost_blocks_and_slow_verification() -> None:
    meter = Meter()
    meter.quirks.add(Quirk.LOSE_BLOCK, 3)
    meter.quirks.add(Quirk.SLOW_VERIFY, 2)
    assert meter.does(meter.client(), load) == (11, ImageStatus.VERIFIED, ImageStatus.ACTIVATED)
    assert axdr.text_of(meter.does(meter.client(), get(attribute(1, "1.0.0.2.0.255", 2)))) == "GT2.0"
    assert meter.house.events()[-1].code == 157


def test_a_refused_image_is_not_activated() -> None:
    meter = Meter()
    before = meter.does(meter.client(), get(attribute(1, "1.0.0.2.0.255", 2)))
    meter.quirks.add(Quirk.REFUSE_VERIFY, 1)

    def refused(client: DlmsClient) -> Conversation[ImageStatus]:
        transfer = ImageTransfer(client)
        yield from transfer.send(IMAGE)
        for ask in (transfer.verify(), transfer.activate()):
            with pytest.raises(AccessDenied):
                yield from ask
        return (yield from transfer.status())

    assert meter.does(meter.client(), refused) is ImageStatus.VERIFY_FAILED
    assert meter.does(meter.client(), get(attribute(1, "1.0.0.2.0.255", 2))) == before


@pytest.mark.covers_part("BYPL-8.1")
def test_a_transfer_goes_on_where_it_stopped() -> None:
    meter = Meter()
    some: list[int] = []

    def half(client: DlmsClient) -> Conversation[None]:
        def stop(done: int, of: int) -> None:
            some.append(done)
            if done == 4:
                raise LinkDown("the DCU lost its power")

        yield from ImageTransfer(client).send(IMAGE, stop)

    with pytest.raises(LinkDown):
        meter.does(meter.client(), half)
    assert meter.does(meter.client(), load) == (8 - len(some), ImageStatus.VERIFIED, ImageStatus.ACTIVATED)


def test_a_meter_that_restarts_at_activation_forgets_its_links() -> None:
    meter = Meter()

    def restart(client: DlmsClient) -> Conversation[None]:
        transfer = ImageTransfer(client)
        yield from transfer.send(IMAGE)
        yield from transfer.verify()
        meter.quirks.add(Quirk.REBOOT, 1)
        yield from client.act(attribute(18, "0.0.44.0.0.255", 4), ORDER)
        yield from client.get(SERIAL)

    meter.does(meter.client(), restart)
    kinds = [hdlc.frames_of(request)[0].kind for request in meter.bench.requests]
    assert kinds.count(hdlc.Control.SNRM) == 2
    assert len(meter.bench.requests) - len(meter.bench.answers) == 3
    assert axdr.text_of(meter.does(meter.client(), get(attribute(1, "1.0.0.2.0.255", 2)))) == "GT2.0"


def test_new_keys_hold_from_the_next_request_on() -> None:
    fresh = bytes(range(60, 76))
    meter = Meter(access=MeterAccess(ciphered=True, password=PASSWORD.encode(), keys=KEYS))
    meter.does(meter.client(security=security()), lambda c: _hand_over(c, KEYS.master, fresh))
    with pytest.raises(MeterFault):
        serial(meter, meter.client(security=security()))
    assert serial(meter, meter.client(security=security(keys=replace(KEYS, unicast=fresh)))) == "GT0017"
    assert meter.house.events()[-1].code == 164


def test_a_key_wrapped_with_another_master_key_changes_nothing() -> None:
    meter = Meter(access=MeterAccess(ciphered=True, password=PASSWORD.encode(), keys=KEYS))
    own = security()
    with pytest.raises(AccessDenied):
        meter.does(meter.client(security=own), lambda c: _hand_over(c, bytes(16), bytes(range(60, 76))))
    assert serial(meter, meter.client(security=own)) == "GT0017"


def _hand_over(client: DlmsClient, master: bytes, key: bytes) -> Conversation[None]:
    yield from transfer_keys(client, master, {KeyId.GLOBAL: key})


@pytest.mark.parametrize(("mechanism", "secret"), [(Mechanism.LLS, b"87654321"), (Mechanism.HLS, b"FEDCBA9876543210")])
def test_a_new_secret_holds_from_the_next_login_on(mechanism: Mechanism, secret: bytes) -> None:
    meter = Meter(access=MeterAccess(mechanism=mechanism, password=PASSWORD.encode(), secret=SECRET))
    old = Login(mechanism, PASSWORD.encode() if mechanism is Mechanism.LLS else SECRET)

    def change(client: DlmsClient) -> Conversation[None]:
        if mechanism is Mechanism.LLS:
            yield from client.set(attribute(15, "0.0.40.0.0.255", 7), axdr.octet_string(secret))
        else:
            yield from client.act(attribute(15, "0.0.40.0.0.255", 2), axdr.octet_string(secret))

    meter.does(meter.client(old), change)
    with pytest.raises(MeterFault):
        serial(meter, meter.client(old))
    assert serial(meter, meter.client(Login(mechanism, secret))) == "GT0017"
    assert meter.house.events()[-1].code == (161 if mechanism is Mechanism.LLS else 162)


# ---- pushes -----------------------------------------------------------------------------------------------------------


def test_pushes_repeat_swap_and_ask_for_a_confirmation() -> None:
    meter = Meter("wrapper")
    pdus = [wrapper.scan(datagram)[0].pdu for datagram in meter.slave.push(Push(PushKind.ALERT, (83,), repeats=1, count=2, swapped=True))]
    invokes = [push.invoke for push in map(decode_apdu, (pdu.apdu for pdu in pdus)) if isinstance(push, DataNotification)]
    assert invokes == [2, 2, 1, 1]
    assert {pdu.destination for pdu in pdus} == {64}
    (asked,) = meter.slave.push(Push(PushKind.ALERT, (83,), confirmed=True))
    push = decode_apdu(wrapper.scan(asked)[0].pdu.apdu)
    assert isinstance(push, DataNotification)
    confirmation = confirmation_of(push)
    assert confirmation is not None
    assert meter.slave.receive(wrapper.WrapperPdu(64, 1, confirmation.octets()).octets()) == b""
    assert meter.slave.meter.device.confirmed == [push.invoke]


def test_a_push_set_up_reads_back_what_was_written() -> None:
    meter = Meter()
    window = attribute(40, "0.0.25.9.0.255", 6)
    meter.does(meter.client(), lambda c: c.set(window, Data(Tag.UINT8, 3)))
    assert meter.does(meter.client(), get(window)) == Data(Tag.UINT8, 3)


# ---- recorded octets ---------------------------------------------------------------------------------------------------


def recorded(kind: str) -> list[bytes]:
    pdus = json.loads(data_path("dlms/xdlms_pdus.json").read_text())["pdus"]
    return [bytes.fromhex(pdu["hex"]) for pdu in pdus if pdu["kind"] == kind]


def test_recorded_frames_of_a_foreign_client_open_the_public_association() -> None:
    meter = Meter()
    snrm, aarq = recorded("hdlc-frame")[:2]
    (ua,) = hdlc.frames_of(meter.slave.receive(snrm))
    assert (ua.kind, ua.information) == (hdlc.Control.UA, LinkParameters().octets())
    (answer,) = hdlc.frames_of(meter.slave.receive(aarq))
    aare = decode_apdu(hdlc.strip_llc(answer.information))
    assert isinstance(aare, Aare)
    assert (aare.result, aare.diagnostic) == (0, 0)


def test_recorded_requests_are_answered() -> None:
    meter = Meter("wrapper")
    meter.bench.run(meter.client().open())

    def answer(request: bytes) -> Any:
        return decode_apdu(wrapper.scan(meter.slave.receive(wrapper.WrapperPdu(32, 1, request).octets()))[0].pdu.apdu)

    ranges = [answer(request) for request in recorded("get-request") if request[:2] == b"\xc0\x01"]
    assert [type(one) for one in ranges] == [GetResponse] * len(ranges)
    assert len(ranges) >= 3
    assert answer(recorded("get-request")[1]).block.content == Result(19), "a next block that nobody announced"
    assert answer(recorded("set-request")[0]) == SetResponse(0xC1, Result(0))
    assert meter.house.clock_ms() == decode_datetime(recorded("set-request")[0][15:27]).utc_ms(INDIA)
    assert answer(recorded("rlrq")[0]) == Rlre(0)


def test_the_gmac_proof_of_the_standard_convinces_the_meter_and_another_does_not() -> None:
    vector = json.loads(data_path("dlms/security_vectors.json").read_text())
    case, keys = vector["hls5_gmac"], vector["suite0"]
    ciphers = MeterCiphers(
        MeterKeys(bytes.fromhex(case["server_title"]), bytes.fromhex(keys["encryption_key"]), bytes.fromhex(keys["authentication_key"])),
        QuirkBoard(),
    )
    peer, proof = Peer(2, bytes.fromhex(case["client_title"])), bytes.fromhex(case["f_stoc"])
    assert ciphers.proves(proof, bytes.fromhex(case["stoc"]), peer)
    assert not ciphers.proves(proof, bytes.fromhex(case["ctos"]), peer)
    assert not ciphers.proves(proof[:-1] + b"\x29", bytes.fromhex(case["stoc"]), peer)


# ---- whatever comes in ------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_no_octets_break_the_meter(pieces: list[bytes], ciphered: bool) -> None:
    unit = DlmsUnit(house("GT0017", ManualClock(START_MS)), 17, access=MeterAccess(keys=KEYS if ciphered else None), block_transfer=True)
    slave = WrapperSlave(unit)
    Bench(slave.receive).run(DlmsClient(WrapperLink(32, 1), Login(Mechanism.LLS, b"ABCD0001")).open())
    for piece in pieces:
        for tag in (b"", b"\xc0\x01", b"\xc1\x02", b"\xc3\x04", b"\xe0", b"\xdb", b"\x60", b"\xc8"):
            slave.receive(wrapper.WrapperPdu(32, 1, tag + piece).octets())
        slave.receive(piece)
