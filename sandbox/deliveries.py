"""Letters out: signed, retried, and misdelivered when told so.

Theory of operation: each (event, target) is one row in `delivery` with the time it is due. The pump starts at most
one sender a target, which takes that target's due rows in order of their time, so that `normal` means in order and a
slow receiver delays only itself. A 2xx ends the row; anything else (a redirect too) makes it due again after a
doubled wait, until `delivery_attempts_max`. Stripe: https://docs.stripe.com/webhooks (retries for days, compressed
here to seconds; no order promised; duplicates happen).
Signature: https://docs.stripe.com/webhooks/signature (`t=…,v1=HMAC-SHA256(secret, "{t}.{body}")`).
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import httpx

from sandbox import ids
from sandbox.state import Json, World

OWN_TARGET = "command_line"
"""The `--webhook-url`: gets every event; registered endpoints get what they enabled."""
MODES = ("normal", "late", "twice", "shuffled", "never")
FINISHED_KEPT_MAX = 1000
IDLE_WAIT_S = 1.0
ARRIVAL_POLL_S = 0.02


def targets_of(world: World, event_type: str) -> list[str]:
    """Who wants this event: ids of endpoints, and the one of the command line."""
    targets = [OWN_TARGET] if world.config.webhook_url else []
    for endpoint in world.store.newest_first("webhook_endpoint"):
        wanted = endpoint["enabled_events"]
        if endpoint["status"] == "enabled" and ("*" in wanted or event_type in wanted):
            targets.append(endpoint["id"])
    return targets


def plan(world: World, event_id: str, targets: list[str]) -> None:
    """Make the rows for one new event, as the present mode says."""
    mode, now = world.delivery.mode, world.now()
    due: Json = {"due_at": now}
    if mode == "never":
        return
    if mode == "late":
        due = {"due_at": now + world.delivery.delay_s}
    if mode == "shuffled":
        due = _reversed_within_window(world, now)
    for target in targets:
        for _ in range(2 if mode == "twice" else 1):
            _put(world, {"id": ids.new("dlv"), "event": event_id, "target": target, "attempt": 0, **due})
    world.wake.set()


def _reversed_within_window(world: World, now: float) -> Json:
    """Events of one window arrive together at its end, the newest first. It begins with the first of them.

    Windows of the clock would now and then end amid the events of one request.
    """
    window_s = max(world.delivery.delay_s, 0.05)
    waiting = [row["window_ends"] for row in world.store.newest_first("delivery") if row.get("window_ends", 0) > now]
    end = max(waiting, default=now + window_s)
    return {"due_at": end - min(len(waiting) * 0.0001, window_s / 2), "window_ends": end}


async def pump(world: World) -> None:
    """Send what is due until cancelled."""
    senders: dict[str, asyncio.Task[None]] = {}
    async with _client(world) as client:
        try:
            while True:
                world.wake.clear()
                due = [row for row in world.store.newest_first("delivery") if row["due_at"] <= world.now()]
                for target in {row["target"] for row in due}:
                    if target not in senders or senders[target].done():
                        senders[target] = asyncio.create_task(_send_due(world, client, target))
                await _until_next(world)
        finally:
            for sender in senders.values():
                sender.cancel()
            await asyncio.gather(*senders.values(), return_exceptions=True)


async def deliver_now(world: World, event: Json, url: str | None = None) -> list[Json]:
    """Send one event to each of its targets at once, whatever the mode; answers each receiver's status code."""
    tried = []
    async with _client(world) as client:
        for target in targets_of(world, event["type"]):
            status = await _post(world, client, event, target, url)
            tried.append({"target": target, "url": url or _address(world, target)[0], "status_code": status})
            _settle(world, event["id"], target, status)
    world.store.commit()
    return tried


async def arrived(world: World, event_id: str, *, within_s: float) -> None:
    """Wait until every letter of an event was taken, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while any(row["event"] == event_id for row in world.store.newest_first("delivery")):  # noqa: ASYNC110
                await asyncio.sleep(ARRIVAL_POLL_S)


def signature(secret: str, body: bytes, moment: int) -> str:
    """The `Stripe-Signature` header of a body."""
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


async def _until_next(world: World) -> None:
    waits = [row["due_at"] - world.now() for row in world.store.newest_first("delivery")]
    wait_s = min((wait for wait in waits if wait > 0), default=IDLE_WAIT_S)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(world.wake.wait(), min(wait_s, IDLE_WAIT_S))


async def _send_due(world: World, client: httpx.AsyncClient, target: str) -> None:
    rows = [row for row in world.store.newest_first("delivery") if row["target"] == target]
    due = sorted((row for row in reversed(rows) if row["due_at"] <= world.now()), key=lambda row: row["due_at"])
    for row in due:
        event = world.store.get("event", row["event"])
        status = await _post(world, client, event, target) if event else None
        _after(world, row, status)
        world.store.commit()
    world.wake.set()


async def _post(
    world: World, client: httpx.AsyncClient, event: Json, target: str, url: str | None = None
) -> int | None:
    address, secret = _address(world, target)
    if address is None:
        return None
    body = json.dumps(event, indent=2).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Stripe/1.0 (sandbox)"}
    if secret:
        # A receiver compares with the real time, so the shifted clock stays out of this unless it is told otherwise.
        signed_at = world.now() if world.letters_shifted else world.config.clock()
        headers["Stripe-Signature"] = signature(secret, body, int(signed_at))
    try:
        answer = await client.post(url or address, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return answer.status_code


def _after(world: World, row: Json, status: int | None) -> None:
    row = {**row, "attempt": row["attempt"] + 1, "status_code": status}
    taken = _settle(world, row["event"], row["target"], status)
    if taken or row["attempt"] >= world.config.delivery_attempts_max:
        world.store.delete("delivery", row["id"])
        world.store.put("delivery_finished", row["id"], row)
        _forget_oldest(world)
        return
    wait_s = world.config.retry_base_s * 2 ** (row["attempt"] - 1)
    _put(world, {**row, "due_at": world.now() + wait_s})


def _settle(world: World, event_id: str, target: str, status: int | None) -> bool:
    """Note that a target took the event; 3xx is a failure, as with Stripe."""
    if status is None or not 200 <= status < 300:
        return False
    found = world.store.get("event_delivery", event_id)
    if found:
        found["pending"] = [one for one in found["pending"] if one != target]
        world.store.put("event_delivery", event_id, found)
    return True


def _forget_oldest(world: World) -> None:
    finished = list(world.store.newest_first("delivery_finished"))
    for row in finished[FINISHED_KEPT_MAX:]:
        world.store.delete("delivery_finished", row["id"])


def _address(world: World, target: str) -> tuple[str | None, str | None]:
    if target == OWN_TARGET:
        return world.config.webhook_url, world.config.webhook_secret
    endpoint = world.store.get("webhook_endpoint", target)
    secret = world.store.get("endpoint_secret", target)
    return (endpoint["url"], secret["secret"]) if endpoint and secret else (None, None)


def _put(world: World, row: Json) -> None:
    world.store.put("delivery", row["id"], row)


@contextlib.asynccontextmanager
async def _client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    timeout = httpx.Timeout(world.config.delivery_timeout_s)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as client:
        yield client
