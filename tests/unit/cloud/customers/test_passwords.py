"""Which passwords are taken, and how they are kept."""

from __future__ import annotations

import threading
import time

import pytest
from argon2 import PasswordHasher

from gridtally_cloud.customers import passwords

GOOD = ("correct river lantern 9", "violet-kettle-orbit", "Tr0mbone&gravel!sky", "मेरा घर नदी के पास है", "x" * 5 + "jGk2pQvLw9")
WEAK = (
    "", "short", "elevenchars", "passwordpassword", "Password1234!", "p4ssw0rd-p4ssw0rd", "qwertyuiop12", "123456789012",
    "aaaaaaaaaaaa", "abcdefghijklmnop", "admin-admin-2026", "gridtally2026!", "letmeinletmein", "iloveyou1234", "abababababab",
)  # fmt: skip


@pytest.mark.parametrize("password", GOOD)
def test_a_password_with_something_of_its_own_is_taken(password: str) -> None:
    assert passwords.weakness(password) is None


@pytest.mark.parametrize("password", WEAK)
def test_short_and_common_passwords_are_refused_with_a_sentence(password: str) -> None:
    problem = passwords.weakness(password)
    assert problem is not None
    assert problem.endswith(".")


def test_words_about_the_person_do_not_count() -> None:
    assert passwords.weakness("wintergreen-rosalind") is None
    assert passwords.weakness("rosalind.wintergreen", ("rosalind", "Rosalind Wintergreen")) is not None


def test_a_very_long_one_is_refused_and_does_not_take_long() -> None:
    before = time.perf_counter()
    assert passwords.weakness("j" + "xK9 " * 100_000) is not None
    assert time.perf_counter() - before < 1


def test_the_hash_is_argon2id_with_the_stated_cost() -> None:
    hashed = passwords.hash_password("correct river lantern 9")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.matches(hashed, "correct river lantern 9")
    assert not passwords.matches(hashed, "correct river lantern 8")
    assert not passwords.matches("not a hash", "correct river lantern 9")
    assert not passwords.is_outdated(hashed)
    assert passwords.is_outdated(PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("x"))


def test_at_most_four_hashes_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()
    plain = PasswordHasher.hash

    def counted(self: PasswordHasher, password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return plain(self, password)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(PasswordHasher, "hash", counted)
    threads = [threading.Thread(target=passwords.hash_password, args=("correct river lantern 9",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 4
