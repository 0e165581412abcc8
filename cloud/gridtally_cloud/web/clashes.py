"""A request that another transaction got in the way of (a deadlock, a serialisation failure) is answered from its start, a few times.

* What the try had written is rolled back, so that doing all of it again does nothing twice. Only a request that had committed something
  before is not tried again by itself; a count that may be counted twice (`Database.write(counts=False)`) is no such thing.
* A view does nothing outside the store that a second try would double: what is sent goes through the tables of what waits to be sent. An
  order of payment placed at a gateway by a try that came to nothing is one that nobody is sent to.
* When that does not help, or SQLite's one writer does not come free, the answer is 503 with `Retry-After`, and says whether something
  may have been done.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import OperationalError

from gridtally_cloud.store.db import is_busy, is_clash
from gridtally_cloud.web.api.openapi import BASE
from gridtally_cloud.web.api.problems import Problem, of_problem
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import words

log = logging.getLogger(__name__)

TRIES = 5
AGAIN_S = 2
NOTHING = "Another change of the same things was in the way. Nothing of this request was done: send it again."
SOME = "Another change of the same things was in the way. Part of this request may be done: look first, or send it again with the same key."


class PatientFlask(Flask):
    """Flask that tries again what clashed."""

    def dispatch_request(self) -> ResponseReturnValue:
        db, tries = site().db, 0
        before = db.committed
        while True:
            tries += 1
            try:
                return super().dispatch_request()
            except OperationalError as error:
                g.some_done = db.committed != before
                if not is_clash(error) or g.some_done or tries == TRIES:
                    raise


def on_operational_error(error: OperationalError) -> Response | None:
    """The answer where the store was busy; None where it is broken."""
    if not is_busy(error):
        return None
    some = bool(g.get("some_done", False))
    log.warning("others were in the way", exc_info=error, extra={"endpoint": request.endpoint, "method": request.method, "some": some})
    if request.path.startswith(BASE):
        return of_problem(Problem(503, "busy", SOME if some else NOTHING, AGAIN_S))
    detail = words().t("error.503.some") if some else ""
    answer = make_response(render_template("error.html", code=503, detail=detail), 503)
    answer.headers["Retry-After"] = str(AGAIN_S)
    return answer
