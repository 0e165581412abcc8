"""Another foreign DLMS client: does what it is told with pydlms, one meter over TCP at a time.

Runs in a process of its own; pydlms-client is GPL and is no part of gridtally. One job a line on standard input (JSON: port,
framing, login, keys, windows, and the steps to take), one line of what it saw on standard output.
"""

import json
import sys
import traceback

from pydlms.client import DlmsClient
from pydlms.cosem.data import DlmsData
from pydlms.cosem.types import DataType
from pydlms.hdlc.connection import HdlcParameters
from pydlms.image import transfer_image
from pydlms.security.context import SecurityContext
from pydlms.security.hls import Mechanism

ECHO, ECHO_CLASS = "0.0.128.0.0.255", 8192


def client_of(job):
    hdlc = job["framing"] == "hdlc"
    options = {"mechanism": Mechanism(job.get("mechanism", 1)), "password": bytes.fromhex(job.get("secret", ""))}
    if hdlc:
        window, size = job.get("window", 1), job.get("frame_size", 128)
        options["hdlc_parameters"] = HdlcParameters(size, size, window, window)
        options |= {"server_physical": job["physical"], "address_size": 2}
    if "key" in job:
        options["security"] = SecurityContext(
            bytes.fromhex(job["key"]), bytes.fromhex(job["auth_key"]), bytes.fromhex("5059444c4d533031"), invocation_counter=1,
        )  # fmt: skip
    if "gbt_window" in job:
        options |= {"propose_gbt": True, "gbt_window": job["gbt_window"]}
    if "max_pdu" in job:
        options["max_receive_pdu_size"] = job["max_pdu"]
    options |= {"client_sap": job.get("client", 32), "timeout": job.get("timeout", 20.0)}
    return DlmsClient.tcp("127.0.0.1", job["port"], hdlc=hdlc, **options)


def serial(client):
    return bytes(client.get("0.0.96.1.0.255", 1, 2).value).decode()


def whole(client):
    return len(client.read_profile("1.0.99.1.0.255").rows)


def echo(client, length):
    octets = bytes(n % 251 for n in range(length))
    client.set(ECHO, ECHO_CLASS, 2, DlmsData(DataType.OCTET_STRING, octets))
    back = client.action(ECHO, ECHO_CLASS, 1, DlmsData(DataType.OCTET_STRING, octets))
    return bytes(client.get(ECHO, ECHO_CLASS, 2).value) == octets == bytes(back.value)


def objects(client):
    return [[int(entry.class_id), str(entry.logical_name)] for entry in client.get_association_view()]


def disconnect(client):
    client.action("0.0.96.3.10.255", 70, 1, DlmsData(DataType.INTEGER, 0))
    return bool(client.get("0.0.96.3.10.255", 70, 2).value)


def image(client, name, content):
    transfer_image(client, bytes.fromhex(content), name.encode())
    return int(client.get("0.0.44.0.0.255", 18, 6).value)


STEPS = {step.__name__: step for step in (serial, whole, echo, objects, disconnect, image)}


def run(job):
    try:
        client = client_of(job)
        client.connect()
        seen = {name: STEPS[name](client, *arguments) for name, *arguments in job["steps"]}
        client.close()
        return {"seen": seen}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "where": traceback.format_exc()}


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
