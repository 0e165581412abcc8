"""Who is asking: the session cookie resolved, the access table applied, the language chosen. Before every view."""

from __future__ import annotations

from flask import Response, abort, g, redirect, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response as BaseResponse

from gridtally_cloud.customers import accounts, sessions
from gridtally_cloud.customers.model import Account, Session, User
from gridtally_cloud.web import access
from gridtally_cloud.web.i18n import Language, best_language, language
from gridtally_cloud.web.security import cookie_name
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

SESSION_COOKIE, LANGUAGE_COOKIE = "gt_session", "gt_language"
FREE_OF_PASSWORD_CHANGE = frozenset({"auth.password", "auth.logout", "auth.choose_language", "static"})
MAX_COOKIE_AGE_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Visitor:
    """`token` is the session cookie's value, '' for nobody."""

    user: User | None = None
    session: Session | None = None
    token: str = ""


NOBODY = Visitor()


def visitor() -> Visitor:
    found: Visitor = g.get("visitor", NOBODY)
    return found


def user() -> User:
    """The person logged in. For views the access table closes to the public."""
    found = visitor().user
    if found is None:
        abort(401)
    return found


def actor() -> str:
    """How this person is named in audit rows and as a sender of commands."""
    return f"staff:{user().login}" if user().is_staff else f"consumer:{user().login}"


def words(zone: str = "") -> Language:
    """The visitor's language in a zone; the site's zone unless told."""
    return language(_code(), zone or g.get("zone", "") or site().settings.zone)


def _code() -> str:
    found = visitor().user
    if found is not None:
        return found.language
    return best_language(request.cookies.get(LANGUAGE_COOKIE, "") or request.headers.get("Accept-Language", ""))


def source() -> str:
    return request.remote_addr or ""


# ---- before every view ----------------------------------------------------------------------------------------


def identify() -> None:
    """Find the session behind the cookie, if any."""
    token = request.cookies.get(cookie_name(site().settings, SESSION_COOKIE), "")
    if not token or request.endpoint == "static" or (request.endpoint or "").startswith("api."):
        return
    now_ms = site().real.now_ms()
    with site().db.read() as conn:
        found = sessions.resolve_session(conn, token, now_ms)
    if found is None:
        return
    g.visitor = Visitor(found[0], found[1], token)
    if found[1].touch_due:
        with site().db.write() as conn:
            sessions.touch_session(conn, token, now_ms)


def guard() -> BaseResponse | None:
    """Let the request pass, send it to the login, or refuse it."""
    endpoint = request.endpoint
    if endpoint is None:
        return None
    found = visitor().user
    if access.allowed(endpoint, found.role if found else None):
        must_change = found is not None and found.must_change and endpoint not in FREE_OF_PASSWORD_CHANGE
        return redirect(url_for("auth.password")) if must_change else None
    if found is None and endpoint in access.ACCESS:
        return redirect(url_for("auth.login", next=request.full_path.rstrip("?") if request.method == "GET" else None))
    abort(403)


def own_account(conn: Connection, account_no: int) -> Account:
    """The account, where the visitor may see it; 404 otherwise, as if it did not exist."""
    if not accounts.may_see(conn, user(), account_no):
        abort(404)
    try:
        found = accounts.account(conn, account_no)
    except RefusedCommand:
        abort(404)
    g.zone = found.zone
    return found


def set_session_cookie(response: Response | BaseResponse, token: str) -> None:
    settings = site().settings
    response.set_cookie(cookie_name(settings, SESSION_COOKIE), token, max_age=MAX_COOKIE_AGE_S, httponly=True, samesite="Lax",
                        secure=settings.https, path="/")  # fmt: skip


def drop_session_cookie(response: Response | BaseResponse) -> None:
    settings = site().settings
    response.delete_cookie(cookie_name(settings, SESSION_COOKIE), path="/", httponly=True, samesite="Lax", secure=settings.https)
