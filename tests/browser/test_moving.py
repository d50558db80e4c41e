"""Moving: an open page shows what happens, without a reload, and what to do about it."""

import asyncio
import logging

from playwright.async_api import expect

from program_executor import JobContext, job
from screens import Screen
from servers import on_sqlite
from serving import Service

pytestmark = on_sqlite


async def test_program_is_seen_to_move_to_its_end(service: Service, screen: Screen) -> None:
    gate = asyncio.Event()

    @job
    async def charge(_ctx: JobContext) -> dict[str, int]:
        return {"receipt": 4711}

    @job
    async def ship(_ctx: JobContext) -> None:
        await gate.wait()

    await service.crew.hire(charge, ship)
    program = await service.submit("charge", "ship")
    await screen.open(f"/ui/programs/{program['run_id']}")
    await screen.mark()
    main = screen.page.locator("main")
    await expect(main.locator(".headline .status")).to_have_text("running")
    await expect(main.locator(".headline")).to_contain_text("1/2")
    await expect(main).to_contain_text("4711")
    gate.set()
    await expect(main.locator(".headline .status")).to_have_text("finished")
    await expect(main.locator(".headline")).to_contain_text("2/2")
    await expect(screen.page.locator("#live")).to_contain_text("finished")
    assert await screen.is_marked()


async def test_list_shows_a_new_program_by_itself(service: Service, screen: Screen) -> None:
    @job
    async def charge(_ctx: JobContext) -> None: ...

    await service.crew.hire(charge)
    await screen.open("/ui/programs")
    await screen.mark()
    await expect(screen.page.locator("main")).to_contain_text("No program is like that.")
    program = await service.submit("charge")
    row = screen.page.get_by_role("row").filter(has_text=program["run_id"])
    await expect(row.locator(".status")).to_have_text("finished")
    assert await screen.is_marked()


async def test_overview_counts_what_ends_by_itself(service: Service, screen: Screen) -> None:
    @job
    async def charge(_ctx: JobContext) -> None: ...

    await service.crew.hire(charge)
    await screen.open("/")
    await screen.mark()
    finished = screen.page.get_by_role("listitem").filter(has_text="finished")
    await expect(finished.locator("strong")).to_have_text("0")
    await service.ended((await service.submit("charge"))["run_id"])
    await expect(finished.locator("strong")).to_have_text("1")
    await expect(screen.page.locator(".health")).to_contain_text("All is well: 1 worker")
    assert await screen.is_marked()


async def test_folded_parts_stay_as_they_are_when_the_page_moves(
    service: Service, screen: Screen
) -> None:
    gate = asyncio.Event()

    @job
    async def charge(_ctx: JobContext) -> None:
        await gate.wait()

    await service.crew.hire(charge)
    program = await service.submit("charge", program_data={"customer": {"name": "Ada"}})
    await screen.open(f"/ui/programs/{program['run_id']}")
    name = screen.page.get_by_text('"Ada"', exact=True)
    await expect(name).to_be_visible()
    await screen.page.locator("summary", has_text="customer").click()
    await expect(name).to_be_hidden()
    gate.set()
    await expect(screen.page.locator(".headline .status")).to_have_text("finished")
    await expect(name).to_be_hidden()


async def test_failure_is_shown_with_its_traceback_and_its_log_and_resumed(
    service: Service, screen: Screen
) -> None:
    is_fixed = False

    @job
    async def charge(_ctx: JobContext) -> None:
        if not is_fixed:
            logging.getLogger("shop").warning("charging 12 EUR")
            msg = "the card was declined"
            raise ValueError(msg)

    await service.crew.hire(charge)
    program = await service.submit("charge")
    await service.ended(program["run_id"])
    await screen.open("/ui/programs?status=errored")
    await screen.press(program["run_id"])
    main = screen.page.locator("main")
    await expect(main).to_contain_text("ValueError: the card was declined")
    await expect(main.get_by_label("Traceback")).to_contain_text("raise ValueError(msg)")
    await expect(main.get_by_label("Log")).to_contain_text("warning charging 12 EUR")
    is_fixed = True
    await screen.press("Resume…")
    await expect(main).to_contain_text("Resume this program?")
    await screen.press("Resume the program")
    await expect(main.locator(".headline .status")).to_have_text("finished")


async def test_program_is_resumed_from_a_chosen_step(service: Service, screen: Screen) -> None:
    charged: list[int] = []

    @job
    async def charge(ctx: JobContext) -> None:
        charged.append(ctx.step)

    @job
    async def ship(_ctx: JobContext) -> None:
        if len(charged) == 1:
            msg = "the truck is gone"
            raise ValueError(msg)

    await service.crew.hire(charge, ship)
    program = await service.submit("charge", "ship")
    await service.ended(program["run_id"])
    await screen.open(f"/ui/programs/{program['run_id']}/resume")
    await screen.page.get_by_label("Go on from").select_option("0")
    await screen.press("Resume the program")
    await expect(screen.page.locator(".headline .status")).to_have_text("finished")
    assert charged == [0, 0]


async def test_running_program_is_cancelled_when_confirmed(
    service: Service, screen: Screen
) -> None:
    @job
    async def charge(_ctx: JobContext) -> None:
        await asyncio.Event().wait()

    await service.crew.hire(charge)
    run_id = await service.running("charge")
    await screen.open(f"/ui/programs/{run_id}")
    await screen.press("Cancel…")
    await expect(screen.page.locator("main")).to_contain_text("runs on worker-1")
    assert (await service.get(run_id))["status"] == "running"
    await screen.press("Cancel the program")
    await expect(screen.page.locator(".headline .status")).to_have_text("cancelled")
    assert (await service.get(run_id))["status"] == "cancelled"


async def test_job_is_tested_by_a_program_of_its_own(service: Service, screen: Screen) -> None:
    @job
    async def charge(_ctx: JobContext) -> None: ...

    await service.crew.hire(charge)
    await screen.open("/ui/jobs")
    await screen.press("Test…")
    await screen.press("Send the test")
    await expect(screen.page.locator(".headline .status")).to_have_text("finished")
    await expect(screen.page.locator("main")).to_contain_text("source:dashboard-test")


async def test_worker_is_drained_when_confirmed(service: Service, screen: Screen) -> None:
    @job
    async def charge(_ctx: JobContext) -> None: ...

    shift = await service.crew.hire(charge)
    await screen.open("/ui/workers")
    await screen.press("Drain…")
    assert shift.worker.is_ready.is_set()
    await screen.press("Drain the worker")
    row = screen.page.get_by_role("row").filter(has_text=shift.worker.name)
    await expect(row.locator(".status")).to_have_text("drained")
    assert not shift.worker.is_ready.is_set()
