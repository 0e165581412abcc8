"""Errors of the API: `application/problem+json` (RFC 9457), with a type a program can act on, a sentence for a person,
and the instant."""

from __future__ import annotations

from flask import Response, json, request
from werkzeug.exceptions import HTTPException

from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.site import site

TYPE_BASE = "https://gridtally.example/problems/"


class Problem(Exception):
    """Ends a request with this answer. `kind` is the last part of the problem's type; `retry_s`: when to try again."""

    def __init__(self, status: int, kind: str, detail: str, retry_s: int = 0) -> None:
        super().__init__(f"{status} {kind}: {detail}")
        self.status, self.kind, self.detail, self.retry_s = status, kind, detail, retry_s


def problem_response(status: int, kind: str, title: str, detail: str) -> Response:
    body = {"type": TYPE_BASE + kind, "title": title, "status": status, "detail": detail, "instance": request.path,
            "at": utc_text(site().now_ms)}  # fmt: skip
    response = Response(json.dumps(body), status=status, mimetype="application/problem+json")
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="gridtally"'
    return response


def of_problem(problem: Problem) -> Response:
    response = problem_response(problem.status, problem.kind, problem.kind.replace("-", " ").capitalize(), problem.detail)
    if problem.retry_s:
        response.headers["Retry-After"] = str(problem.retry_s)
    return response


def of_http(error: HTTPException) -> Response:
    status = error.code or 500
    title = error.name
    return problem_response(status, title.lower().replace(" ", "-"), title, error.description or title)
