"""What is printed for whoever may create topics says the same in every form, and is what `create` would make."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import yaml

from millstream.topics.export import script
from schemas.topics import DAY_MS, Names, TopicSpec, specs

SPECS = specs(Names("fraud", "ann-"), partitions=6, label_wait_ms=DAY_MS)
Told = list[tuple[str, int, dict[str, str]]]


def told(wanted: list[TopicSpec]) -> Told:
    return [(spec.name, spec.partitions, spec.config) for spec in wanted]


def from_commands(text: str) -> Told:
    found = []
    for line in text.splitlines():
        words = shlex.split(line)
        assert words[:5] == ["kafka-topics.sh", "--bootstrap-server", "kafka:9092", "--create", "--if-not-exists"]
        options = list(zip(words[5::2], words[6::2], strict=True))
        config = dict(value.split("=", 1) for name, value in options if name == "--config")
        flags = dict(each for each in options if each[0] != "--config")
        found.append((flags["--topic"], int(flags["--partitions"]), config))
    return found


def from_resources(text: str) -> Told:
    found = []
    for each in yaml.safe_load_all(text):
        assert (each["kind"], each["metadata"]["name"]) == ("KafkaTopic", each["spec"]["topicName"])
        found.append((each["spec"]["topicName"], each["spec"]["partitions"], each["spec"]["config"]))
    return found


def from_terraform(text: str) -> Told:
    found = []
    for block in re.findall(r'resource "kafka_topic" "[a-z][a-z0-9_]*" \{\n(.*?)\n\}', text, re.DOTALL):
        config = {
            json.loads(key): json.loads(value) for key, value in re.findall(r'^ {4}(".*?") *= (".*")$', block, re.M)
        }
        fields: dict[str, Any] = dict(re.findall(r"^ {2}(\w+) += (.+)$", block, re.M))
        found.append((json.loads(fields["name"]), int(fields["partitions"]), config))
    return found


@pytest.mark.parametrize(
    ("form", "read"),
    [("kafka-topics", from_commands), ("strimzi", from_resources), ("terraform", from_terraform)],
)
def test_every_form_says_what_create_would_make(form: Any, read: Any) -> None:
    assert read(script(form, SPECS, "kafka:9092")) == told(SPECS)
