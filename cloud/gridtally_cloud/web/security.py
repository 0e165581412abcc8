"""Headers and cookies of every response (reliability-security.md section 8).

* No script, no frame, no plug-in, nothing from elsewhere: the pages need none. A page that ever needs more asks here.
* The form cookie holds only the CSRF token and one-time notices; who is logged in is a row at the server (customers/sessions.py).
* Over HTTPS cookies carry the `__Host-` prefix and Secure, and HSTS is sent.
"""

from __future__ import annotations

from flask import Flask, Response, request
from flask_wtf import CSRFProtect

from gridtally_cloud.web.site import WebSettings

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'", "style-src 'self'", "img-src 'self' data:", "form-action 'self'", "base-uri 'none'",
        "object-src 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
HSTS = "max-age=31536000; includeSubDomains"
MAX_BODY_BYTES = 256 * 1024

csrf = CSRFProtect()


def cookie_name(settings: WebSettings, name: str) -> str:
    return f"__Host-{name}" if settings.https else name


def protect(app: Flask, settings: WebSettings) -> None:
    """Cookies, CSRF and headers of an app."""
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SESSION_COOKIE_NAME=cookie_name(settings, "gt_form"),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.https,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=settings.https,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    csrf.init_app(app)

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if settings.https:
            response.headers.setdefault("Strict-Transport-Security", HSTS)
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        return response
