"""The web face of the MDM as one WSGI application: `create_app` wires it, waitress serves it.

Rules:
* Every page works without JavaScript; none is sent.
* An endpoint that the access table does not know is refused; an unexpected error is logged and shown without details.
* A request that another transaction got in the way of is tried again (web/clashes.py).
* The app holds no state of its own: any number of processes may serve the same store.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flask import Flask, Response, render_template, request
from sqlalchemy.exc import DataError, OperationalError
from werkzeug.exceptions import BadRequest, HTTPException, InternalServerError

from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.db import Database
from gridtally_cloud.web import visitor
from gridtally_cloud.web.api.openapi import BASE
from gridtally_cloud.web.api.problems import of_http
from gridtally_cloud.web.api.views import api
from gridtally_cloud.web.auth import auth
from gridtally_cloud.web.clashes import PatientFlask, on_operational_error
from gridtally_cloud.web.consumer import consumer
from gridtally_cloud.web.desk import desk
from gridtally_cloud.web.enrolment import enrolling, prepaying
from gridtally_cloud.web.handover import handover
from gridtally_cloud.web.letters import letters
from gridtally_cloud.web.operations import operations
from gridtally_cloud.web.payments import payments as payment_pages
from gridtally_cloud.web.programmes import programmes
from gridtally_cloud.web.replay import replay
from gridtally_cloud.web.replenish import replenish
from gridtally_cloud.web.security import protect
from gridtally_cloud.web.site import EXTENSION, Site, WebSettings
from gridtally_cloud.web.speech import give_templates_words
from gridtally_cloud.web.work import asking, work
from gridtally_shared.clock import Clock

log = logging.getLogger(__name__)

BLUEPRINTS = (
    asking, auth, consumer, desk, enrolling, handover, letters, operations, payment_pages,
    prepaying, programmes, replay, replenish, work, api,
)  # fmt: skip
WEB = Path(__file__).parent / "web"
SHOWN_CODES = frozenset({400, 401, 403, 404, 405, 413, 500})


def create_app(settings: WebSettings, db: Database, clock: Clock, payments: Payments) -> Flask:
    """The app. `clock` is business time, `payments` carries the signer, the gateway and the limits."""
    app = PatientFlask("gridtally", root_path=str(WEB), template_folder="templates", static_folder="static")
    app.extensions[EXTENSION] = Site(settings, db, clock, payments)
    app.jinja_options = {**app.jinja_options, "autoescape": True}
    protect(app, settings)
    give_templates_words(app, _version(), _digest(WEB / "static" / "style.css"))
    app.before_request(visitor.identify)
    app.before_request(visitor.guard)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _on_http_error)
    for unstorable in (DataError, OverflowError):
        app.register_error_handler(unstorable, _on_unstorable)
    app.register_error_handler(OperationalError, _on_operational_error)
    app.register_error_handler(Exception, _on_defect)
    return app


def _on_http_error(error: HTTPException) -> Response | tuple[str, int]:
    if request.path.startswith(BASE):
        return of_http(error)
    code = error.code or 500
    return render_template("error.html", code=code if code in SHOWN_CODES else 400 if code < 500 else 500), code


def _on_unstorable(error: Exception) -> Response | tuple[str, int]:
    """A number beyond 64 bits, or a NUL in a text on PostgreSQL: no store holds it, so it is in none. The asker's mistake."""
    log.warning("a value that no store holds", exc_info=error, extra={"endpoint": request.endpoint, "method": request.method})
    return _on_http_error(BadRequest("a number or a text in this request is none that can be stored"))


def _on_operational_error(error: OperationalError) -> Response | tuple[str, int]:
    return on_operational_error(error) or _on_defect(error)


def _on_defect(error: Exception) -> Response | tuple[str, int]:
    """A defect of ours: the log has all of it, the reader a page without details."""
    log.error("unhandled error", exc_info=error, extra={"endpoint": request.endpoint, "method": request.method})
    return _on_http_error(InternalServerError())


def _version() -> str:
    try:
        return version("gridtally")
    except PackageNotFoundError:
        return "development"


def _digest(path: Path) -> str:
    """Names the content of a file, so that a browser never keeps an old one."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
