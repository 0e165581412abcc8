"""A consumer and a staff user in a real browser, on the real app, server and store: what they see, press and get.

The concentrator's messages are real encoded ones and enter through the ingest handler. Pictures of each stage are kept under
artefacts/screens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from waitress.server import create_server

from gridtally_shared.money import NANO, display
from support.required import ROOT, program
from support.waiting import wait_until
from support.web_street import PASSWORD, PER_DAY, WebStreet

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

ARGS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
SCREENS = ROOT / "artefacts" / "screens"
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 800}


@dataclass
class Served:
    """A street behind a real web server on loopback."""

    street: WebStreet
    base: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    street = WebStreet(tmp_path_factory.mktemp("street"))
    street.live(PER_DAY * 2)
    street.live(PER_DAY, estimated=range(40, 48))
    street.live(72)
    server = create_server(street.app(), host="127.0.0.1", port=0, threads=6)
    thread = threading.Thread(target=server.run, name="web", daemon=True)
    thread.start()
    yield Served(street, f"http://127.0.0.1:{server.effective_port}")
    server.close()
    thread.join(5)
    street.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program("chromium", "chromium"), args=ARGS)
        yield launched
        launched.close()


Open = Callable[..., Page]


@pytest.fixture
def visit(served: Served, browser: Browser) -> Iterator[Open]:
    """A new browser profile; `login` signs in by mouse. No page may log an error or reach out of the machine."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def enter(login: str = "", size: dict[str, int] = DESK, scheme: str = "light") -> Page:
        context = browser.new_context(viewport=size, base_url=served.base, color_scheme=scheme, java_script_enabled=True)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith(served.base) else None)
        if login:
            page.goto("/login")
            page.get_by_label("User name").fill(login)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/*/**")
        return page

    yield enter
    for context in contexts:
        context.close()
    assert [c for c in complaints if "Failed to load resource" not in c] == []


def keep(page: Page, name: str) -> Path:
    """A picture of the whole page, for people."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    path = SCREENS / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 5_000
    return path


def rupees(nano: int) -> str:
    return display(nano, "INR").replace(" ", "\u00a0")


def test_a_recharge_from_login_to_the_meter(served: Served, visit: Open) -> None:
    street = served.street
    page = visit("asha", PHONE)
    before = street.pay.balance().balance_nano
    assert page.locator(".figure").inner_text() == rupees(before)
    assert page.locator(".chart .stop").count() == 7
    assert page.locator(".chart a.stop").count() == 4, "three of the seven days lie before the supply began"
    keep(page, "home-phone")
    page.get_by_role("main").get_by_role("link", name="Recharge").click()
    page.get_by_label("₹\u00a0500", exact=True).check()
    keep(page, "recharge-phone")
    page.get_by_role("button", name="Go on to payment").click()
    assert "no real money" in page.locator(".test-banner").inner_text()
    keep(page, "gateway-phone")
    page.get_by_role("button", name="Pay with Card").click()
    page.get_by_role("heading", name="The way of your credit").wait_for()
    assert page.locator(".steps li.now").count() == 1, "it waits for the concentrator"
    keep(page, "receipt-waiting-phone")
    page.goto("/account/1/")
    assert page.locator(".figure").inner_text() == rupees(before), "paid is not yet on the meter"
    assert f"{rupees(500 * NANO)} on its way to your meter" in page.locator(".hero").inner_text()
    street.pay.carry_down()
    assert street.send_journal() > 0
    page.reload()
    assert page.locator(".figure").inner_text() == rupees(before + 500 * NANO)
    page.get_by_role("link", name="Card").first.click()
    assert f"Your balance is now {rupees(before + 500 * NANO)}." in page.locator("main").inner_text()
    assert page.locator(".steps li.done").count() == 4
    keep(page, "receipt-applied-phone")


def test_the_receipt_page_notices_by_itself(served: Served, visit: Open) -> None:
    street, page = served.street, visit("bilal")
    page.goto("/account/2/recharge")
    page.locator("form.card button").click()
    page.locator("button[value=netbanking]").click()
    page.locator(".steps li.now").wait_for()
    street.pay.carry_down()
    street.send_journal()
    wait_until(lambda: page.locator(".steps li.done").count() == 4 or page.wait_for_timeout(200), 15, "the page refreshed")


def test_the_chart_by_keyboard(served: Served, visit: Open) -> None:
    page = visit("asha")
    page.goto("/account/1/usage?span=day&at=2026-11-03")
    stops = page.locator(".chart .stop")
    assert stops.count() == 24
    assert page.locator(".chart .bar.estimated").count() == 8
    stops.first.focus()
    for _ in range(7):
        page.keyboard.press("Tab")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("07:00–08:00: 0.")
    assert page.locator(".chart .stop:focus .readout").is_visible(), "the value of the stop in focus is shown"
    keep(page, "usage-day-desk")
    page.goto("/account/1/usage?span=month&at=2026-11")
    page.locator(".chart a.stop").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**span=day&at=2026-11-02**")


def test_sign_in_and_out_with_the_keyboard_only(visit: Open) -> None:
    page = visit()
    page.goto("/login")
    wait_until(lambda: page.evaluate("document.activeElement.tagName") == "INPUT", 10, "the first field has the focus")
    page.keyboard.type("asha")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/account/1/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip", "the first stop skips to the content"
    page.goto("/account/1/profile")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Sign out":
            break
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid", "the focus can be seen"
    page.keyboard.press("Enter")
    page.wait_for_url("**/login")


def test_a_form_without_its_token_is_refused(served: Served, visit: Open) -> None:
    page = visit("asha")
    page.goto("/account/1/recharge")
    page.evaluate("document.querySelector('main input[name=csrf_token]').remove()")
    with page.expect_response("**/recharge") as answer:
        page.get_by_role("button", name="Go on to payment").click()
    assert answer.value.status == 400
    assert "This request can not be read" in page.locator("h1").inner_text()


def test_everything_works_without_javascript(served: Served, browser: Browser) -> None:
    context = browser.new_context(viewport=PHONE, base_url=served.base, java_script_enabled=False)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/login")
    page.fill("#login", "carmen")
    page.fill("#password", PASSWORD)
    page.click("button.wide")
    page.wait_for_url("**/account/3/")
    page.goto("/account/3/usage?span=month")
    page.click("summary")
    assert page.locator("table tbody tr").first.is_visible()
    assert page.locator("html").get_attribute("lang") == "es"
    context.close()


PAGES = {
    "asha": ["/account/1/", "/account/1/usage", "/account/1/usage?span=month&unit=money", "/account/1/usage?span=year",
             "/account/1/bills", "/account/1/recharge", "/account/1/history", "/account/1/profile", "/password"],
    "ada": ["/staff/", "/staff/meters", "/staff/meters/1", "/staff/commands", "/staff/events", "/staff/dcus", "/staff/tokens",
            "/desk/", "/desk/accounts/1"],
}  # fmt: skip


@pytest.mark.covers_part("BYPL-0c")
@pytest.mark.parametrize("login", PAGES)
@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (DESK, "dark")], ids=["phone-light", "desk-dark"])
def test_no_page_is_wider_than_its_screen(login: str, size: dict[str, int], scheme: str, visit: Open) -> None:
    page = visit(login, size, scheme)
    wide, small = {}, {}
    for path in PAGES[login]:
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > size["width"]:
            wide[path] = width
        small[path] = page.evaluate(
            """[...document.querySelectorAll('main button, main .button, nav a, summary, main select, .choice')]
               .filter(e => e.offsetParent && e.getBoundingClientRect().height < 43.5).map(e => e.outerHTML.slice(0, 60))"""
        )
        keep(page, f"{login}-{path.strip('/').replace('/', '-').replace('?', '-').replace('=', '-').replace('&', '-')}-{size['width']}")
    assert wide == {}
    assert {path: found for path, found in small.items() if found} == {}, "touch targets are at least 44 px high"


def test_staff_disconnects_with_the_password_and_sees_the_end(served: Served, visit: Open) -> None:
    page = visit("otto")
    page.goto("/staff/meters/2")
    page.locator("summary", has_text="Disconnect").click()
    form = page.locator("form", has=page.locator("button[value=switch_open]"))
    reason, password = form.get_by_label("Reason"), form.get_by_label("Your password")
    reason.fill("moved out")
    page.get_by_role("button", name="Disconnect now").click()
    password.fill("wrong wrong wrong")
    page.get_by_role("button", name="Disconnect now").click()
    page.locator(".error-summary").wait_for()
    assert "Nothing was sent." in page.locator(".error-summary").inner_text()
    assert reason.input_value() == "moved out", "what was typed is kept, the password is not"
    keep(page, "disconnect-refused-desk")
    password.fill(PASSWORD)
    page.get_by_role("button", name="Disconnect now").click()
    page.wait_for_url("**/staff/commands/*")
    assert page.locator(".steps li.now").count() == 1
    keep(page, "command-desk")
