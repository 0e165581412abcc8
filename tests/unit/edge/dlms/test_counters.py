"""The durable book of invocation counters: never a number twice, whatever is killed, copied or damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridtally_edge.journal import counters as book_module
from gridtally_edge.journal.counters import LAG, RANGE, RATE_PER_S, RESTORE_JUMP, CounterBook
from gridtally_edge.protocols.dlms.counters import channel_name
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault

NOW_MS = 1_760_000_000_000


def book(folder: Path, at_ms: int = NOW_MS) -> CounterBook:
    return CounterBook(folder / "counters.json", lambda: at_ms)


def test_numbers_rise_by_one_from_one(tmp_path: Path) -> None:
    counters = book(tmp_path)
    assert [counters.take("a") for _ in range(1_000)] == list(range(1, 1_001))
    assert counters.take("b") == 1
    assert counters.next_of("a") == 1_001


def test_a_number_is_on_disk_before_it_is_given(tmp_path: Path) -> None:
    counters = book(tmp_path)
    for number in iter(lambda: counters.take("a"), 2 * RANGE + 5):
        if number % RANGE not in (0, 1, 2, 100, RANGE - 1):
            continue
        shutil.copy(tmp_path / "counters.json", tmp_path / "copy")
        reserved = CounterBook(tmp_path / "copy", lambda: NOW_MS).next_of("a")
        assert reserved > number


def test_after_a_kill_between_any_two_numbers_none_comes_twice(tmp_path: Path) -> None:
    used: set[int] = set()
    for count in (0, 1, 5, RANGE - 1, RANGE, RANGE + 1, 2 * RANGE):
        counters = book(tmp_path)
        taken = [counters.take("a") for _ in range(count)]
        assert used.isdisjoint(taken)
        used.update(taken)


TAKER = """
import sys
from pathlib import Path
from gridtally_edge.journal.counters import CounterBook
counters = CounterBook(Path(sys.argv[1]), lambda: int(sys.argv[2]))
while True:
    sys.stdout.buffer.write(counters.take("a").to_bytes(4, "big"))
    sys.stdout.buffer.flush()
"""


def test_a_killed_process_never_repeats_a_number(tmp_path: Path) -> None:
    used: list[int] = []
    for _ in range(3):
        command = [sys.executable, "-c", TAKER, str(tmp_path / "counters.json"), str(NOW_MS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as taker:
            assert taker.stdout
            received = taker.stdout.read(4 * 700)
            taker.kill()
            received += taker.stdout.read()
        used += [int.from_bytes(received[at : at + 4], "big") for at in range(0, len(received) - 3, 4)]
    assert len(used) > 2_000
    assert len(set(used)) == len(used)


STEPS = st.one_of(st.just("take"), st.just("restart"), st.just("copy"), st.just("restore"), st.integers(1, 9_000))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=60))
def test_no_number_comes_twice_over_takes_restarts_copies_restores_and_repairs(tmp_path: Path, steps: list[object]) -> None:
    """A second passes with each step; the same copy may be restored again and again."""
    path, copy = tmp_path / "counters.json", tmp_path / "copy"
    path.unlink(missing_ok=True)
    copy.unlink(missing_ok=True)
    times = iter(range(NOW_MS, NOW_MS + 1_000_000_000, 1_000))
    counters, used = CounterBook(path, times.__next__), set()
    for step in steps:
        if step == "take":
            number = counters.take("a")
            assert number not in used
            used.add(number)
        elif step == "restart":
            counters = CounterBook(path, times.__next__)
        elif step == "copy" and path.exists():
            shutil.copy(path, copy)
        elif step == "restore" and copy.exists():
            shutil.copy(copy, path)
            counters = CounterBook(path, times.__next__)
            counters.restored()
        elif isinstance(step, int):
            next(times)
            counters.raise_to("a", step)


def test_an_old_image_of_the_disk_jumps_ahead_by_what_may_have_been_sent_since(tmp_path: Path) -> None:
    counters = book(tmp_path)
    counters.take("a")
    shutil.copy(tmp_path / "counters.json", tmp_path / "image")
    for _ in range(3_000):
        sent = counters.take("a")
    unknown = counters.take("later meter")
    shutil.copy(tmp_path / "image", tmp_path / "counters.json")
    later = book(tmp_path, NOW_MS + 3_600_000)
    assert later.take("a") > sent
    assert later.take("later meter") > unknown
    assert later.next_of("a") > 3_600 * RATE_PER_S


def test_a_restore_somebody_knows_of_jumps_further(tmp_path: Path) -> None:
    counters = book(tmp_path)
    counters.take("a")
    counters.restored()
    assert counters.take("a") > RESTORE_JUMP
    assert book(tmp_path).take("a") > RESTORE_JUMP
    assert counters.take("never seen") > RESTORE_JUMP


def test_a_clock_that_stands_before_the_file_does_no_harm(tmp_path: Path) -> None:
    book(tmp_path).take("a")
    assert book(tmp_path, 0).take("a") == RANGE + 1


def test_a_repair_is_followed_and_outlives_a_restart(tmp_path: Path) -> None:
    counters = book(tmp_path)
    counters.raise_to("a", 50_000)
    counters.raise_to("a", 7)
    assert counters.take("a") == 50_000
    assert book(tmp_path).take("a") > 50_000


def test_a_replay_is_refused_within_a_run_and_after_a_clean_end(tmp_path: Path) -> None:
    counters = book(tmp_path)
    assert counters.hear("m", 7)
    assert not counters.hear("m", 7)
    assert not counters.hear("m", 6)
    assert counters.hear("m", 8)
    counters.close()
    again = book(tmp_path)
    assert not again.hear("m", 8)
    assert again.hear("m", 9)


def test_the_generation_of_a_meters_keys_outlives_a_kill(tmp_path: Path) -> None:
    book(tmp_path).keep_generation("m", 2)
    assert (book(tmp_path).generation_of("m"), book(tmp_path).generation_of("n")) == (2, 0)


def test_a_book_from_before_there_were_generations_is_read(tmp_path: Path) -> None:
    book(tmp_path).take("a")
    path = tmp_path / "counters.json"
    page = json.loads(path.read_text().partition("\n")[2])
    del page["generations"]
    body = json.dumps(page)
    path.write_text(f"{zlib.crc32(body.encode()):08x}\n{body}\n")
    assert book(tmp_path).generation_of("m") == 0


def test_after_a_kill_at_most_a_few_received_numbers_are_forgotten(tmp_path: Path) -> None:
    counters = book(tmp_path)
    for number in range(1, 1_001):
        counters.hear("m", number)
    assert not book(tmp_path).hear("m", 1_000 - LAG)


def test_numbers_run_out_in_words(tmp_path: Path) -> None:
    counters = book(tmp_path)
    counters.raise_to("a", 0xFFFF_FFFF)
    counters.take("a")
    with pytest.raises(MeterFault, match="used up"):
        counters.take("a")


@pytest.mark.parametrize("spoil", [lambda c: c[:-10], lambda c: c.replace(b'"a"', b'"b"'), lambda c: b"", lambda c: b"\xff" * 40])
def test_a_damaged_file_is_told_and_never_a_fresh_start(tmp_path: Path, spoil) -> None:
    book(tmp_path).take("a")
    path = tmp_path / "counters.json"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ConfigError, match="put back a copy"):
        book(tmp_path)


def test_without_a_disk_nothing_is_sent(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    counters = book(folder)
    counters.take("a")
    shutil.rmtree(folder)
    with pytest.raises(LinkDown, match="nothing is sent"):
        list(iter(lambda: counters.take("a"), RANGE + 2))


def test_threads_share_a_book(tmp_path: Path) -> None:
    counters, taken = book(tmp_path), []

    def work() -> None:
        taken.extend(counters.take("a") for _ in range(500))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 2_001))


def test_no_key_is_in_the_file(tmp_path: Path) -> None:
    key = bytes(range(16))
    book(tmp_path).take(channel_name(b"GRT12345", key))
    content = (tmp_path / book_module.COUNTERS_FILE).read_bytes()
    assert key.hex().encode() not in content
    assert (tmp_path / book_module.COUNTERS_FILE).stat().st_mode & 0o077 == 0


def test_each_sender_and_key_has_its_own_channel() -> None:
    names = {channel_name(t, k) for t in (b"GRT12345", b"GRT12346") for k in (bytes(16), bytes(15) + b"\x01")}
    assert len(names) == 4
