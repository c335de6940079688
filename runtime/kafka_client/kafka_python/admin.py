"""Adapter of kafka-python's admin client to `client.Admin`: turns its dictionaries into typed values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove

from runtime.kafka_client.client import GroupDescription, GroupMember, NewTopic, TopicDescription
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.kafka_python.assignor import noted_client
from runtime.kafka_client.kafka_python.consumer import metadata_of
from runtime.kafka_client.kafka_python.errors import of_code, translating
from runtime.kafka_client.records import CommittedOffset, Partition, Positions

_CODE: Final = re.compile(r"\[Error (-?\d+)\] (.*)", re.DOTALL)


class KafkaPythonAdmin:
    """An `Admin` with kafka-python."""

    def __init__(self, client: KafkaAdminClient) -> None:
        self._client = client

    # --- topics ------------------------------------------------------------------------------------

    @translating
    def describe_topics(self, topics: Iterable[str]) -> list[TopicDescription]:
        return [_description(each) for each in self._client.describe_topics(list(topics))]

    @translating
    def create_topics(self, topics: Iterable[NewTopic], timeout_ms: int) -> dict[str, KafkaError | None]:
        wanted = {each.name: {"num_partitions": each.partitions, "configs": dict(each.config)} for each in topics}
        answer = self._client.create_topics(wanted, timeout_ms=timeout_ms, raise_errors=False)
        return {each["name"]: of_code(each["error_code"], each.get("error_message")) for each in answer["topics"]}

    @translating
    def delete_topics(self, topics: Iterable[str]) -> None:
        self._client.delete_topics(list(topics))

    @translating
    def create_partitions(self, topic: str, count: int) -> None:
        self._client.create_partitions({topic: count})

    @translating
    def delete_records(self, before: Positions) -> None:
        self._client.delete_records({TopicPartition(*partition): offset for partition, offset in before.items()})

    @translating
    def topic_configs(self, topics: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, str]]:
        asked = dict.fromkeys(names)
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic, asked) for topic in topics]
        found: dict[str, Any] = {}
        for by_name in self._client.describe_configs(resources, config_filter="all").values():
            found |= by_name
        return {
            topic: {name: str(data["value"]) for name, data in settings.items()} for topic, settings in found.items()
        }

    @translating
    def alter_topic_config(self, topic: str, name: str, value: str) -> None:
        self._client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])

    # --- groups ------------------------------------------------------------------------------------

    @translating
    def describe_group(self, group: str) -> GroupDescription:
        found: Mapping[str, Any] = self._client.describe_groups([group])[group]
        members = [
            GroupMember(
                each["group_instance_id"], _assigned(each), each["member_id"], each["client_host"], _client(each)
            )
            for each in found["members"]
        ]
        # The client does not raise the error of a group: it returns it as text, the only place that has the code.
        said = _CODE.match(found["error"] or "")
        error = None if said is None else of_code(int(said[1]), said[2])
        return GroupDescription(found["group_state"] == "Stable", members, error)

    @translating
    def list_group_offsets(self, group: str) -> dict[Partition, CommittedOffset]:
        return {
            Partition(*partition): CommittedOffset(place.offset, metadata_of(place.metadata))
            for partition, place in self._client.list_group_offsets(group)[group].items()
            if place.offset >= 0
        }

    @translating
    def remove_group_members(self, group: str, instance_ids: Iterable[str]) -> dict[str, KafkaError | None]:
        leaving = [MemberToRemove(group_instance_id=each) for each in instance_ids]
        answer = self._client.remove_group_members(group, leaving)
        return {instance: of_code(kind.errno) for instance, kind in answer.items()}

    @translating
    def delete_group(self, group: str) -> bool:
        return bool(self._client.delete_groups([group])[group] == "OK")

    @translating
    def close(self) -> None:
        self._client.close()


def _description(topic: Mapping[str, Any]) -> TopicDescription:
    if (error := of_code(topic["error_code"])) is not None:
        return TopicDescription(topic["name"], "", {}, error)
    leaders = {each["partition_index"]: each["leader_id"] for each in topic["partitions"]}
    return TopicDescription(topic["name"], str(UUID(str(topic["topic_id"]))), leaders)


def _client(member: Mapping[str, Any]) -> str:
    """Return the client library that a member has told."""
    subscription = member["member_metadata"]
    # It is empty while the group rebalances, and the client's own text of bytes that it cannot decode.
    return noted_client(subscription["user_data"]) if isinstance(subscription, Mapping) else ""


def _assigned(member: Mapping[str, Any]) -> frozenset[Partition]:
    """Return the partitions of a member; none while the group rebalances."""
    topics = (member["member_assignment"] or {}).get("assigned_partitions", ())
    return frozenset(Partition(each["topic"], number) for each in topics for number in each["partitions"])
