"""Processes of roles: which crashed or were started again, and which Kafka client each uses.

A group alone does not show the first two at once.

A process that is killed stays a member of its group until its session ends, 15 s later. On this machine its lock tells
at once: the kernel has released it. Everywhere, a new member id under the same name is a new process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from runtime.kafka_client.client import GroupMember
from schemas.topics import Names

Members: TypeAlias = Mapping[str, Sequence[GroupMember]]
"""The members of each role's group."""


def crashed(members: Members, names: Names, state: Path) -> tuple[str, ...]:
    """Return the processes of this machine, such as ``predictor-0``, that are members and do not run any more.

    A member is of this machine if it came to the broker from the loopback address. One that ended in order has left.
    """
    found = []
    for role, those in members.items():
        for member in those:
            name = _name(role, member, names)
            if name is not None and _is_local(member) and is_released(state / f"{name}.lock"):
                found.append(name)
    return tuple(sorted(found))


def clients(role: str, members: Sequence[GroupMember], names: Names) -> dict[str, str]:
    """Return by process, such as ``predictor-0``, the Kafka client that it has told its group; empty if unknown."""
    named = {_name(role, member, names): member.client for member in members}
    return {name: client for name, client in sorted(named.items(), key=str) if name is not None}


def started_again(before: Members, now: Members, names: Names) -> tuple[str, ...]:
    """Return the processes whose place in the group another process has taken since."""
    was = {(role, each.instance_id): each.member_id for role, those in before.items() for each in those}
    found = []
    for role, those in now.items():
        for member in those:
            name, earlier = _name(role, member, names), was.get((role, member.instance_id))
            if name is not None and earlier is not None and earlier != member.member_id:
                found.append(name)
    return tuple(sorted(found))


def _name(role: str, member: GroupMember, names: Names) -> str | None:
    """Return ``ROLE-INSTANCE`` of a member, `None` if it is not a process of Millstream."""
    beginning = names.process(role, "")
    given = member.instance_id or ""
    return f"{role}-{given.removeprefix(beginning)}" if given.startswith(beginning) and given != beginning else None


def _is_local(member: GroupMember) -> bool:
    return member.host.lstrip("/") in ("127.0.0.1", "::1", "0:0:0:0:0:0:0:1")


def is_released(lock: Path) -> bool:
    """Tell whether nobody holds a process's lock; not if there is none here: then it works in another home."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not see each other; held for microseconds, so that no start meets it.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
