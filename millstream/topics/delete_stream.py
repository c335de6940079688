"""Forgets what there is of one stream, so that it is gone or begins anew: topics, groups, local state, versions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from millstream.config.instance_id import claim
from millstream.config.settings import Settings
from millstream.status.snapshot import INPUTS
from model_store import StoreError, forget_model
from runtime.kafka_client.client import Admin
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError, UnknownGroupError, described
from schemas.topics import ANSWERS, KINDS, Names

_GONE_S: Final = 20.0


class NotForgotten(Exception):  # noqa: N818
    """Something of the stream could not be removed; the message says what, and why."""


def forget(
    cluster: Cluster, settings: Settings, names: Names, instances: list[tuple[str, str]], *, versions: bool = True
) -> None:
    """Delete what `names` has on the cluster and in the home folder.

    Parameters
    ----------
    instances
        (role, instance) of the processes that work on it; none of them may run.
    versions
        Whether the versions in the model store go too.

    Raises
    ------
    InstanceTaken
        Where one of them runs on this machine; nothing is deleted then.
    NotForgotten
        Where the cluster does not let go.
    """
    state = settings.state(names)
    with ExitStack() as held:
        for role, instance in instances:
            held.enter_context(claim(role, instance, state))
        with cluster.admin() as admin:
            _delete_groups(admin, names)
            _delete_topics(admin, names)
        if versions:
            try:
                forget_model(settings.models, names.stream)
            except StoreError as error:
                raise NotForgotten(f"the versions of {names.stream} stay: {error}") from error
        for entry in state.iterdir() if state.exists() else ():
            # The locks are held, and stay: deleting one would let two processes have the same name.
            if entry.suffix != ".lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def instances_here(settings: Settings, names: Names) -> list[tuple[str, str]]:
    """Return (role, instance) of every process that has ever worked on a stream from this home folder."""
    found = (path.stem.partition("-") for path in settings.state(names).glob("*-*.lock"))
    return sorted((role, instance) for role, _, instance in found if role in INPUTS)


def _delete_topics(admin: Admin, names: Names) -> None:
    # Whatever the form of predictions was before; never what is somebody else's.
    topics = [names.topic(kind) for kind in (*KINDS, ANSWERS) if kind not in names.elsewhere]
    try:
        there = [each.name for each in admin.describe_topics(topics) if each.exists]
        if there:
            admin.delete_topics(there)
        _until(lambda: not any(each.exists for each in admin.describe_topics(topics)), "its topics")
    except KafkaError as error:
        raise NotForgotten(f"the topics of {names.stream} stay: {described(error)}") from error


def _delete_groups(admin: Admin, names: Names) -> None:
    for role in INPUTS:
        group = names.group(role)
        try:
            # Static members stay in their group for a session after their end, and a group with members stays.
            members = admin.describe_group(group).members
            leaving = [each.instance_id for each in members if each.instance_id is not None]
            if leaving:
                admin.remove_group_members(group, leaving)
            admin.delete_group(group)
        except UnknownGroupError:
            continue
        except KafkaError as error:
            if not error.from_broker:
                raise
            if not error.retriable:
                raise NotForgotten(f"group {group} stays: {described(error)}") from error


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _GONE_S
    while not condition():
        if time.monotonic() > deadline:
            raise NotForgotten(f"{what} are still there after {_GONE_S:g} s")
        time.sleep(0.05)
