"""Looks: every view is usable by everybody, on every screen, and with the keyboard alone."""

from collections.abc import Sequence

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from program_executor import JobContext, RetryableError, job
from screens import VIEWS, Screen
from servers import on_sqlite
from serving import Service

pytestmark = on_sqlite


@job
async def charge(ctx: JobContext) -> dict[str, object]:
    """Take money, at the second try."""
    if ctx.attempt == 1:
        raise RetryableError("the bank did not answer", after=0.01)
    return {"receipt": 4711, "lines": [{"sku": "A-1", "amount": 3}]}


@job
async def ship(ctx: JobContext) -> None:
    """Fail where there is no address."""
    if "address" not in ctx.program_data:
        msg = "no address of this customer, who may have moved to " + "elsewhere" * 20
        raise ValueError(msg)


@pytest.fixture
async def views(service: Service) -> Sequence[str]:
    """Let some programs run, and return the addresses of all views."""
    await service.crew.hire(charge, ship)
    long_name = {"address": "x" * 300, "customer": {"name": "Ada", "tags": ["a", "b"]}}
    good = await service.submit("charge", "ship", program_data=long_name)
    bad = await service.submit("charge", "ship", labels={"customer": "42"})
    for program in (good, bad):
        await service.ended(program["run_id"])
    of_program = [f"/ui/programs/{bad['run_id']}{part}" for part in ("", "/resume")]
    later = await service.submit("charge", start_at="2099-01-01T00:00:00Z")
    return [
        *VIEWS,
        *of_program,
        f"/ui/programs/{later['run_id']}/cancel",
        f"/ui/programs/{good['run_id']}",
        "/ui/bulk/cancel",
        "/ui/workers/drain?worker=worker-1",
        "/ui/jobs/test?job=charge",
        "/ui/sign-in",
    ]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_fits_and_is_accessible(
    views: Sequence[str], screen: Screen, width: int, scheme: str
) -> None:
    await screen.page.set_viewport_size({"width": width, "height": 740})
    await screen.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for view in views:
        await screen.open(view)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await screen.page.evaluate(overflow) == 0, view
        found = await Axe().run(screen.page)
        assert found.violations_count == 0, f"{view}: {found.generate_report()}"


async def test_colours_follow_the_scheme_of_the_system(screen: Screen) -> None:
    await screen.open("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = await screen.page.evaluate(ground)
    await screen.page.emulate_media(color_scheme="dark")
    assert await screen.page.evaluate(ground) != light


async def test_filters_stand_in_the_address_and_survive_a_reload(
    views: Sequence[str], screen: Screen
) -> None:
    del views
    await screen.open("/ui/programs")
    await screen.page.get_by_label("Status").select_option("errored")
    await screen.page.get_by_label("Label").fill("customer:42")
    await screen.press("Filter")
    rows = screen.page.locator("tbody tr")
    await expect(rows).to_have_count(1)
    await screen.page.reload()
    await expect(rows).to_have_count(1)
    await expect(screen.page.get_by_label("Status")).to_have_value("errored")
    await expect(screen.page.get_by_label("Label")).to_have_value("customer:42")
    await screen.press("Clear")
    await expect(rows).to_have_count(3)


async def test_keyboard_skips_to_the_content_and_opens_a_program(
    views: Sequence[str], screen: Screen
) -> None:
    del views
    await screen.open("/ui/programs")
    await screen.page.keyboard.press("Tab")
    await expect(screen.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await screen.page.keyboard.press("Enter")
    await screen.page.locator("tbody a").first.focus()
    await screen.page.keyboard.press("Enter")
    await expect(screen.page.get_by_role("heading", name="Steps")).to_be_visible()


async def test_list_goes_on_to_its_next_page(service: Service, screen: Screen) -> None:
    await service.crew.hire(charge)
    later = {"jobs": ["charge"], "start_at": "2099-01-01T00:00:00Z"}
    answer = await service.client.post("/programs/batch", json={"programs": [later] * 60})
    assert answer.status_code == 201
    await screen.open("/ui/programs?order=oldest")
    rows = screen.page.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await screen.press("Next page")
    await expect(rows).to_have_count(10)
    await screen.press("First page")
    await expect(rows).to_have_count(50)


async def test_command_to_submit_the_same_again_is_copied(
    views: Sequence[str], screen: Screen
) -> None:
    await screen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await screen.open(views[8])
    await screen.press("Copy as curl")
    copied = str(await screen.page.evaluate("navigator.clipboard.readText()"))
    assert copied.startswith(f"curl -X POST {screen.url}/programs")
