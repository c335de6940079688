"""Export of a stream's topics for an administrator: as commands, Strimzi resources or Terraform."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from schemas.topics import TopicSpec

Form = Literal["kafka-topics", "strimzi", "terraform"]


def script(form: Form, specs: Sequence[TopicSpec], bootstrap: str) -> str:
    """Return a script that creates the topics, for an administrator to review and run; the cluster is not called.

    The replication factor is the cluster's default, except in Terraform, whose provider requires a number.
    """
    return _FORMS[form](specs, bootstrap)


def _kafka_topics(specs: Sequence[TopicSpec], bootstrap: str) -> str:
    lines = []
    for spec in specs:
        words = ["kafka-topics.sh", "--bootstrap-server", bootstrap, "--create", "--if-not-exists"]
        words += ["--topic", spec.name, "--partitions", str(spec.partitions)]
        for key, value in spec.config.items():
            words += ["--config", f"{key}={value}"]
        lines.append(shlex.join(words))
    return "\n".join(lines)


def _strimzi(specs: Sequence[TopicSpec], bootstrap: str) -> str:
    """Return KafkaTopic resources; a label names the Kafka resource that they belong to."""
    return "\n---\n".join(_resource(spec) for spec in specs)


def _resource(spec: TopicSpec) -> str:
    # Values are quoted as in JSON, because YAML reads a bare -1 as a number and a bare on as a boolean.
    settings = [f"    {key}: {json.dumps(value)}" for key, value in spec.config.items()]
    return "\n".join(
        (
            "apiVersion: kafka.strimzi.io/v1beta2",
            "kind: KafkaTopic",
            "metadata:",
            f"  name: {json.dumps(spec.name)}",
            "  labels:",
            "    strimzi.io/cluster: CLUSTER  # the name of your Kafka resource",
            "spec:",
            f"  topicName: {json.dumps(spec.name)}",
            f"  partitions: {spec.partitions}",
            "  config:",
            *settings,
        )
    )


def _terraform(specs: Sequence[TopicSpec], bootstrap: str) -> str:
    """Return resources of the provider Mongey/kafka."""
    head = 'variable "replication_factor" {\n  type    = number\n  default = 3\n}'
    return "\n\n".join((head, *map(_block, specs)))


def _block(spec: TopicSpec) -> str:
    width = max(map(len, spec.config)) + 2
    settings = [f"    {json.dumps(key):<{width}} = {json.dumps(value)}" for key, value in spec.config.items()]
    label = "".join(letter if letter.isalnum() else "_" for letter in spec.name)
    return "\n".join(
        (
            # A Terraform label must not begin with a digit.
            f'resource "kafka_topic" "topic_{label}" {{',
            f"  name               = {json.dumps(spec.name)}",
            f"  partitions         = {spec.partitions}",
            "  replication_factor = var.replication_factor",
            "  config = {",
            *settings,
            "  }",
            "}",
        )
    )


_FORMS: Final[Mapping[Form, Callable[[Sequence[TopicSpec], str], str]]] = MappingProxyType(
    {"kafka-topics": _kafka_topics, "strimzi": _strimzi, "terraform": _terraform}
)
