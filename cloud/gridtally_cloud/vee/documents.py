"""Rule sets as documents: JSON with a class, a version, a first day, and the parameters of the checks that differ from the built-in ones.

* `FIELDS` is the whole of what may be set, with its bounds. Anything else is refused with its path, and with what would do instead.
* What is not named keeps the built-in value; a document is complete in itself and does not build on the version before it.
* `off` names rules that are not asked. What fails an interval because it is missing (`gap`) can not be switched off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import date
from functools import lru_cache
from typing import Any

from gridtally_cloud.store.days import EPOCH, date_of
from gridtally_cloud.vee.checks import AFTER, TABLE, Severity
from gridtally_cloud.vee.model import RuleSet, Tolerance
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

BUILT_IN_CLASS = "default"
IRREGULAR_CLASS = "irregular"


@dataclass(frozen=True, slots=True)
class Field:
    """A whole number from `low` to `high` at `group`.`rule`.`key` of a document, and where it goes."""

    path: str
    name: str
    low: int
    high: int


FIELDS = (
    Field("checks.limit.factor_permille", "limit_factor_permille", 1000, 5000),
    Field("checks.spike.permille", "spike_permille", 100, 100_000),
    Field("checks.spike.floor_wh", "spike_floor_wh", 0, 10_000_000),
    Field("checks.stuck.run", "stuck_run", 3, 10_000),
    Field("checks.zero.run", "zero_run", 3, 10_000),
    Field("checks.idle_use.wh_per_day", "idle_wh_per_day", 0, 1_000_000),
    Field("checks.kvarh.power_factor_permille", "power_factor_permille", 0, 1000),
    Field("checks.kvah.permille", "kvah_permille", 0, 1000),
    Field("checks.sum.steps", "sum_tolerance.steps", 0, 1000),
    Field("checks.sum.permille", "sum_tolerance.permille", 0, 100),
    Field("checks.high_low.high_permille", "high_permille", 1000, 100_000),
    Field("checks.high_low.low_permille", "low_permille", 0, 1000),
    Field("checks.high_low.days", "high_low_days", 1, 31),
    Field("checks.prolonged.permille", "estimated_permille", 0, 1000),
    Field("checks.main_check.permille", "main_check_permille", 0, 1000),
    Field("estimation.line_s", "linear_s", 0, 86_400),
    Field("estimation.like_days", "like_days", 1, 20),
    Field("estimation.window_days", "like_window_days", 7, 90),
    Field("estimation.reach_days", "like_reach_days", 7, 400),
)
HEAD = {"class": str, "version": int, "from": str}
OPTIONAL = {"note": str, "off": list, "checks": dict, "estimation": dict}
MAY_BE_OFF = frozenset(c.rule for c in (*TABLE, *AFTER) if c.severity is not Severity.ASIDE) - {"gap"}


@dataclass(frozen=True, slots=True)
class RuleDocument:
    """`text` is the document as it is stored: keys in order, nothing else changed."""

    class_name: str
    version: int
    from_day: int
    rules: RuleSet
    text: str

    @property
    def first_day(self) -> str:
        return date_of(self.from_day).isoformat()


@lru_cache(maxsize=256)
def rule_document(text: str) -> RuleDocument:
    """Read a document. Raises ConfigError with the path, the value and what would do."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigError("document", text[:40], f"it is no JSON: {error}") from None
    facts = _object("document", document)
    _keys("", facts, {*HEAD, *OPTIONAL})
    for key, kind in (HEAD | {k: v for k, v in OPTIONAL.items() if k in facts}).items():
        _is(key, facts.get(key), kind)
    name, version = _class_name(facts["class"]), facts["version"]
    if version < 1:
        raise ConfigError("version", version, "write a whole number from 1 up")
    rules = replace(_rules(facts), name=f"{name}-{version}", off=_off(facts.get("off", [])))
    if rules.like_reach_days < rules.like_window_days:
        raise ConfigError("estimation.reach_days", rules.like_reach_days, f"not less than window_days, {rules.like_window_days}")
    return RuleDocument(name, version, day_named("from", facts["from"]), rules, json.dumps(facts, sort_keys=True, ensure_ascii=False))


def shown(rules: RuleSet) -> dict[str, Any]:
    """Every parameter in force by its path, as `rules show` prints it."""
    return {field.path: _value(rules, field.name) for field in FIELDS} | {"off": sorted(rules.off)}


def _value(rules: RuleSet, name: str) -> int:
    owner, _, inner = name.partition(".")
    held = getattr(rules, owner)
    return int(getattr(held, inner) if inner else held)


def _rules(facts: Mapping[str, Any]) -> RuleSet:
    given = dict(_leaves(facts))
    known = {field.path: field for field in FIELDS}
    for path, value in given.items():
        if path not in known:
            beside = sorted(p for p in known if p.rpartition(".")[0] == path.rpartition(".")[0]) or sorted(known)
            raise ConfigError(path, value, f"there is no such parameter; there are {', '.join(beside)}")
        field = known[path]
        if type(value) is not int or not field.low <= value <= field.high:
            raise ConfigError(path, value, f"write a whole number from {field.low} to {field.high}")
    values = {known[path].name: value for path, value in given.items()}
    plain = {f.name: values[f.name] for f in fields(RuleSet) if f.name in values}
    tolerance = {name.partition(".")[2]: value for name, value in values.items() if name.startswith("sum_tolerance.")}
    return replace(RuleSet(), **plain, sum_tolerance=replace(Tolerance(), **tolerance))


def _leaves(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(path, value) of the parameters that are named."""
    found = [(f"estimation.{key}", value) for key, value in facts.get("estimation", {}).items()]
    for rule, parameters in facts.get("checks", {}).items():
        found += [(f"checks.{rule}.{key}", value) for key, value in _object(f"checks.{rule}", parameters).items()]
    return found


def _off(names: list[Any]) -> frozenset[str]:
    for place, name in enumerate(names):
        if name not in MAY_BE_OFF:
            raise ConfigError(f"off[{place}]", name, f"this can not be switched off; these can: {', '.join(sorted(MAY_BE_OFF))}")
    return frozenset(names)


def _object(path: str, value: Any) -> Mapping[str, Any]:
    _is(path, value, dict)
    return dict(value)


KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object, { }"}


def _is(path: str, value: Any, kind: type) -> None:
    if type(value) is not kind:
        raise ConfigError(path, value, f"{'it is missing; ' if value is None else ''}write {KINDS[kind]}")


def _keys(path: str, facts: Mapping[str, Any], known: set[str]) -> None:
    for key in facts:
        if key not in known:
            raise ConfigError(f"{path}{key}", facts[key], f"there is no such part; there are {', '.join(sorted(known))}")


def _class_name(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or len(name) > 40:
        raise ConfigError("class", name, "write up to 40 letters, digits, - or _, such as residential")
    return name


def day_named(name: str, text: str) -> int:
    """The number of a local day as a person writes it. Raises ConfigError."""
    try:
        return (date.fromisoformat(text) - EPOCH).days
    except ValueError:
        raise ConfigError(name, text, "write a local day such as 2026-12-01") from None
