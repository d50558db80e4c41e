"""Bulk: what is done to all programs of a filter, or of a kind of failure, after a preview."""

import asyncio

from playwright.async_api import expect

from program_executor import JobContext, job
from screens import Screen
from servers import on_sqlite
from serving import Service

pytestmark = on_sqlite

MANY = 12


async def test_programs_of_a_filter_are_cancelled_after_a_preview(
    service: Service, screen: Screen
) -> None:
    @job
    async def charge(_ctx: JobContext) -> None:
        await asyncio.Event().wait()

    await service.crew.hire(charge)
    meant = [await service.submit("charge", labels={"customer": "7"}) for _ in range(MANY)]
    other = await service.submit("charge", labels={"customer": "8"})
    await screen.open("/ui/programs?label=customer:7")
    await screen.press("Cancel all of these…")
    main = screen.page.locator("main")
    await expect(main.get_by_role("heading")).to_have_text(f"Cancel {MANY} programs?")
    assert (await service.get(meant[0]["run_id"]))["status"] != "cancelled"
    await screen.press(f"Cancel {MANY} programs")
    await expect(main).to_contain_text(f"{MANY} cancelled")
    await expect(main.locator("td .status")).to_have_text(["cancelled"] * MANY)
    assert {(await service.get(each["run_id"]))["status"] for each in meant} == {"cancelled"}
    assert (await service.get(other["run_id"]))["status"] == "running"


async def test_failures_of_a_kind_are_one_line_and_resumed_together(
    service: Service, screen: Screen
) -> None:
    is_fixed = False

    @job
    async def charge(ctx: JobContext) -> None:
        if not is_fixed:
            msg = f"order {ctx.program_data['order']} was declined"
            raise ValueError(msg)

    @job
    async def ship(_ctx: JobContext) -> None:
        msg = "no truck"
        raise ValueError(msg)

    await service.crew.hire(charge, ship)
    meant = [await service.submit("charge", program_data={"order": n}) for n in range(MANY)]
    other = await service.submit("ship")
    for each in (*meant, other):
        await service.ended(each["run_id"])
    await screen.open("/ui/failures")
    group = screen.page.get_by_role("row").filter(has_text="was declined")
    await expect(group).to_have_count(1)
    await expect(group).to_contain_text(str(MANY))
    is_fixed = True
    await group.get_by_role("link", name="Resume all…").click()
    await screen.press(f"Resume {MANY} programs")
    main = screen.page.locator("main")
    await expect(main).to_contain_text(f"{MANY} resumed")
    for each in meant:
        assert (await service.ended(each["run_id"]))["status"] == "finished"
    await expect(main).not_to_contain_text("was declined")
    await expect(main).to_contain_text("no truck")
    assert (await service.get(other["run_id"]))["resumes"] == 0
