"""Encoding of a membership for librdkafka: its producer commits as a member of kafka-python."""

from __future__ import annotations

import struct
from typing import Any

from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.errors import UnknownMemberError


def encoded(group: GroupMetadata) -> bytes:
    r"""Return the bytes of `rd_kafka_consumer_group_metadata_write`.

    They are ``CGMDv2:``, the generation (int32 in the machine's byte order), group and member id, a byte that is 1
    without an instance id, and the instance id; each text ends with a NUL.

    Raises
    ------
    UnknownMemberError
        If the committer was a member and is none now. With generation -1, the broker would accept its commit as that
        of an outsider while the group is empty, and would not fence it.

    >>> encoded(GroupMetadata("g"))[11:]
    b'g\x00\x00\x01'
    """
    member: Any = group.handle
    if member is None:
        return _encoded(group.group_id, -1, "", None)
    if member.generation_id < 0:
        raise UnknownMemberError(f"this process is no member of group {group.group_id} any more: nothing is committed")
    return _encoded(member.group_id, member.generation_id, member.member_id, member.group_instance_id)


def _encoded(group: str, generation: int, member: str, instance: str | None) -> bytes:
    texts = (group.encode() + b"\0", member.encode() + b"\0")
    last = b"\1" if instance is None else b"\0" + instance.encode() + b"\0"
    return b"CGMDv2:" + struct.pack("=i", generation) + b"".join(texts) + last
