"""The console command `gridtally`: `decode` explains octets, `doctor` checks the installation.

Both reach edge and cloud through entry points, never by import; what is not installed is simply not asked.
Exit codes: 0 fine, 1 a check failed, 2 wrong usage, 3 nothing installed to ask, 5 not recognised or damaged.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from gridtally_shared.doctor import Check, Checkup, failed, table
from gridtally_shared.errors import ConfigError, GridtallyError, MeterFault
from gridtally_shared.explain import Decoder, Explanation, Json, Keys, as_json, json_text, plain

DECODERS: Final = "gridtally.decoders"
CHECKUPS: Final = "gridtally.doctor"
_NOT_INSTALLED: Final = 'install gridtally into this Python, for example: pip install -e ".[edge]"'
_SEPARATORS: Final = re.compile(r"0[xX]|[\s:,;-]")
_HEX: Final = re.compile(r"[0-9a-fA-F]*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except GridtallyError as error:
        print(f"gridtally: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gridtally", description="Tools for both sides of gridtally.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_decode(commands)
    _add_doctor(commands)
    return parser


def _add_decode(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "decode",
        help="explain a frame, a meter's push or an envelope in plain words",
        description="Explain octets: HDLC or wrapper frames and DLMS pushes, Modbus, IEC 62056-21 and P1 text, M-Bus by wire or "
        "radio, a gridtally envelope.",
        epilog="example: gridtally decode e6e7000f40000000000101020309060100010700ff060000011802020f00161b",
    )
    parser.add_argument("hex", nargs="*", help="the octets as hexadecimal; blanks, colons and 0x are fine")
    parser.add_argument("--file", type=Path, help="a file with hexadecimal text or raw octets; - reads the input")
    parser.add_argument("--key", metavar="HEX", help="encryption key of a ciphered message (DLMS, wireless M-Bus)")
    parser.add_argument("--auth-key", metavar="HEX", help="DLMS authentication key, to verify the message")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of words")
    parser.set_defaults(run=_decode)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check this installation and say what to mend",
        description="Check what is installed here and say what to do about each failure.",
        epilog="example: gridtally doctor --json",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(run=_doctor)


def _decode(options: argparse.Namespace) -> int:
    octets = _octets(options)
    keys = Keys(_key("--key", options.key), _key("--auth-key", options.auth_key))
    found = explain(octets, keys, decoders())
    if not found:
        raise MeterFault(f"nothing installed here recognises these {len(octets)} octets; is the message whole?")
    best = found[0]
    if options.json:
        print(json_text(as_json(best)))
    else:
        print(_words(best))
        _mention_others(found[1:])
    return MeterFault.exit_code if best.faults else 0


def _doctor(options: argparse.Namespace) -> int:
    checks = checkups()
    if options.json:
        rows: list[Json] = [
            {"name": c.name, "ok": c.ok, "message": c.message, "remedy": c.remedy} for c in checks
        ]
        print(json_text({"ok": not failed(checks), "checks": rows}))
    else:
        print(table(checks))
    return 1 if failed(checks) else 0


def decoders() -> tuple[Decoder, ...]:
    """The decoders installed here. Raises ConfigError where there is none."""
    installed = tuple(point.load() for point in entry_points(group=DECODERS) if _missing(point) is None)
    if not installed:
        raise ConfigError(DECODERS, "no decoder installed", _NOT_INSTALLED)
    return installed


def checkups() -> list[Check]:
    """All findings of the installed checks. Raises ConfigError where there is none to run."""
    points = tuple(entry_points(group=CHECKUPS))
    if not points:
        raise ConfigError(CHECKUPS, "no checks installed", _NOT_INSTALLED)
    return [check for point in points for check in _checkup(point)]


def _checkup(point: EntryPoint) -> list[Check]:
    missing = _missing(point)
    if missing is None:
        run: Checkup = point.load()
        return run()
    if missing.startswith("gridtally_"):
        return [Check(point.name, True, "not installed on this machine")]
    return [Check(point.name, False, f"the Python package {missing} is missing", _NOT_INSTALLED)]


def _missing(point: EntryPoint) -> str | None:
    """The module an entry point cannot be loaded without: its own (a DCU without the cloud's parts) or a dependency."""
    try:
        point.load()
    except ModuleNotFoundError as error:
        return error.name or point.module
    return None


def explain(octets: bytes, keys: Keys, installed: Sequence[Decoder]) -> tuple[Explanation, ...]:
    """What the decoders recognise, the best first: whole before damaged, proved before guessed."""
    found = [explanation for decode in installed if (explanation := decode(octets, keys)) is not None]
    return tuple(sorted(found, key=lambda e: (bool(e.faults) and not e.proved, not e.proved, bool(e.faults))))


def _words(explanation: Explanation) -> str:
    lines = [explanation.title, *(f"  {line}" for line in explanation.lines)]
    if explanation.readings:
        width = max(len(reading.obis) for reading in explanation.readings)
        lines.append("readings")
        for reading in explanation.readings:
            value = reading.value if isinstance(reading.value, str) else plain(reading.value)
            lines.append(f"  {reading.obis:{width}}  {value} {reading.unit}".rstrip())
    lines.extend(f"fault: {fault}" for fault in explanation.faults)
    return "\n".join(lines)


def _mention_others(others: Sequence[Explanation]) -> None:
    for other in others:
        if not other.faults:
            print(f"it could also be: {other.title}")


def _octets(options: argparse.Namespace) -> bytes:
    if bool(options.hex) == bool(options.file):
        raise ConfigError("decode", options.hex, "give the octets either as HEX or with --file, one of both")
    if options.hex:
        return _from_hex("HEX", "".join(options.hex))
    return _from_file(options.file)


def _from_file(path: Path) -> bytes:
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError("--file", str(path), f"cannot be read ({error.strerror}); give another file") from None
    try:
        text = _SEPARATORS.sub("", content.decode("ascii"))
    except UnicodeDecodeError:
        return content
    return bytes.fromhex(text) if _HEX.fullmatch(text) and len(text) % 2 == 0 else content


def _from_hex(name: str, text: str) -> bytes:
    digits = _SEPARATORS.sub("", text)
    if not digits or not _HEX.fullmatch(digits):
        raise ConfigError(name, text[:60], "write hexadecimal digits only, such as 7ea0...7e")
    if len(digits) % 2:
        raise ConfigError(name, text[:60], f"{len(digits)} digits: one is missing or too many")
    return bytes.fromhex(digits)


def _key(name: str, text: str | None) -> bytes | None:
    if text is None:
        return None
    key = _from_hex_secret(name, text)
    if len(key) not in (16, 32):
        raise ConfigError(name, f"{len(key)} octets", "a DLMS key has 32 hexadecimal digits (64 in suite 2)")
    return key


def _from_hex_secret(name: str, text: str) -> bytes:
    try:
        return _from_hex(name, text)
    except ConfigError as error:
        raise ConfigError(name, "(not shown)", error.remedy) from None


if __name__ == "__main__":
    sys.exit(main())
