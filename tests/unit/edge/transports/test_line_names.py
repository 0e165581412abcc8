"""A device name decides the kind of line."""

import pytest

from gridtally_edge.transports import line_for
from gridtally_edge.transports.line import LineState
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import LineSettings
from gridtally_edge.transports.tcp_line import TcpLine, host_and_port, raw_tcp
from gridtally_shared.errors import ConfigError


def test_tcp_and_serial_names():
    lines = [line_for(LineSettings("a", device)) for device in ("tcp://192.0.2.1:4001", "/dev/serial/by-id/usb-1")]
    assert [type(line) for line in lines] == [TcpLine, SerialBus]
    for line in lines:
        line.close()


def test_host_and_port_are_read_also_for_ipv6():
    assert host_and_port("tcp://192.0.2.1:4001") == ("192.0.2.1", 4001)
    assert host_and_port("tcp://[2001:db8::1]:4001") == ("2001:db8::1", 4001)


@pytest.mark.parametrize("device", ["tcp://", "tcp://host", "tcp://:1", "tcp://host:port", "tcp://host:0", "tcp://h:65536"])
def test_a_wrong_name_shows_a_right_one(device):
    with pytest.raises(ConfigError, match=r"tcp://192\.168\.1\.20:4001"):
        line_for(LineSettings("a", device))


def test_nobody_at_the_address_is_a_line_that_is_down():
    line = line_for(raw_tcp("a", "tcp://127.0.0.1:1"))
    line.start()
    assert line.health().state is LineState.DOWN
    assert "converter" in line.health().trouble
    line.close()
