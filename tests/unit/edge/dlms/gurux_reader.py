"""A foreign DLMS client: reads a meter over TCP with gurux-dlms and prints what it saw as JSON.

Run in its own process by test_gurux_peer.py; gurux-dlms is GPL and is no part of gridtally. Arguments: port, physical
address, password, first and last moment (UTC, ISO 8601) of the load profile.
"""

import json
import socket
import sys
from datetime import datetime

from gurux_dlms import GXByteBuffer, GXDLMSClient, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType
from gurux_dlms.objects import GXDLMSClock, GXDLMSData, GXDLMSDisconnectControl, GXDLMSProfileGeneric, GXDLMSRegister


class Reader:
    def __init__(self, port, physical, password):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        address = GXDLMSClient.getServerAddress(1, physical)
        self.client = GXDLMSClient(True, 32, address, Authentication.LOW, password, InterfaceType.HDLC)

    def one(self, request, reply):
        self.socket.sendall(bytes(request))
        received = GXByteBuffer()
        reply.error = 0
        while not self.client.getData(received, reply):
            piece = self.socket.recv(4096)
            if not piece:
                raise SystemExit("the meter closed the line")
            received.set(piece)

    def ask(self, requests):
        reply = GXReplyData()
        for request in requests if isinstance(requests, list) else [requests]:
            self.one(request, reply)
            while reply.isMoreData():
                self.one(self.client.receiverReady(reply), reply)
        if reply.error:
            raise SystemExit(f"the meter answers error {reply.error}")
        return reply

    def open(self):
        reply = self.ask(self.client.snrmRequest())
        self.client.parseUAResponse(reply.data)
        reply = self.ask(self.client.aarqRequest())
        self.client.parseAareResponse(reply.data)

    def read(self, target, index):
        reply = self.ask(self.client.read(target, index))
        return self.client.updateValue(target, index, reply.value)


def rows(table):
    return [[str(cell) for cell in row] for row in table]


def main():
    port, physical, password, first, last = sys.argv[1:]
    reader = Reader(int(port), int(physical), password)
    reader.open()
    seen = {"serial": bytes(reader.read(GXDLMSData("0.0.96.1.0.255"), 2)).decode()}
    clock = reader.read(GXDLMSClock(), 2)
    seen["clock"] = clock.value.timestamp()
    register = GXDLMSRegister("1.0.1.8.0.255")
    reader.read(register, 3)
    seen["energy_wh"] = reader.read(register, 2)
    profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
    reader.read(profile, 3)
    seen["columns"] = [target.logicalName for target, _ in profile.captureObjects]
    moments = [datetime.fromisoformat(moment) for moment in (first, last)]
    reply = reader.ask(reader.client.readRowsByRange(profile, *moments))
    seen["by_range"] = rows(reader.client.updateValue(profile, 2, reply.value))
    reply = reader.ask(reader.client.readRowsByEntry(profile, 1, 3))
    seen["by_entry"] = rows(reader.client.updateValue(profile, 2, reply.value))
    switch = GXDLMSDisconnectControl("0.0.96.3.10.255")
    reader.ask(switch.remoteDisconnect(reader.client))
    seen["closed"] = bool(reader.read(switch, 2))
    reader.ask(reader.client.disconnectRequest())
    print(json.dumps(seen))


main()
