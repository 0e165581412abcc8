"""Login, log-out, password, language. Nothing here tells whether a login exists."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from gridtally_cloud.customers import accounts, service, sessions
from gridtally_cloud.customers.model import LoginOutcome, LoginResult, Role
from gridtally_cloud.web.i18n import LANGUAGES
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import (
    LANGUAGE_COOKIE,
    drop_session_cookie,
    set_session_cookie,
    source,
    user,
    visitor,
    words,
)
from gridtally_shared.errors import RefusedCommand

auth = Blueprint("auth", __name__)

START = {Role.DESK: "desk.accounts", Role.OPERATIONS: "operations.overview", Role.ADMIN: "operations.overview"}
YEAR_S = 365 * 86_400
FIELD_OF = {"wrong_password": "old", "locked": "old", "weak_password": "new"}


def local_path(target: str) -> str:
    """A path of this site to go on to, or '' for anything else (no open redirect)."""
    plain = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if plain else ""


@auth.get("/")
def start() -> Response | str:
    """The first page of whoever is logged in."""
    if user().role in START:
        return redirect(url_for(START[user().role]))
    with site().db.read() as conn:
        own = accounts.list_accounts_for(conn, user())
    if not own:
        return render_template("consumer/no_account.html")
    return redirect(url_for("consumer.home", account_no=own[0].account_no))


@auth.route("/login", methods=["GET", "POST"])
def login() -> Response | str | tuple[str, int]:
    if request.method != "POST":
        if visitor().user is not None:
            return redirect(url_for("auth.start"))
        return _form(local_path(request.args.get("next", "")))
    typed = request.form.get("login", "")
    result = service.authenticate(site().db, typed, request.form.get("password", ""), source(), site().real.now_ms())
    target = local_path(request.form.get("next", ""))
    if result.user is None:
        return _form(target, typed, {"login": _refusal(result)}), 401
    with site().db.write() as conn:
        token = sessions.open_session(conn, result.user, source(), request.user_agent.string, site().real.now_ms())
    session.clear()
    response = redirect(target or url_for("auth.start"))
    set_session_cookie(response, token)
    return response


def _form(target: str, typed: str = "", problems: dict[str, str] | None = None) -> str:
    return render_template("auth/login.html", next=target, login=typed, problems=problems or {})


def _refusal(result: LoginResult) -> str:
    if result.outcome is LoginOutcome.LOCKED or result.retry_after_s:
        return words().t("auth.locked", n=-(-result.retry_after_s // 60))
    return words().t("auth.wrong")


@auth.post("/logout")
def logout() -> Response:
    with site().db.write() as conn:
        sessions.end_session(conn, visitor().token, site().real.now_ms())
    session.clear()
    flash(words().t("auth.bye"), "good")
    response = redirect(url_for("auth.login"))
    drop_session_cookie(response)
    return response


@auth.post("/language")
def choose_language() -> Response:
    code = request.form.get("language", "")
    if code not in LANGUAGES:
        abort(400)
    found = visitor().user
    if found is not None:
        with site().db.write() as conn:
            service.set_language(conn, found.user_id, code, site().real.now_ms())
    response = redirect(local_path(request.form.get("next", "")) or url_for("auth.start"))
    response.set_cookie(LANGUAGE_COOKIE, code, max_age=YEAR_S, httponly=True, samesite="Lax", secure=site().settings.https)
    return response


@auth.route("/password", methods=["GET", "POST"])
def password() -> Response | str | tuple[str, int]:
    if request.method != "POST":
        return render_template("auth/password.html", problems={})
    problems = _change_password(request.form.get("old", ""), request.form.get("new", ""), request.form.get("again", ""))
    if problems:
        return render_template("auth/password.html", problems=problems), 422
    flash(words().t("password.changed"), "good")
    return redirect(url_for("auth.start"))


def _change_password(old: str, new: str, again: str) -> dict[str, str]:
    """Problems by field; none when the password was changed."""
    if new != again:
        return {"again": words().t("password.differ")}
    try:
        service.change_password(site().db, user().user_id, old, new, site().real.now_ms(), keep_token=visitor().token,
                                source=source())  # fmt: skip
    except RefusedCommand as refused:
        return {FIELD_OF.get(refused.reason, "old"): words().name_of("refused", refused.reason, refused.detail)}
    return {}
