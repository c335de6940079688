"""One test alert to each target of a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from consumers.notifier import messages
from consumers.notifier.http_post import Undelivered, post
from consumers.notifier.messages import Told
from consumers.notifier.target import Target
from schemas.alerts import Alert

TEST: Final = "millstream.test"


class Tried(NamedTuple):
    """Result of one test. `why` is `None` if the target has accepted the alert."""

    target: str
    kind: str
    why: str | None
    ms: int


def try_targets(stream: str, targets: Sequence[Target]) -> list[Tried]:
    """Send a test alert to each target, one after the other."""
    return [_try(stream, target) for target in targets]


def _try(stream: str, target: Target) -> Tried:
    now = time.time_ns() // 1_000_000
    alert = Alert(TEST, "info", "raised", f"a test by `millstream alerts test {stream} {target.name}`", now, {})
    told, began = Told(alert, now, "info"), time.monotonic()
    why = target.problem
    if why is None:
        try:
            message = messages.request(target, stream, [told], f"msg_test_{secrets.token_hex(8)}", now)
            post(target.url, message.headers, message.body)
        except Undelivered as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - the user's function may have made the body
            why = f"{messages.not_made(target, error)}: {error}"
    return Tried(target.name, target.kind, why, round((time.monotonic() - began) * 1000))
