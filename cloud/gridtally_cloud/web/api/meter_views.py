"""Settings, places and logs of meters in `/api/v1`: what is wanted of a meter, where it hangs, what fails again and again."""

from __future__ import annotations

import csv
import io
from typing import Any

from flask import Response, jsonify, request, url_for
from sqlalchemy import Connection

from gridtally_cloud.meters import failures, loads, settings, topology
from gridtally_cloud.meters import power_quality as quality
from gridtally_cloud.meters.settings import SettingView
from gridtally_cloud.meters.topology import Node, Place
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, cursor_text, idempotency_key, page, span, token
from gridtally_cloud.web.reads import meters as meter_reads
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.meter_settings import AnySetting
from gridtally_shared.meter_settings_json import BadSetting, from_json, to_json

Answer = tuple[Response, int]


def _staff(conn: Connection, meter_no: int) -> meter_reads.MeterRow:
    """The meter, for tokens of staff only; a customer's token finds none."""
    found = meter_reads.meter_row(conn, meter_no)
    if found is None or token().customer_no is not None:
        raise Problem(404, "not-found", f"There is no meter {meter_no}.")
    return found


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


# ---- settings -------------------------------------------------------------------------------------------------


def meter_settings(meter_no: int) -> Answer:
    with site().db.read() as conn:
        _staff(conn, meter_no)
        views = settings.of_meter(conn, meter_no, site().now_ms)
    return jsonify({"items": [_setting(v) for v in views], "next": None}), 200


def write_settings(meter_no: int) -> Answer:
    wanted, key = _wanted(body()), idempotency_key()
    with site().db.write() as conn:
        _staff(conn, meter_no)
        try:
            signer, by = site().payments.signer, f"api:{token().name}"
            issued = settings.order(conn, signer, meter_no, wanted, by, site().now_ms, key)
        except RefusedCommand as refused:
            raise Problem(422, refused.reason.replace("_", "-"), refused.detail or refused.reason) from None
        views = settings.of_meter(conn, meter_no, site().now_ms)
    answer = jsonify({"items": [_setting(v) for v in views], "next": None})
    answer.headers["Location"] = url_for("api.command", cmd_id=issued.cmd_id.hex())
    return answer, 202


def _wanted(raw: dict[str, Any]) -> tuple[AnySetting, ...]:
    given = raw.get("settings")
    if not isinstance(given, dict) or not given:
        raise Problem(422, "no-settings", 'Name at least one: {"settings": {"demand_period": {"period_s": 1800}}}.')
    try:
        return tuple(from_json(name, value) for name, value in given.items())
    except BadSetting as bad:
        raise Problem(422, "bad-setting", str(bad)) from None


def _setting(v: SettingView) -> dict[str, Any]:
    return {
        "meter_no": v.meter_no, "setting": v.kind.name.lower(), "state": v.state.value,
        "wanted": to_json(v.wanted) if v.wanted else None, "reported": to_json(v.reported) if v.reported else None,
        "wanted_at": _time(v.wanted_at_ms), "reported_at": _time(v.reported_at_ms),
        "cmd_id": v.cmd_id.hex() if v.cmd_id else None, "reason": v.reason,
    }  # fmt: skip


def _time(at_ms: int | None) -> str | None:
    return utc_text(at_ms) if at_ms else None


def create_campaign() -> Answer:
    """The same settings for many meters; told again under the same name it orders nobody twice."""
    _staff_only()
    raw = body()
    wanted, meters = _wanted(raw), raw.get("meters")
    if not isinstance(meters, list) or not meters or not all(type(no) is int for no in meters):
        raise Problem(422, "no-meters", "meters is a list of meter numbers.")
    name = str(raw.get("name") or "")
    with site().db.write() as conn:
        try:
            by, signer = f"api:{token().name}", site().payments.signer
            refused = settings.campaign(conn, signer, name, tuple(meters), wanted, by, site().now_ms)
        except RefusedCommand as error:
            raise Problem(422, error.reason.replace("_", "-"), error.detail) from None
        answer = _campaign(conn, name, refused)
    return jsonify(answer), 202


def campaign(name: str) -> Answer:
    _staff_only()
    with site().db.read() as conn:
        found = _campaign(conn, name, {})
    if not found["items"]:
        raise Problem(404, "not-found", "There is no such campaign.")
    return jsonify(found), 200


def _campaign(conn: Connection, name: str, refused: dict[int, str]) -> dict[str, Any]:
    views = settings.of_campaign(conn, name, site().now_ms)
    counts = {state.value: n for state, n in settings.counts(views).items()}
    return {"name": name, "counts": counts, "items": [_setting(v) for v in views],
            "refused": [{"meter_no": no, "reason": why} for no, why in refused.items()]}  # fmt: skip


# ---- places ---------------------------------------------------------------------------------------------------


def topology_now() -> Answer:
    """Where every meter is now, and the nodes of one concentrator's networks where `dcu` names it."""
    _staff_only()
    asked, dcu, after = page(1), request.args.get("dcu", "")[:80], request.args.get("after", "")[:80]
    with site().db.read() as conn:
        places = topology.present(conn, dcu, after, asked.limit)
        nodes = topology.nodes(conn, dcu) if dcu else ()
    following = places[-1].serial if len(places) == asked.limit else None
    return jsonify({"items": [_place(p) for p in places], "nodes": [_node(n) for n in nodes], "next": following}), 200


def meter_places(meter_no: int) -> Answer:
    with site().db.read() as conn:
        found = _staff(conn, meter_no)
        rows = topology.history(conn, found.serial)
    return jsonify({"items": [_place(p) for p in rows], "next": None}), 200


def _place(p: Place) -> dict[str, Any]:
    return {"serial": p.serial, "dcu": p.dcu, "line": p.line, "address": p.address, "node": p.node, "parent": p.parent,
            "hops": p.hops, "from": utc_text(p.from_ms), "to": _time(p.to_ms)}  # fmt: skip


def _node(n: Node) -> dict[str, Any]:
    return {"node": n.node, "line": n.line, "state": n.state.name.lower(), "address": n.address, "parent": n.parent,
            "hops": n.hops, "quality": n.quality, "serial": n.serial, "at": utc_text(n.at_ms)}  # fmt: skip


# ---- what fails -----------------------------------------------------------------------------------------------


def event_groups() -> Answer:
    """How often each event came, grouped by meter type, maker or concentrator."""
    _staff_only()
    by = request.args.get("by", "driver")
    if by not in failures.GROUPS:
        raise Problem(422, "unknown-group", f"by is one of {', '.join(failures.GROUPS)}.")
    from_ms, to_ms = span(90)
    with site().db.read() as conn:
        rows = failures.grouped(conn, by, from_ms, to_ms)
    if request.args.get("format") == "csv":
        return _groups_csv(by, rows), 200
    return jsonify({"items": [{"group": r.group, "code": r.type.code, "name": r.type.name, "cim": r.type.cim, "count": r.count,
                               "meters": r.meters} for r in rows], "next": None}), 200  # fmt: skip


def _groups_csv(by: str, rows: tuple[failures.Group, ...]) -> Response:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow([by, "code", "name", "cim", "count", "meters"])
    table.writerows([r.group, r.type.code, r.type.name, r.type.cim, r.count, r.meters] for r in rows)
    name = f"events-by-{by}.csv"
    return Response(out.getvalue(), mimetype="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def chronic_failures() -> Answer:
    """Meters on which the same event came `least` times or more within the span (30 days, five times)."""
    _staff_only()
    from_ms, to_ms = span(failures.CHRONIC_DAYS)
    least = request.args.get("least", failures.CHRONIC_LEAST, type=int)
    if not 2 <= least <= 1_000:
        raise Problem(422, "bad-least", "least is a number from 2 to 1000.")
    with site().db.read() as conn:
        rows = failures.chronic(conn, from_ms, to_ms, least)
    return jsonify({"items": [{"meter_no": r.meter_no, "serial": r.serial, "code": r.type.code, "name": r.type.name,
                               "count": r.count, "first_at": utc_text(r.first_ms), "last_at": utc_text(r.last_ms)}
                              for r in rows], "next": None}), 200  # fmt: skip


def power_quality(meter_no: int) -> Answer:
    """Values with their moments, and what disturbed the supply (ETSI 5.2.6)."""
    from_ms, to_ms = span(30)
    with site().db.read() as conn:
        _staff(conn, meter_no)
        values = quality.measured(conn, meter_no, from_ms, to_ms)
        found = quality.disturbances(conn, meter_no, from_ms, to_ms)
    counts = {kind: sum(d.kind == kind for d in found) for kind in quality.DISTURBANCES}
    items = [{"quantity": v.quantity.name, "unit": v.quantity.unit, "exponent": v.quantity.exponent, "at": utc_text(v.at_ms),
              "value": v.value, "quality": v.quality} for v in values]  # fmt: skip
    told = [{"kind": d.kind, "from": utc_text(d.from_ms), "to": _time(d.to_ms)} for d in found]
    return jsonify({"meter_no": meter_no, "items": items, "disturbances": told, "counts": counts, "next": None}), 200


def load_violations() -> Answer:
    """Who took more than the limit of his supply."""
    _staff_only()
    (from_ms, to_ms), asked = span(30), page(2)
    before = (asked.after[0], asked.after[1]) if asked.after else None
    with site().db.read() as conn:
        rows = loads.violations(conn, from_ms, to_ms, before, asked.limit)
    following = cursor_text(rows[-1].at_ms, rows[-1].event_no) if len(rows) == asked.limit else None
    return jsonify({"items": [{"event_no": v.event_no, "meter_no": v.meter_no, "serial": v.serial, "name": v.type.name,
                               "at": utc_text(v.at_ms), "demand_max_w": v.demand_w, "limit_w": v.limit_w} for v in rows],
                    "next": following}), 200  # fmt: skip


__all__ = [
    "campaign", "chronic_failures", "create_campaign", "event_groups", "load_violations", "meter_places", "meter_settings", "power_quality",
    "topology_now", "write_settings",
]  # fmt: skip
