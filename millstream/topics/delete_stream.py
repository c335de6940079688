"""Deletion of a stream, for good or to start it again: its topics, groups, local state and versions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from consumers import roles
from millstream.config.instance_id import claim
from millstream.config.settings import Settings
from model_store import StoreError, forget_models
from runtime.kafka_client.client import Admin
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.coordinator import describe_group
from runtime.kafka_client.errors import KafkaError, UnknownGroupError, described
from schemas.topics import ANSWERS, COMPARED, KINDS, METRICS, Names

_GONE_S: Final = 20.0


class NotForgotten(Exception):  # noqa: N818
    """A part of the stream could not be deleted; the message names it with the reason."""


def forget(
    cluster: Cluster, settings: Settings, names: Names, instances: list[tuple[str, str]], *, versions: bool = True
) -> None:
    """Delete everything of `names` on the cluster and in the home folder.

    Parameters
    ----------
    instances
        (role, instance) of the stream's processes; none of them may be running.
    versions
        True to delete the versions in the model store too.

    Raises
    ------
    InstanceTaken
        If one of them runs on this machine; nothing is deleted then.
    NotForgotten
        If the cluster fails to delete something.
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
                forget_models(settings.models, names.stream)
            except StoreError as error:
                raise NotForgotten(f"the versions of {names.stream} stay: {error}") from error
        for entry in state.iterdir() if state.exists() else ():
            # The locks are held and stay: deleting one would let two processes use the same name.
            if entry.suffix != ".lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def instances_here(settings: Settings, names: Names) -> list[tuple[str, str]]:
    """Return (role, instance) of every process that has ever run for a stream from this home folder."""
    every = roles.names_of_all(names)
    stems = [path.stem for path in settings.state(names).glob("*-*.lock")]
    return sorted((role, stem[len(role) + 1 :]) for stem in stems for role in every if stem.startswith(f"{role}-"))


def _delete_topics(admin: Admin, names: Names) -> None:
    # Includes the topics of every form of predictions, but never an external topic.
    topics = [names.topic(kind) for kind in (*KINDS, ANSWERS, METRICS, *COMPARED) if kind not in names.elsewhere]
    try:
        there = [each.name for each in admin.describe_topics(topics) if each.exists]
        if there:
            admin.delete_topics(there)
        _until(lambda: not any(each.exists for each in admin.describe_topics(topics)), "its topics")
    except KafkaError as error:
        raise NotForgotten(f"the topics of {names.stream} stay: {described(error)}") from error


def _delete_groups(admin: Admin, names: Names) -> None:
    for role in roles.names_of_all(names):
        group = names.group(role)
        try:
            # Static members stay in their group for one session after their end, and a group with members cannot be
            # deleted.
            members = describe_group(admin, group).members
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
