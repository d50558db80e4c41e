# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi", "httpx", "standardwebhooks", "uvicorn"]
# ///
"""Endpoint: a quick and a slow job over HTTP, in Python with FastAPI."""

import asyncio
import os
from contextlib import suppress
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.background import BackgroundTask

Json = dict[str, Any]

app = FastAPI()
webhook = Webhook(os.environ["SECRET"])
answers: dict[str, Json] = {}  # {webhook-id: answer}; keep yours in a database, beside the effect
running: dict[str, dict[str, str]] = {}  # {webhook-id: the newest links}


@app.post("/{job}")
async def execute(job: str, request: Request) -> JSONResponse:
    """Run a job, unless this step was done already or is being worked on."""
    try:  # it was signed with our secret, less than five minutes ago
        call = webhook.verify(await request.body(), dict(request.headers))
    except (WebhookVerificationError, ValueError) as error:
        raise HTTPException(401, f"the signature does not fit: {error}") from error
    key = request.headers["webhook-id"]
    if key in answers:
        return JSONResponse(answers[key])
    if job == "slow":
        work = None if key in running else BackgroundTask(slow, key, call["program_data"])
        running[key] = call["links"]
        return JSONResponse({}, 202, background=work)
    if not (prices := call["program_data"].get("prices")):
        return JSONResponse({"error": {"message": "no prices", "retryable": False}}, 422)
    answers[key] = {"job_data": {"total": sum(prices)}}
    return JSONResponse(answers[key])


async def slow(key: str, order: Json) -> None:
    """Work in rounds, ask for more time after each, and say how it ended."""
    try:
        for _ in range(order["rounds"]):
            await asyncio.sleep(order.get("pause_s", 1))
            links = running[key]
            status = await post(links["heartbeat"], {})
            if status == httpx.codes.CONFLICT and running[key] is links:
                del running[key]  # the step has moved on: it was cancelled, or out of time
                return
    except Exception as error:  # noqa: BLE001 - whatever it was, the service should know
        failure = {"message": repr(error), "retryable": not isinstance(error, KeyError)}
        await post(running.pop(key)["fail"], {"error": failure})
    else:
        answers[key] = {"job_data": {"rounds": order["rounds"]}}
        await post(running.pop(key)["complete"], answers[key])


async def post(link: str, body: Json) -> int:
    """Post to a link, for a while if need be, and return the status of the answer."""
    async with httpx.AsyncClient() as client:
        for pause_s in (0.2, 1, 5, 30):
            with suppress(httpx.TransportError):
                answer = await client.post(link, json=body)
                if not answer.is_server_error:
                    return answer.status_code
            await asyncio.sleep(pause_s)
    return httpx.codes.SERVICE_UNAVAILABLE


if __name__ == "__main__":
    uvicorn.run(app, host=os.getenv("HOST", "127.0.0.1"), port=int(os.getenv("PORT", "9001")))
