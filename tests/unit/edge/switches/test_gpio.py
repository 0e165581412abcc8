"""The GPIO requests against the kernel's own header, compiled here. No chip was met: what a real line does is not shown.

A foreign program (C, `linux/gpio.h`) fills the structures by their names; our octets and numbers must be the same.
"""

import subprocess
import sysconfig
from pathlib import Path

import pytest

from gridtally_edge.switches import gpio
from gridtally_edge.switches.fitted import parsed
from gridtally_shared.errors import MeterFault
from support.required import missing

HEADER = Path("/usr/include/linux/gpio.h")
PROGRAM = r"""
#include <linux/gpio.h>
#include <stdio.h>
#include <string.h>
static void hex(const void *p, size_t n) { for (size_t i = 0; i < n; i++) printf("%02x", ((const unsigned char *)p)[i]); puts(""); }
int main(void) {
    printf("%lx %lx %lx\n", (long)GPIO_V2_GET_LINE_IOCTL, (long)GPIO_V2_LINE_GET_VALUES_IOCTL, (long)GPIO_V2_LINE_SET_VALUES_IOCTL);
    printf("%llx %llx %llx %llx\n", (long long)GPIO_V2_LINE_FLAG_ACTIVE_LOW, (long long)GPIO_V2_LINE_FLAG_INPUT,
           (long long)GPIO_V2_LINE_FLAG_OUTPUT, (long long)GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN);
    struct gpio_v2_line_request out; memset(&out, 0, sizeof out);
    out.offsets[0] = 17; out.num_lines = 1; strcpy(out.consumer, "gridtally");
    out.config.flags = GPIO_V2_LINE_FLAG_OUTPUT | GPIO_V2_LINE_FLAG_ACTIVE_LOW; out.config.num_attrs = 1;
    out.config.attrs[0].attr.id = GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES; out.config.attrs[0].attr.values = 0; out.config.attrs[0].mask = 1;
    hex(&out, sizeof out);
    struct gpio_v2_line_request in; memset(&in, 0, sizeof in);
    in.offsets[0] = 27; in.num_lines = 1; strcpy(in.consumer, "gridtally");
    in.config.flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN;
    hex(&in, sizeof in);
    in.fd = 1234567; hex(&in, sizeof in);
    struct gpio_v2_line_values v = {.bits = 1, .mask = 1}; hex(&v, sizeof v);
    return 0;
}
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not HEADER.exists():
        missing("native", f"{HEADER} is not there: apt-get install linux-libc-dev")
    folder = tmp_path_factory.mktemp("gpio")
    (folder / "ask.c").write_text(PROGRAM)
    subprocess.run([compiler, "-o", folder / "ask", folder / "ask.c"], check=True, capture_output=True)
    return subprocess.run([folder / "ask"], check=True, capture_output=True, text=True).stdout.splitlines()


def test_numbers_of_calls_and_flags_are_the_kernels(kernel):
    assert [int(word, 16) for word in kernel[0].split()] == [gpio.GET_LINE_IOCTL, gpio.GET_VALUES_IOCTL, gpio.SET_VALUES_IOCTL]
    ours = [gpio.FLAG_ACTIVE_LOW, gpio.FLAG_INPUT, gpio.FLAG_OUTPUT, gpio.FLAG_PULL_DOWN]
    assert [int(word, 16) for word in kernel[1].split()] == ours


def test_an_output_is_asked_for_as_not_driven_octet_for_octet(kernel):
    assert gpio.line_request(17, gpio.FLAG_OUTPUT | gpio.FLAG_ACTIVE_LOW).hex() == kernel[2]


def test_an_input_is_asked_for_octet_for_octet_and_the_descriptor_is_where_the_kernel_puts_it(kernel):
    assert gpio.line_request(27, gpio.FLAG_INPUT | gpio.FLAG_PULL_DOWN).hex() == kernel[3]
    assert gpio.requested_descriptor(bytes.fromhex(kernel[4])) == 1_234_567
    assert gpio.LINE_VALUES.pack(1, 1).hex() == kernel[5]


def test_a_chip_that_is_not_there_is_told_by_its_path(tmp_path):
    chip = gpio.GpioChip(str(tmp_path / "gpiochip9"))
    with pytest.raises(MeterFault, match=r"gpiochip9 can not be opened: No such file"):
        chip.drive(17, True)


def test_a_file_that_is_no_chip_gives_no_line(tmp_path):
    path = tmp_path / "gpiochip0"
    path.touch()
    with pytest.raises(MeterFault, match=r"line 17 of .* is not to be had"):
        gpio.GpioChip(str(path)).driven(17)


def test_the_words_for_lines_of_this_machine_name_chip_and_lines():
    carrier, contacts = parsed("gpio:chip=/dev/gpiochip0,coil=17,feedback=27,active_low=1")
    assert (carrier.chip, carrier.active_low, carrier.feedback, contacts.coil) == ("/dev/gpiochip0", 1, 27, 17)
