"""`/api/v1/grid`: what an operator of the network asks of a feeder or a transformer (ETSI TR 102 691, 5.2.10).

A token bound to feeders is refused elsewhere; what is not valid is answered with its type and instant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, jsonify
from sqlalchemy import Connection

from gridtally_cloud.exchange.asking import Refusal
from gridtally_cloud.exchange.recipients import RecipientReason
from gridtally_cloud.grid import register, service
from gridtally_cloud.grid.cli import report_object
from gridtally_cloud.grid.register import GridReason, Level
from gridtally_cloud.grid.service import Asked, Disturbed
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, cursor_text, moment, page, span, token
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.quantities import BY_CODE

Answer = tuple[Response, int]
STATUS: dict[str, int] = {
    GridReason.UNKNOWN_TRANSFORMER: 404, GridReason.UNKNOWN_FEEDER: 404, RecipientReason.UNKNOWN_RECIPIENT: 404, GridReason.NOT_YOURS: 403,
}  # fmt: skip
DAYS = 30


def grid_transformers() -> Answer:
    now_ms = site().now_ms

    def look(conn: Connection) -> list[dict[str, Any]]:
        mine = register.feeders_of(conn, token().token_no)
        return [{"transformer": t.name, "feeder": t.feeder, "rating_va": t.rating_va, "meter_point_no": t.meter_point_no,
                 "usage_points": len(register.members(conn, [t], now_ms, now_ms + 1))}
                for t in register.transformers(conn) if not mine or t.feeder in mine]  # fmt: skip

    return jsonify({"items": _told(look), "next": None}), 200


def grid_readings(level: str, name: str) -> Answer:
    asked = page(3)
    rows, figures = _about(level, name, span(DAYS), lambda conn, found: (
        service.readings(conn, found, asked.after, asked.limit), service.figures_object(service.figures(conn, found))))  # fmt: skip
    following = cursor_text(rows[-1].meter_no, rows[-1].quantity, rows[-1].at_ms) if len(rows) == asked.limit else None
    return jsonify({"items": [_reading(row) for row in rows], "figures": figures, "next": following}), 200


def grid_power_quality(level: str, name: str) -> Answer:
    found = _about(level, name, span(DAYS), service.quality)
    return jsonify({"items": [_disturbed(each) for each in found], "next": None}), 200


def grid_load(level: str, name: str) -> Answer:
    return jsonify(report_object(_about(level, name, span(DAYS), service.load_report))), 200


def grid_export(level: str, name: str) -> Answer:
    raw = body()
    times = moment(raw.get("from", ""), "from"), moment(raw.get("to", ""), "to")
    to, kind, form = (str(raw.get(key) or default) for key, default in (("recipient", ""), ("kind", "intervals"), ("format", "csv")))
    by = f"api:{token().name}"
    found = _about(level, name, times, lambda conn, asked: service.export(conn, asked, to, kind, form, site().now_ms, by), writes=True)
    if isinstance(found, Refusal):
        raise Problem(422, found.reason.value.replace("_", "-"), found.detail)
    return jsonify({"files": list(found.files), "values": found.values}), 202


def _about(level: str, name: str, times: tuple[int, int], work: Callable[[Connection, Asked], Any], writes: bool = False) -> Any:
    if level not in [known.value for known in Level]:
        raise Problem(404, "not-found", f"Ask about {' or '.join(Level)}.")

    def look(conn: Connection) -> Any:
        return work(conn, service.ask(conn, Level(level), name, *times, token().token_no))

    return _told(look, writes)


def _told(work: Callable[[Connection], Any], writes: bool = False) -> Any:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not see the network.")
    with site().db.write() if writes else site().db.read() as conn:
        try:
            return work(conn)
        except RefusedCommand as refused:
            reason = str(refused.reason)
            raise Problem(STATUS.get(reason, 422), reason.replace("_", "-"), refused.detail) from None


def _reading(row: Any) -> dict[str, Any]:
    kind = BY_CODE[row.quantity]
    return {"meter_no": row.meter_no, "quantity": kind.name, "unit": kind.unit, "exponent": kind.exponent, "at": utc_text(row.at_ms),
            "value": row.value, "quality": row.quality}  # fmt: skip


def _disturbed(each: Disturbed) -> dict[str, Any]:
    values = [{"quantity": v.quantity.name, "unit": v.quantity.unit, "exponent": v.quantity.exponent, "at": utc_text(v.at_ms),
               "value": v.value, "quality": v.quality} for v in each.values]  # fmt: skip
    told = [{"kind": d.kind, "from": utc_text(d.from_ms), "to": utc_text(d.to_ms) if d.to_ms else None} for d in each.disturbances]
    return {"meter_no": each.meter_no, "meter_serial": each.serial, "items": values, "disturbances": told}
