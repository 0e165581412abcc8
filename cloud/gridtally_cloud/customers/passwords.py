"""Passwords: what is accepted and how they are kept.

* At least 12 and at most 256 characters; no composition rules, no forced change, pasting welcome (ASVS 5.0 level 2).
* Refused: a password that is little else than common words, keyboard runs, years, or words about the person and this
  product. What counts is what remains when those are taken away: at least five characters, four of them different.
* argon2id with 19 MiB, two passes, one lane (41 ms); at most four hashes at once, so that a flood of logins can not take
  the memory of a small box. A hash made with other settings is renewed at the next good login.
"""

from __future__ import annotations

import re
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH, MAX_LENGTH = 12, 256
_AT_ONCE = threading.BoundedSemaphore(4)
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_LEET = str.maketrans("013457@$!", "oieastasi")

COMMON = frozenset("""
    password passwort passwd contrasena welcome letmein admin administrator login master secret changeme default guest user test
    testing demo hello monkey dragon sunshine princess football baseball basketball cricket superman batman shadow michael
    jordan jennifer ashley charlie thomas daniel jessica starwars pokemon computer internet samsung google facebook whatever
    trustno iloveyou loveyou love baby angel flower summer winter spring autumn monday friday january december qwertyuiop
    qwerty asdfgh zxcvbn asdf qwer zxcv qazwsx abcdef abcd abc lakers arsenal chelsea liverpool freedom mustang ginger
    pepper killer hunter soccer hockey silver golden orange purple banana cheese cookie chocolate matrix access company
    please correcthorse batterystaple correct horse battery staple india mumbai delhi krishna ganesh bharat hindustan madrid
    barcelona espana mexico amigo amor estrella gridtally meter electric electricity energy prepaid utility power
""".split())  # noqa: SIM905 - a word list reads better as text
_RUNS = ("abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "01234567890")


def weakness(password: str, about: tuple[str, ...] = ()) -> str | None:
    """Why a password is refused, as a sentence, or None. `about`: login, name, e-mail and the like."""
    if len(password) < MIN_LENGTH:
        return f"The password has {len(password)} characters; it needs at least {MIN_LENGTH}. A few words in a row work well."
    if len(password) > MAX_LENGTH:
        return f"The password is longer than {MAX_LENGTH} characters."
    rest = _without_common(password.lower(), about)
    if len(rest) < 5 or len(set(rest)) < 4:
        return "The password is made of common words, runs or your own name. Add a word nobody would expect."
    return None


def _without_common(text: str, about: tuple[str, ...]) -> str:
    own = [part for item in about for part in re.split(r"[^a-z0-9]+", item.lower()) if len(part) >= 3]
    words = sorted({*COMMON, *own}, key=len, reverse=True)
    rests = (_strip(_strip_runs(form), words) for form in (text, text.translate(_LEET)))
    return min(rests, key=len)


def _strip(text: str, words: list[str]) -> str:
    for word in words:
        text = text.replace(word, "")
    text = re.sub(r"(?:19|20)\d\d", "", text)
    return re.sub(r"(.)\1{2,}", r"\1", re.sub(r"[\W_]+", "", text))


def _strip_runs(text: str) -> str:
    for run in (*_RUNS, *(r[::-1] for r in _RUNS)):
        for size in range(len(run), 3, -1):
            for start in range(len(run) - size + 1):
                text = text.replace(run[start : start + size], "")
    return text


def hash_password(password: str) -> str:
    """PHC string of a password."""
    with _AT_ONCE:
        return _HASHER.hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether the password belongs to the stored hash; False also for a hash nobody can read."""
    with _AT_ONCE:
        try:
            return _HASHER.verify(stored, password[:MAX_LENGTH])
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with other settings than today's."""
    return _HASHER.check_needs_rehash(stored)


@cache
def nobodys_hash() -> str:
    """The hash an unknown login is checked against, so that it takes as long as a wrong password."""
    return hash_password("nobody has this login")
