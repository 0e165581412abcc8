"""Where money comes in: the test gateway's hosted page, the signed webhook every gateway calls, the return page.

* Only the webhook captures. The return page shows what is known and credits nothing (BYPL-17.4).
* The test gateway sends its webhook as a request of its own to our own address, with the raw body and its signature, so
  that it passes the same door as any bank's.
"""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, abort, current_app, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.gateway import GatewayReason
from gridtally_cloud.prepay.model import Order
from gridtally_cloud.prepay.trial_gateway import TrialGateway, Webhook
from gridtally_cloud.web.security import csrf
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import own_account
from gridtally_shared.errors import RefusedCommand

payments = Blueprint("payments", __name__)

SIGNATURE_HEADER = "Gridtally-Signature"


def trial_gateway() -> TrialGateway:
    """The test gateway where it is switched on; 404 where it is not."""
    gateway = site().payments.gateway
    if not isinstance(gateway, TrialGateway):
        abort(404)
    return gateway


def _own_order(gateway_order: str) -> Order:
    """The visitor's own order behind a gateway's number; 404 for any other."""
    with site().db.read() as conn:
        found = prepay.order_at_gateway(conn, trial_gateway().name, gateway_order)
        if found is None or not found.pay_path:
            abort(404)
        own_account(conn, found.account_no)
    return found


@payments.route("/pay/test/<gateway_order>", methods=["GET", "POST"])
def gateway_page(gateway_order: str) -> Response | str:
    """The hosted page: pretend to be a bank."""
    order, gateway = _own_order(gateway_order), trial_gateway()
    if request.method != "POST":
        with site().db.read() as conn:
            return render_template("payments/gateway.html", order=order, page=gateway.hosted_page(conn, gateway_order))
    try:
        with site().db.write() as conn:
            hook = gateway.choose(conn, gateway_order, request.form.get("choice", ""), site().now_ms)
    except RefusedCommand:
        abort(400)
    deliver(gateway, hook)
    fields = gateway.return_fields(gateway_order)
    return redirect(f"{url_for('payments.returned')}?{urlencode(fields)}", 303)


def deliver(gateway: TrialGateway, hook: Webhook) -> bool:
    """Send an event to our own webhook; one that does not arrive is offered again by `redeliver`."""
    headers = {SIGNATURE_HEADER: hook.signature, "Content-Type": "application/json"}
    answer = current_app.test_client().post(f"/payments/webhook/{gateway.name}", data=hook.body, headers=headers)
    if answer.status_code == 200:
        with site().db.write() as conn:
            gateway.mark_delivered(conn, hook.event_id, site().now_ms)
    return answer.status_code == 200


@payments.get("/pay/return")
def returned() -> Response:
    """Back from the gateway. The signature only says that the address was not made up; the receipt tells the rest."""
    gateway = trial_gateway()
    if not gateway.verify_return(request.args.to_dict()):
        abort(400)
    order = _own_order(request.args.get("order", ""))
    return redirect(url_for("consumer.receipt", account_no=order.account_no, order_id=order.order_id))


@payments.post("/payments/webhook/<gateway>")
def webhook(gateway: str) -> tuple[Response, int]:
    """A delivery: 200 for whatever we understood, even twice; 400 for a bad signature, so that the sender tries again."""
    configured = site().payments.gateway
    if configured is None or configured.name != gateway:
        abort(404)
    try:
        with site().db.write() as conn:
            capture = prepay.handle_webhook(conn, site().payments, request.get_data(), request.headers.get(SIGNATURE_HEADER, ""),
                                            site().now_ms)  # fmt: skip
    except RefusedCommand as refused:
        status = 401 if refused.reason == GatewayReason.SIGNATURE else 400
        return jsonify(outcome="refused", reason=refused.reason), status
    return jsonify(outcome=capture.outcome.value), 200


csrf.exempt(webhook)


def redeliver() -> int:
    """Send again what never reached our webhook (a restart came between); number delivered. Needs an app context."""
    gateway = site().payments.gateway
    if not isinstance(gateway, TrialGateway):
        return 0
    with site().db.read() as conn:
        waiting = gateway.undelivered(conn)
    return sum(deliver(gateway, hook) for hook in waiting)
