"""A foreign simulated meter: gurux-dlms serves one meter over TCP for our client.

Runs in a process of its own; gurux-dlms is GPL and is no part of gridtally. One job a line on standard input (JSON: framing,
login, keys), answered with the port; {"state": true} is answered with what happened to the meter.

Framing, ciphers, proofs, AARQ, conformance and data are the library's. Its server class raises on the first object list,
profile, method or ciphered request in this version (1.0.203), so this script has its own table of services in between.
"""

import json
import socket
import sys
import threading
import traceback
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from gurux_dlms import GXByteBuffer, GXDateTime, GXReplyData
from gurux_dlms._GXAPDU import _GXAPDU
from gurux_dlms.AesGcmParameter import AesGcmParameter
from gurux_dlms.enums import (
    AccessMode,
    AssociationResult,
    Authentication,
    Command,
    Conformance,
    DataType,
    InterfaceType,
    MethodAccessMode,
    RequestTypes,
    Security,
    SourceDiagnostic,
)
from gurux_dlms.GXCiphering import GXCiphering
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXDLMSLNParameters import GXDLMSLNParameters
from gurux_dlms.GXDLMSSettings import GXDLMSSettings
from gurux_dlms.GXSecure import GXSecure
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSImageTransfer,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.objects.enums import SecuritySuite

AUTHENTICATION = {
    "none": Authentication.NONE, "low": Authentication.LOW, "high": Authentication.HIGH, "md5": Authentication.HIGH_MD5,
    "sha1": Authentication.HIGH_SHA1, "gmac": Authentication.HIGH_GMAC, "sha256": Authentication.HIGH_SHA256,
}  # fmt: skip
SECURITY = {"none": Security.NONE, "auth": Security.AUTHENTICATION, "enc": Security.ENCRYPTION, "both": Security.AUTHENTICATION_ENCRYPTION}
START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS, BLOCK = 400, 64
DENIED, UNDEFINED, OTHER = 3, 4, 250
CLOCK, PROFILE, SWITCH, IMAGE = "0.0.1.0.0.255", "1.0.99.1.0.255", "0.0.96.3.10.255", "0.0.44.0.0.255"
DLMS_CONNECTED = 2
INITIATED, VERIFIED, FAILED, ACTIVATED = 1, 3, 4, 6


def encoded(*pairs):
    """Values in the library's own encoding: type and value in turn."""
    buffer = GXByteBuffer()
    for kind, value in pairs:
        _GXCommon.setData(None, buffer, kind, value)
    return bytes(buffer.array())


def open_request(settings, data):
    """In place of the library's own, which hands its cipher the arguments in the wrong places."""
    data.data.position -= 1
    cipher = settings.cipher
    own = cipher.dedicatedKey and settings.connected & DLMS_CONNECTED
    key = cipher.dedicatedKey if own else cipher.blockCipherKey
    parameters = AesGcmParameter(0, settings.sourceSystemTitle, key, cipher.authenticationKey)
    plain = GXCiphering.decrypt(settings, parameters, data.data)
    data.data.clear()
    data.data.set(plain)
    data.command = Command(data.data.getUInt8())


GXDLMS.handleGloDedRequest = open_request


def tagged(tag, octets):
    return bytes((tag, len(octets))) + octets


class Refused(Exception):
    pass


class Meter:
    def __init__(self, job):
        self.hdlc = job["framing"] == "hdlc"
        self.secret = bytes.fromhex(job.get("secret", ""))
        self.auth = AUTHENTICATION[job.get("auth", "low")]
        self.limit = job.get("max_pdu", 400)
        self.job = job
        self.energy, self.echo, self.closed = 123456, b"", True
        self.image, self.image_status, self.image_name, self.image_size = {}, 0, b"", 0
        self.objects = [
            GXDLMSData("0.0.96.1.0.255"), GXDLMSClock(), GXDLMSRegister("1.0.1.8.0.255"), GXDLMSProfileGeneric(PROFILE),
            GXDLMSDisconnectControl(SWITCH), GXDLMSImageTransfer(IMAGE), GXDLMSAssociationLogicalName("0.0.40.0.0.255"),
        ]  # fmt: skip
        self.reset()

    def reset(self):
        """A new connection."""
        job = self.job
        settings = self.settings = GXDLMSSettings(True, None)
        settings.setUseLogicalNameReferencing(True)
        settings.interfaceType = InterfaceType.HDLC if self.hdlc else InterfaceType.WRAPPER
        settings.maxServerPDUSize = settings.maxPduSize = self.limit
        settings.hdlc.maxInfoTX = settings.hdlc.maxInfoRX = job.get("frame_size", 128)
        settings.proposedConformance |= Conformance.GENERAL_PROTECTION
        cipher = settings.cipher = GXCiphering(bytearray.fromhex(job.get("title", "4755525558303137")))
        cipher.security = self.security = SECURITY[job.get("security", "none")]
        if "key" in job:
            cipher.securitySuite = SecuritySuite(job.get("suite", 0))
            cipher.blockCipherKey = bytearray.fromhex(job["key"])
            cipher.authenticationKey = bytearray.fromhex(job["auth_key"])
        self.buffer, self.info, self.reply = GXByteBuffer(), GXReplyData(), GXByteBuffer()
        self.pending, self.block, self.long = b"", 0, None

    def receive(self, octets):
        self.buffer.set(octets)
        GXDLMS.getData(self.settings, self.buffer, self.info, None)
        if not self.info.complete:
            return b""
        self.buffer.clear()
        if self.info.moreData & RequestTypes.FRAME:
            return GXDLMS.getHdlcFrame(self.settings, self.settings.getReceiverReady(), None)
        command, data = self.info.command, self.info.data
        frame = self.settings.getNextSend(False) if self.reply.size else 0
        if command == Command.NONE and not self.reply.size:
            return GXDLMS.getHdlcFrame(self.settings, self.settings.getReceiverReady(), None)
        if command != Command.NONE:
            self.reply.clear()
            frame = SERVICES[command](self, data) or 0
            self.info.clear()
        if self.hdlc:
            return GXDLMS.getHdlcFrame(self.settings, frame, self.reply)
        return GXDLMS.getWrapperFrame(self.settings, command, self.reply)

    # Link and association

    def snrm(self, data):
        settings = self.settings
        GXDLMS.parseSnrmUaResponse(data, settings.hdlc)
        settings.resetFrameSequence()
        body = bytearray()
        for tag, value in ((5, settings.hdlc.maxInfoTX), (6, settings.hdlc.maxInfoRX)):
            body += bytes((tag, 2)) + value.to_bytes(2, "big")
        body += bytes((7, 4, 0, 0, 0, 1, 8, 4, 0, 0, 0, 1))
        self.reply.set(b"\x81\x80" + bytes((len(body),)) + bytes(body))
        return int(Command.UA)

    def disc(self, data):
        self.settings.connected = 0
        return int(Command.UA)

    def aarq(self, data):
        settings = self.settings
        settings.connected &= ~DLMS_CONNECTED
        diagnostic = _GXAPDU.parsePDU(settings, settings.cipher, data, None)
        settings.cipher.security = self.security
        result = AssociationResult.ACCEPTED
        wrong = self.auth == Authentication.LOW and bytes(settings.password or b"") != self.secret
        if diagnostic not in (None, SourceDiagnostic.NONE) or settings.authentication != self.auth or wrong:
            result, diagnostic = AssociationResult.PERMANENT_REJECTED, SourceDiagnostic.AUTHENTICATION_FAILURE
        elif self.auth > Authentication.LOW:
            diagnostic = SourceDiagnostic.AUTHENTICATION_REQUIRED
            settings.setStoCChallenge(bytearray(GXSecure.generateChallenge()))
        else:
            diagnostic = SourceDiagnostic.NONE
        settings.maxPduSize = min(settings.maxPduSize, self.limit)
        self.reply.set((b"\xe6\xe7\x00" if self.hdlc else b"") + self.aare(int(result), int(diagnostic)))
        if result == AssociationResult.ACCEPTED:
            settings.connected |= DLMS_CONNECTED

    def aare(self, result, diagnostic):
        """Written here: the library writes the challenge's length two short, and raises where a title belongs."""
        settings, cipher = self.settings, self.settings.cipher
        ciphered, high = cipher.security != Security.NONE, self.auth > Authentication.LOW
        oid = b"\x60\x85\x74\x05\x08"
        body = tagged(0xA1, tagged(6, oid + bytes((1, 3 if ciphered else 1)))) + tagged(0xA2, bytes((2, 1, result)))
        body += tagged(0xA3, tagged(0xA1, bytes((2, 1, diagnostic))))
        if ciphered or high:
            body += tagged(0xA4, tagged(4, bytes(cipher.systemTitle)))
        if high:
            body += b"\x88\x02\x07\x80" + tagged(0x89, oid + bytes((2, int(self.auth))))
            body += tagged(0xAA, tagged(0x80, bytes(settings.getStoCChallenge())))
        if not result:
            body += tagged(0xBE, tagged(4, bytes(_GXAPDU.getUserInformation(settings, cipher))))
            cipher.invocationCounter += 1
        return tagged(0x61, body)

    def rlrq(self, data):
        self.settings.connected &= ~DLMS_CONNECTED
        self.reply.set((b"\xe6\xe7\x00" if self.hdlc else b"") + b"\x63\x03\x80\x01\x00")

    def send(self, command, pdu):
        """A PDU, ciphered by the library as the association wants it."""
        if self.settings.cipher.security != Security.NONE:
            parameters = GXDLMSLNParameters(self.settings, 0, command, 1, None, None, 0xFF)
            pdu = GXDLMS.cipher0(parameters, bytearray(pdu))
            self.settings.cipher.invocationCounter += 1
        self.reply.set((b"\xe6\xe7\x00" if self.hdlc else b"") + bytes(pdu))

    # Services

    def target(self, data):
        class_id, name = data.getUInt16(), bytearray(6)
        data.get(name)
        return class_id, _GXCommon.toLogicalName(name), data.getUInt8()

    def value(self, data):
        return _GXCommon.getData(self.settings, data, _GXDataInfo())

    def selector(self, data):
        return (data.getUInt8(), self.value(data)) if data.getUInt8() else (0, None)

    def get(self, data):
        kind, invoke = data.getUInt8(), data.getUInt8()
        if kind == 2:
            return self.next_block(invoke, data.getUInt32())
        if kind == 3:
            count = _GXCommon.getObjectCount(data)
            outcomes = b"".join(self.read(self.target(data), self.selector(data)) for _ in range(count))
            return self.answer_get(invoke, 3, bytes((count,)) + outcomes)
        return self.answer_get(invoke, 1, self.read(self.target(data), self.selector(data)))

    def answer_get(self, invoke, kind, body):
        if len(body) + 50 <= self.settings.maxPduSize or body[:1] == b"\x01":
            return self.send(Command.GET_RESPONSE, bytes((0xC4, kind, invoke)) + body)
        self.pending, self.block = body[1:] if kind == 1 else body, 0
        return self.next_block(invoke, 0)

    def next_block(self, invoke, confirmed):
        if confirmed != self.block:
            return self.send(Command.GET_RESPONSE, bytes((0xC4, 2, invoke, 1)) + confirmed.to_bytes(4, "big") + b"\x01\x13")
        size = self.settings.maxPduSize - 50
        piece, self.pending = self.pending[:size], self.pending[size:]
        self.block += 1
        length = GXByteBuffer()
        _GXCommon.setObjectCount(len(piece), length)
        head = bytes((0xC4, 2, invoke, 0 if self.pending else 1)) + self.block.to_bytes(4, "big") + b"\x00"
        return self.send(Command.GET_RESPONSE, head + bytes(length.array()) + piece)

    def read(self, target, selector):
        try:
            return b"\x00" + self.attribute(*target[1:], *selector)
        except Refused as refusal:
            return bytes((1, refusal.args[0]))

    def attribute(self, name, index, selector, parameters):
        if (name, index) == (PROFILE, 2):
            return self.rows(selector, parameters)
        plain = {
            ("0.0.96.1.0.255", 2): (DataType.OCTET_STRING, bytearray(b"GURUX17")),
            (CLOCK, 2): (DataType.OCTET_STRING, GXDateTime(START)),
            ("1.0.1.8.0.255", 2): (DataType.UINT32, self.energy),
            ("0.0.128.0.0.255", 2): (DataType.OCTET_STRING, bytearray(self.echo)),
            (SWITCH, 2): (DataType.BOOLEAN, self.closed),
            (SWITCH, 3): (DataType.ENUM, 1 if self.closed else 0),
            (IMAGE, 2): (DataType.UINT32, BLOCK),
            (IMAGE, 3): (DataType.BITSTRING, "".join("1" if n in self.image else "0" for n in range(self.blocks()))),
            (IMAGE, 4): (DataType.UINT32, next((n for n in range(self.blocks()) if n not in self.image), self.blocks())),
            (IMAGE, 5): (DataType.BOOLEAN, True),
            (IMAGE, 6): (DataType.ENUM, self.image_status),
        }
        if (name, index) in plain:
            return encoded(plain[name, index])
        if (name, index) == ("1.0.1.8.0.255", 3):
            return b"\x02\x02" + encoded((DataType.INT8, 1), (DataType.ENUM, 30))
        if (name, index) == (PROFILE, 3):
            return b"\x01\x02" + self.column(8, CLOCK) + self.column(3, "1.0.1.8.0.255")
        if (name, index) == ("0.0.40.0.0.255", 2):
            association = self.objects[-1]
            association.objectList = self.objects
            self.settings.index = 0
            return bytes(association.getObjects(self.settings, SimpleNamespace(server=self, isSkipMaxPduSize=True)).array())
        raise Refused(UNDEFINED)

    def onGetAttributeAccess(self, arg):
        return AccessMode.READ_WRITE

    def onGetMethodAccess(self, arg):
        return MethodAccessMode.ACCESS

    def column(self, class_id, name):
        octets = bytearray(_GXCommon.logicalNameToBytes(name))
        parts = (DataType.UINT16, class_id), (DataType.OCTET_STRING, octets), (DataType.INT8, 2), (DataType.UINT16, 0)
        return b"\x02\x04" + encoded(*parts)

    def rows(self, selector, parameters):
        chosen = list(range(ROWS))
        if selector == 1:
            first, last = (self.moment(parameters[n]) for n in (1, 2))
            chosen = [n for n in chosen if first <= START + timedelta(minutes=15 * n) <= last]
        elif selector == 2:
            chosen = chosen[parameters[0] - 1 : parameters[1] or None]
        count = GXByteBuffer()
        _GXCommon.setObjectCount(len(chosen), count)
        moments = [GXDateTime(START + timedelta(minutes=15 * n)) for n in chosen]
        pairs = zip(moments, chosen, strict=True)
        rows = [b"\x02\x02" + encoded((DataType.OCTET_STRING, moment), (DataType.UINT32, n)) for moment, n in pairs]
        return b"\x01" + bytes(count.array()) + b"".join(rows)

    def moment(self, octets):
        return _GXCommon.changeType(self.settings, bytearray(octets), DataType.DATETIME).value

    def set(self, data):
        kind, invoke = data.getUInt8(), data.getUInt8()
        if kind in (1, 2):
            target = self.target(data)
            self.selector(data)
        if kind == 1:
            return self.send(Command.SET_RESPONSE, bytes((0xC5, 1, invoke, self.write(target, self.value(data)))))
        if kind == 2:
            self.long = target, bytearray()
        last, number = data.getUInt8(), data.getUInt32()
        piece = bytearray(_GXCommon.getObjectCount(data))
        data.get(piece)
        self.long[1].extend(piece)
        if not last:
            return self.send(Command.SET_RESPONSE, bytes((0xC5, 2, invoke)) + number.to_bytes(4, "big"))
        result = self.write(self.long[0], self.value(GXByteBuffer(self.long[1])))
        return self.send(Command.SET_RESPONSE, bytes((0xC5, 3, invoke, result)) + number.to_bytes(4, "big"))

    def write(self, target, value):
        if target[1:] != ("0.0.128.0.0.255", 2):
            return DENIED
        self.echo = bytes(value)
        return 0

    def action(self, data):
        kind, invoke = data.getUInt8(), data.getUInt8()
        if kind != 1:
            raise ValueError("only single methods")
        target = self.target(data)
        parameters = self.value(data) if data.getUInt8() else None
        try:
            back = self.run(target, parameters)
            body = b"\x00\x00" if back is None else b"\x00\x01\x00" + encoded((DataType.OCTET_STRING, bytearray(back)))
        except Refused as refusal:
            body = bytes((refusal.args[0], 0))
        return self.send(Command.METHOD_RESPONSE, bytes((0xC7, 1, invoke)) + body)

    def run(self, target, parameters):
        class_id, name, method = target
        if (class_id, method) == (15, 1):
            return self.reply_to_hls(bytes(parameters))
        if name == SWITCH and method in (1, 2):
            self.closed = method == 2
            return None
        if name == IMAGE:
            return IMAGE_METHODS[method](self, parameters)
        raise Refused(UNDEFINED)

    def reply_to_hls(self, answer):
        settings, cipher = self.settings, self.settings.cipher
        client, meter = bytes(settings.sourceSystemTitle or b""), bytes(cipher.systemTitle)
        stoc, ctos = bytes(settings.getStoCChallenge()), bytes(settings.getCtoSChallenge())
        theirs = ours = self.secret
        if self.auth == Authentication.HIGH_GMAC:
            theirs, ours = client, meter
        if self.auth == Authentication.HIGH_SHA256:
            theirs, ours = self.secret + client + meter + stoc + ctos, self.secret + meter + client + ctos + stoc
        settings.authentication = self.auth
        counter = int.from_bytes(answer[1:5], "big")
        if bytes(GXSecure.secure(settings, cipher, counter, stoc, theirs)) != answer:
            raise Refused(DENIED)
        cipher.invocationCounter += 1
        return bytes(GXSecure.secure(settings, cipher, cipher.invocationCounter - 1, ctos, ours))

    # Firmware

    def blocks(self):
        return -(-self.image_size // BLOCK)

    def initiate(self, parameters):
        self.image, self.image_name, self.image_size = {}, bytes(parameters[0]), int(parameters[1])
        self.image_status = INITIATED

    def take_block(self, parameters):
        self.image[int(parameters[0])] = bytes(parameters[1])

    def verify(self, parameters):
        self.image_status = VERIFIED if len(self.image) == self.blocks() else FAILED
        if self.image_status == FAILED:
            raise Refused(OTHER)

    def activate(self, parameters):
        self.image_status = ACTIVATED

    def state(self):
        return {"closed": self.closed, "image": b"".join(octets for _, octets in sorted(self.image.items())).hex()}


SERVICES = {
    Command.SNRM: Meter.snrm,
    Command.DISCONNECT_REQUEST: Meter.disc,
    Command.AARQ: Meter.aarq,
    Command.RELEASE_REQUEST: Meter.rlrq,
    Command.GET_REQUEST: Meter.get,
    Command.SET_REQUEST: Meter.set,
    Command.METHOD_REQUEST: Meter.action,
}
IMAGE_METHODS = {1: Meter.initiate, 2: Meter.take_block, 3: Meter.verify, 4: Meter.activate}


def serve(meter, listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            meter.reset()
            try:
                while octets := connection.recv(65536):
                    connection.sendall(bytes(meter.receive(octets)))
            except Exception:
                traceback.print_exc()


answers, sys.stdout = sys.stdout, sys.stderr  # the library prints
meter = None
for line in sys.stdin:
    job = json.loads(line)
    if job.get("state"):
        print(json.dumps(meter.state()), file=answers, flush=True)
        continue
    meter = Meter(job)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(meter, listener), daemon=True).start()
    print(json.dumps(listener.getsockname()[1]), file=answers, flush=True)
