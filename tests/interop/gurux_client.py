"""A foreign DLMS client: does what it is told with gurux-dlms, a meter over TCP or UDP at a time.

Runs in a process of its own; gurux-dlms is GPL and is no part of gridtally. One job a line on standard input (JSON: port,
framing, login, keys, and the steps to take), one line of what it saw on standard output.
"""

import json
import socket
import sys
import traceback
from datetime import datetime

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, InterfaceType, Security
from gurux_dlms.GXDLMSExceptionResponse import GXDLMSExceptionResponse
from gurux_dlms.objects import (
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSImageTransfer,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
    GXDLMSSecuritySetup,
)
from gurux_dlms.objects.enums import GlobalKeyType, SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient

AUTHENTICATION = {
    "none": Authentication.NONE,
    "low": Authentication.LOW,
    "high": Authentication.HIGH,
    "md5": Authentication.HIGH_MD5,
    "sha1": Authentication.HIGH_SHA1,
    "gmac": Authentication.HIGH_GMAC,
    "sha256": Authentication.HIGH_SHA256,
}
SECURITY = {"none": Security.NONE, "auth": Security.AUTHENTICATION, "enc": Security.ENCRYPTION, "both": Security.AUTHENTICATION_ENCRYPTION}


class Reader:
    def __init__(self, job):
        self.job = job
        self.hdlc = job["framing"] == "hdlc"
        self.pushes = []
        self.udp = job.get("udp", False)
        if self.udp:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.connect(("127.0.0.1", job["port"]))
            self.socket.settimeout(5)
        else:
            self.socket = socket.create_connection(("127.0.0.1", job["port"]), 5)
        kind = InterfaceType.HDLC if self.hdlc else InterfaceType.WRAPPER
        server = GXDLMSSecureClient.getServerAddress(1, job["physical"]) if self.hdlc else 1
        secret = bytes.fromhex(job.get("secret", ""))
        auth = AUTHENTICATION[job.get("auth", "low")]
        self.client = GXDLMSSecureClient(True, job.get("client", 32), server, auth, secret or None, kind)
        self.configure(job)

    def configure(self, job):
        client = self.client
        if "max_pdu" in job:
            client.maxReceivePDUSize = job["max_pdu"]
        if "frame_size" in job:
            client.hdlcSettings.maxInfoTX = client.hdlcSettings.maxInfoRX = job["frame_size"]
        if "window" in job:
            client.hdlcSettings.windowSizeTX = client.hdlcSettings.windowSizeRX = job["window"]
        if "gbt_window" in job:
            client.proposedConformance |= Conformance.GENERAL_BLOCK_TRANSFER
            client.gbtWindowSize = job["gbt_window"]
        if job.get("general"):
            client.proposedConformance |= Conformance.GENERAL_PROTECTION
        cipher = client.ciphering
        cipher.systemTitle = bytes.fromhex(job.get("title", "4755525558313233"))
        cipher.security = SECURITY[job.get("security", "none")]
        if "key" in job:
            cipher.securitySuite = SecuritySuite(job.get("suite", 0))
            cipher.blockCipherKey = bytes.fromhex(job["key"])
            cipher.authenticationKey = bytes.fromhex(job["auth_key"])
            cipher.invocationCounter = job.get("counter", 1)
        if "dedicated" in job:
            cipher.dedicatedKey = bytes.fromhex(job["dedicated"])

    def one(self, request, reply):
        if request is not None:
            self.socket.sendall(bytes(request))
        received, notice = GXByteBuffer(), GXReplyData()
        reply.error = 0
        while not self.client.getData(received, reply, notice):
            if notice.data.size:
                self.pushes.append(notice.data.size)
                notice.clear()
                continue
            piece = self.socket.recv(65536)
            if not piece:
                raise RuntimeError("the meter closed the line")
            received.set(piece)

    def ask(self, requests):
        reply = GXReplyData()
        for request in requests if isinstance(requests, list) else [requests]:
            reply.clear()
            self.one(request, reply)
            while reply.isMoreData():
                self.one(None if reply.isStreaming() else self.client.receiverReady(reply), reply)
        if reply.error:
            raise RuntimeError(f"the meter answers error {int(reply.error)}")
        return reply

    def open(self):
        client = self.client
        if self.hdlc:
            client.parseUAResponse(self.ask(client.snrmRequest()).data)
        client.parseAareResponse(self.ask(client.aarqRequest()).data)
        if client.isAuthenticationRequired:
            client.parseApplicationAssociationResponse(self.ask(client.getApplicationAssociationRequest()).data)

    def close(self):
        if self.job.get("release"):
            self.ask(self.client.releaseRequest())
        if self.hdlc:
            self.ask(self.client.disconnectRequest())
        self.socket.close()

    def read(self, target, index):
        reply = self.ask(self.client.read(target, index))
        return self.client.updateValue(target, index, reply.value)


def rows(table):
    return [[str(cell) for cell in row] for row in table]


def serial(reader):
    return bytes(reader.read(GXDLMSData("0.0.96.1.0.255"), 2)).decode()


def clock(reader):
    return reader.read(GXDLMSClock(), 2).value.timestamp()


def energy(reader):
    register = GXDLMSRegister("1.0.1.8.0.255")
    reader.read(register, 3)
    return reader.read(register, 2)


def counter(reader, number):
    return reader.read(GXDLMSData(f"0.0.43.1.{number}.255"), 2)


def objects(reader):
    found = reader.client.parseObjects(reader.ask(reader.client.getObjectsRequest()).data, True)
    return [[int(item.objectType), item.logicalName] for item in found]


def profile(reader):
    table = GXDLMSProfileGeneric("1.0.99.1.0.255")
    reader.read(table, 3)
    return table


def columns(reader):
    return [target.logicalName for target, _ in profile(reader).captureObjects]


def whole(reader):
    table = profile(reader)
    return rows(reader.read(table, 2))


def by_range(reader, first, last):
    table = profile(reader)
    moments = [datetime.fromisoformat(moment) for moment in (first, last)]
    reply = reader.ask(reader.client.readRowsByRange(table, *moments))
    return rows(reader.client.updateValue(table, 2, reply.value))


def by_entry(reader, first, count):
    table = profile(reader)
    reply = reader.ask(reader.client.readRowsByEntry(table, first, count))
    return rows(reader.client.updateValue(table, 2, reply.value))


def several(reader):
    """Three values in one request."""
    data, register, time = GXDLMSData("0.0.96.1.0.255"), GXDLMSRegister("1.0.1.8.0.255"), GXDLMSClock()
    reader.read(register, 3)
    items = [(data, 2), (register, 2), (time, 2)]
    values = []
    for request in reader.client.readList(items):
        reply = reader.ask(request)
        values += reply.value
    reader.client.updateValues(items, values)
    return [bytes(data.value).decode(), register.value, time.time.value.timestamp()]


def set_clock(reader, moment):
    time = GXDLMSClock()
    time.time = datetime.fromisoformat(moment)
    reader.ask(reader.client.write(time, 2))


def echo(reader, length):
    """A long value there and back: written in blocks and read again."""
    item = GXDLMSData("0.0.128.0.0.255")
    item.objectType = 8192
    item.value = bytes(n % 251 for n in range(length))
    reader.ask(reader.client.write(item, 2))
    return bytes(reader.ask(reader.client.read(item, 2)).value).hex()


def disconnect(reader):
    switch = GXDLMSDisconnectControl("0.0.96.3.10.255")
    reader.ask(switch.remoteDisconnect(reader.client))
    return bool(reader.read(switch, 2))


def reconnect(reader):
    switch = GXDLMSDisconnectControl("0.0.96.3.10.255")
    reader.ask(switch.remoteReconnect(reader.client))
    return bool(reader.read(switch, 2))


def image(reader, name, content):
    """A firmware image in all its steps, as far as they succeed."""
    transfer = GXDLMSImageTransfer("0.0.44.0.0.255")
    octets = bytes.fromhex(content)
    reader.read(transfer, 5)
    reader.read(transfer, 2)
    reader.ask(transfer.imageTransferInitiate(reader.client, name, len(octets)))
    for request in transfer.imageBlockTransfer(reader.client, octets, []):
        reader.ask(request)
    bits = str(reader.read(transfer, 3))
    reader.ask(transfer.imageVerify(reader.client))
    verified = int(reader.read(transfer, 6))
    reader.read(transfer, 7)
    shown = [[info.size, bytes(info.identification).decode(), bytes(info.signature).hex()] for info in transfer.imageActivateInfo]
    reader.ask(transfer.imageActivate(reader.client))
    return {"blocks": bits, "verified": verified, "shown": shown, "status": int(reader.read(transfer, 6))}


def new_key(reader, master, key):
    """Hand over a new unicast key, wrapped, and use it from the next request on."""
    setup = GXDLMSSecuritySetup("0.0.43.0.2.255")
    fresh = bytes.fromhex(key)
    reader.ask(setup.globalKeyTransfer(reader.client, bytes.fromhex(master), [(GlobalKeyType.UNICAST_ENCRYPTION, fresh)]))
    reader.client.ciphering.blockCipherKey = fresh


STEPS = {
    step.__name__: step
    for step in (
        serial, clock, energy, counter, objects, columns, whole, by_range, by_entry, several, set_clock, echo, disconnect,
        reconnect, image, new_key,
    )
}  # fmt: skip


def run(job):
    reader = Reader(job)
    try:
        reader.open()
        seen = {}
        for name, *arguments in job["steps"]:
            seen[name] = STEPS[name](reader, *arguments)
        seen["pushes"] = len(reader.pushes)
        reader.close()
        return {"seen": seen}
    except GXDLMSExceptionResponse as error:
        return {"refused": int(error.exceptionServiceError), "counter": error.serviceErrorValue}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "where": traceback.format_exc()}
    finally:
        reader.socket.close()


answers, sys.stdout = sys.stdout, sys.stderr  # the library prints
for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), file=answers, flush=True)
