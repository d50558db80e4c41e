"""Jobs of a small shop: an order is charged, invoiced and packed; its parcels are programs, too."""

from pathlib import Path

from program_executor import (
    IgnorableError,
    JobContext,
    ProgramEvent,
    Retry,
    RetryableError,
    ThreadJobContext,
    job,
    on_error,
    on_finish,
    on_retry,
)
from shop.outside import CardDeclined, Carrier, Mailbox, Payments, PaymentsBusy

payments, carrier, mailbox = Payments(), Carrier(), Mailbox()
diary: list[str] = []

PAGE = 100
MAX_EXECUTION_TIME_S = 60.0


@job("charge", timeout_s=30, retry=Retry(max_attempts=8, initial_s=2, max_s=300))
async def charge(ctx: JobContext) -> dict[str, str]:
    """Charge the card, once however often this step is tried."""
    order = ctx.program_data
    try:
        receipt = await payments.charge(order["card"], order["cents"], key=ctx.idempotency_key)
    except PaymentsBusy as error:
        raise RetryableError("the payment service is busy", code="busy", after=10) from error
    except CardDeclined as error:
        raise IgnorableError("the card was declined", code="declined") from error
    return {"receipt": receipt}


@job("write_invoice")
def write_invoice(ctx: ThreadJobContext) -> dict[str, str]:
    """Write the invoice to a file; a second try writes the same file again."""
    receipt = ctx.results["charge"]["receipt"]
    file = Path(ctx.program_data["folder"]) / f"invoice-{ctx.run_id}.txt"
    file.write_text(f"{ctx.program_data['cents'] / 100:.2f} EUR, {receipt}\n")
    return {"file": str(file)}


@job("pack")
async def pack(ctx: JobContext) -> dict[str, list[str]]:
    """Start a program for each parcel of the order."""
    parcels = []
    for name in ctx.program_data["parcels"]:
        run_id = await ctx.start_program(["ship"], program_data={"parcel": name}, key=name)
        parcels.append(run_id)
    return {"parcels": parcels}


@job("ship", retry=Retry(max_attempts=5))
async def ship(ctx: JobContext) -> dict[str, str]:
    """Hand a parcel to the carrier, whose own errors say whether they may pass."""
    return {"tracking": await carrier.send(ctx.program_data["parcel"])}


@job("send_newsletter")
async def send_newsletter(ctx: JobContext) -> None:
    """Mail all customers, a page at a time, from where the last try stopped."""
    customers = ctx.program_data["customers"]
    sent = (await ctx.job_data.get()).get("sent", 0)
    while sent < len(customers):
        page = customers[sent : sent + PAGE]
        for address in page:
            await mailbox.send(address)
        sent += len(page)
        await ctx.job_data.checkpoint({"sent": sent}, MAX_EXECUTION_TIME_S)


ship_express = ship.named("ship_express", retry=Retry(max_attempts=20, max_s=60))


@on_retry
def note_retry(event: ProgramEvent) -> None:
    """Write down what went wrong for now."""
    diary.append(f"{event.job} again in {event.retry_in_s:.0f} s: {event.error_message}")


@on_error
def note_error(event: ProgramEvent) -> None:
    """Write down what went wrong for good."""
    diary.append(f"{event.job} failed: {event.error_message}")


@on_finish
async def note_finish(event: ProgramEvent) -> None:
    """Write down what went well."""
    diary.append(f"{event.run_id} finished")
