"""What is told to webhooks and commands: sweep finished, failed, new best, fire missed, schedule
blocked.

A webhook gets a POST as Standard Webhooks has it (https://www.standardwebhooks.com): a JSON body
`{type, timestamp, data}`, headers `webhook-id`, `webhook-timestamp`, `webhook-signature`, the
last the HMAC-SHA256 of "id.timestamp.body". A command gets the body on its standard input. What
is refused is sent again, later each time; a notice keeps its id, by which a receiver tells one
that it has had before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from orch.clock import now
from orch.errors import UsageError, first_line
from orch.settings import Settings
from orch_db.records import FireRecord, NoticeRecord, ScheduleRecord, SweepRecord, TrialRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0  # seconds
MOST_TRIES = 20  # about 12 hours
ANSWER_SECONDS = 10.0
COMMAND_SECONDS = 60.0
AT_ONCE = 20  # notices that are looked at together
SECRET_PREFIX = "whsec_"


class RefusedError(Exception):
    """A target did not take a notice."""


def targets(settings: Settings) -> list[str]:
    """Where notices go."""
    found = {"webhook": settings.webhook_url, "command": settings.notify_command}
    return [name for name, value in found.items() if value]


def made(
    settings: Settings, event: str, subject: str, instant: str, data: Mapping[str, Any]
) -> tuple[NoticeRecord, ...]:
    """A notice for each target; the same event of the same subject is told once."""
    return tuple(
        NoticeRecord(
            id=hashlib.sha256(f"{event} {subject} {target}".encode()).hexdigest()[:24],
            event=event,
            target=target,
            payload={"type": event, "timestamp": instant, "data": dict(data)},
            tries=0,
            created_at=instant,
        )
        for target in targets(settings)
    )


def missed(
    settings: Settings, schedule: ScheduleRecord, skips: tuple[FireRecord, ...]
) -> tuple[NoticeRecord, ...]:
    """That instants were missed, those of one time together."""
    if not skips:
        return ()
    last = skips[-1]
    data = {
        "schedule": schedule.name,
        "due_at": last.due_at,
        "instants": sum(each.instants for each in skips),
        "reason": last.reason,
    }
    subject = f"{schedule.id} {last.due_at}"
    return made(settings, "fire.missed", subject, last.created_at, data)


def blocked(
    settings: Settings, schedule: ScheduleRecord, why: str, instant: str
) -> tuple[NoticeRecord, ...]:
    """That a schedule cannot fire."""
    data = {"schedule": schedule.name, "reason": why}
    return made(settings, "schedule.blocked", f"{schedule.id} {instant}", instant, data)


def ended(
    settings: Settings, sweep: SweepRecord, code: int, best: TrialRecord | None
) -> tuple[NoticeRecord, ...]:
    """That a sweep finished or failed; what was paused, stopped or cancelled is its user's own."""
    if sweep.state not in ("completed", "failed"):
        return ()
    event = "sweep.finished" if sweep.state == "completed" else "sweep.failed"
    data = {**_of(sweep), "exit_code": code, "reason": sweep.reason, "best": _score(best)}
    subject = f"{sweep.id} {sweep.finished_at}"
    return made(settings, event, subject, sweep.finished_at or now(), data)


def new_best(
    settings: Settings, sweep: SweepRecord, trial: TrialRecord
) -> tuple[NoticeRecord, ...]:
    """That a trial beat every earlier one on its board."""
    data = {**_of(sweep), "best": _score(trial), "params": dict(trial.params)}
    return made(settings, "trial.best", trial.id, trial.finished_at or now(), data)


def _of(sweep: SweepRecord) -> dict[str, Any]:
    return {
        "sweep": sweep.id,
        "name": sweep.name,
        "dataset": sweep.dataset,
        "strategy": sweep.strategy,
        "metric": sweep.metric,
        "trials": dict(sweep.trials),
    }


def _score(trial: TrialRecord | None) -> dict[str, Any] | None:
    return {"trial": trial.id, "score": trial.score} if trial else None


# ── sending ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Messenger:
    """Sends what is queued."""

    store: ServiceStore
    queries: ServiceQueries
    settings: Settings

    def tick(self) -> int:
        """Send what is due; returns how many notices arrived."""
        return sum(self._send(each) for each in self.queries.due_notices(AT_ONCE))

    def _send(self, notice: NoticeRecord) -> bool:
        try:
            send(self.settings, notice)
        except RefusedError as error:
            last = notice.tries + 1 >= MOST_TRIES
            self.store.untold(notice.id, str(error), None if last else pause(notice.tries))
            return False
        self.store.told(notice.id, now())
        return True


def pause(tries: int) -> float:
    """Seconds until a notice is sent again: exponential, with jitter."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries, 20)) * random.uniform(0.8, 1.2)


def send(settings: Settings, notice: NoticeRecord) -> None:
    """Send a notice to its target now.

    Raises:
        RefusedError: it was not taken; the text names neither URL nor secret.
    """
    body = json.dumps(notice.payload, sort_keys=True).encode()
    if notice.target == "webhook":
        _post(settings, notice.id, body)
    else:
        _run(settings.notify_command, body)


def _post(settings: Settings, notice_id: str, body: bytes) -> None:
    import requests

    headers = {"content-type": "application/json", "user-agent": "orch"}
    headers |= signed(settings.webhook_secret, notice_id, int(time.time()), body)
    try:
        answer = requests.post(
            settings.webhook_url,
            data=body,
            headers=headers,
            timeout=ANSWER_SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise RefusedError(f"no answer: {type(error).__name__}") from None
    if not answer.ok or answer.is_redirect:
        raise RefusedError(f"answered {answer.status_code}")


def signed(secret: str, notice_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a signed webhook; without a secret it is not signed."""
    headers = {"webhook-id": notice_id, "webhook-timestamp": str(timestamp)}
    if secret:
        content = f"{notice_id}.{timestamp}.".encode() + body
        digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _key(secret: str) -> bytes:
    """The bytes of a secret: base64 behind `whsec_`, else its text."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise RefusedError("webhook_secret begins with whsec_ but is no base64") from None


def _run(command: str, body: bytes) -> None:
    try:
        done = subprocess.run(
            shlex.split(command), input=body, capture_output=True, timeout=COMMAND_SECONDS
        )
    except subprocess.TimeoutExpired:  # its text names the command, which may hold a secret
        raise RefusedError(f"the command took more than {COMMAND_SECONDS:g} seconds") from None
    except (OSError, ValueError) as error:
        raise RefusedError(f"the command did not run: {first_line(error)}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RefusedError(f"the command ended with {done.returncode}: {''.join(said[-1:])}")


def check(settings: Settings) -> None:
    """Refuse targets that cannot be meant.

    Raises:
        UsageError: a webhook that is no http or https URL, or a command that cannot be read.
    """
    parts = urlsplit(settings.webhook_url)
    if settings.webhook_url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise UsageError("webhook_url is no http or https URL", "https://host/path")
    try:
        shlex.split(settings.notify_command)
    except ValueError as error:
        raise UsageError(f"notify_command cannot be read: {error}") from None
