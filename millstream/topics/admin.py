"""Creation and checks of a stream's topics.

A pure function compares the cluster's topics with the required ones. Each finding comes with the exact command or
setting that fixes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from runtime.kafka_client.client import Admin, NewTopic
from runtime.kafka_client.cluster import Cluster, TopicInfo, require_sight
from runtime.kafka_client.errors import InvalidReplicationFactorError, KafkaError, TopicExistsError, described
from schemas.duration_text import spoken
from schemas.topics import ANSWERS, NOT_OURS, Names, TopicSpec, specs

_WAIT_S: Final = 30.0
_SETTLED_S: Final = 5.0
_AGAIN_S: Final = 0.1
# No broker has sent a heartbeat lately: after a start, or if the machine was suspended for seconds.
_FENCED: Final = "fenced"
_FIX: Final = "millstream topics create STREAM --fix"
_PARTITIONS: Final = "partitions"
_JUDGED: Final = ("cleanup.policy", "message.timestamp.type", "retention.ms", "retention.bytes")


class TopicsError(Exception):
    """Topics do not meet the stream's needs; the message names each problem with its fix."""


@dataclass(frozen=True)
class Topic:
    """The cluster's description of a topic."""

    name: str
    id: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class TopicFinding:
    """One violation of a requirement (`error`) or a recommendation (`warning`).

    Attributes
    ----------
    fix
        The command that fixes it, or an instruction.
    change
        The setting that fixes it, if changing it loses nothing; `None` if an operator must decide.
    by_hand
        Kafka's own command for it, for operators who cannot use Millstream's; empty if there is none.
    """

    topic: str
    severity: Literal["error", "warning"]
    message: str
    fix: str
    change: tuple[str, str] | None = None
    by_hand: str = ""


@dataclass(frozen=True)
class CreateReport:
    """Result of `create` and its findings.

    Attributes
    ----------
    elsewhere
        Those of `topics` that are external: they are checked and never changed.
    """

    created: tuple[str, ...]
    altered: tuple[str, ...]
    topics: tuple[Topic, ...]
    findings: tuple[TopicFinding, ...]
    elsewhere: tuple[str, ...] = ()

    def ours(self) -> CreateReport:
        """Return the report without findings on external topics."""
        return replace(self, findings=tuple(each for each in self.findings if each.fix != NOT_OURS))


def create(
    cluster: Cluster, names: Names, *, partitions: int, label_wait_ms: int, fix: bool = False, wait: float = _WAIT_S
) -> CreateReport:
    """Create missing topics, wait until the cluster knows them, and check the existing ones.

    For an external topic only its existence is checked.

    Parameters
    ----------
    fix
        Change settings of existing topics if that loses nothing.
    wait
        Seconds until every partition of a new topic has a leader.

    Raises
    ------
    TopicsError
        If the cluster refuses to create a topic, or it is not ready in time.
    NoBroker
        If no broker answers.
    """
    wanted = specs(names, partitions=partitions, label_wait_ms=label_wait_ms)
    with cluster.admin() as admin:
        found = _look(admin, [spec.name for spec in wanted])
        missing = [spec for spec in wanted if spec.name not in found]
        _make(admin, missing, wait)
        _await_leaders(admin, [spec.name for spec in missing], wait)
        found = _look(admin, [spec.name for spec in wanted])
        findings = judge(wanted, found, cluster.bootstrap)
        altered = _alter(admin, findings) if fix else []
        deadline = time.monotonic() + _SETTLED_S
        # Brokers report a new setting some milliseconds after accepting it.
        while altered and any(each.change for each in findings) and time.monotonic() < deadline:
            found = _look(admin, [spec.name for spec in wanted])
            findings = judge(wanted, found, cluster.bootstrap)
        others, lost = _elsewhere(admin, names)
    ours = [found[spec.name] for spec in wanted if spec.name in found]
    made = tuple(spec.name for spec in missing)
    return CreateReport(made, tuple(altered), (*others, *ours), (*lost, *findings), tuple(each.name for each in others))


def describe(cluster: Cluster, names: Names, *, partitions: int, label_wait_ms: int) -> CreateReport:
    """Check the topics without changing anything."""
    wanted = specs(names, partitions=partitions, label_wait_ms=label_wait_ms)
    with cluster.admin() as admin:
        found = _look(admin, [spec.name for spec in wanted])
        others, lost = _elsewhere(admin, names)
    ours = [found[spec.name] for spec in wanted if spec.name in found]
    findings = judge(wanted, found, cluster.bootstrap)
    return CreateReport((), (), (*others, *ours), (*lost, *findings), tuple(each.name for each in others))


def _elsewhere(admin: Admin, names: Names) -> tuple[list[Topic], list[TopicFinding]]:
    """Return the external topics that the stream reads, and a finding for each missing one."""
    wanted = sorted({*names.elsewhere.values(), *names.labels_from})
    found = _look(admin, wanted)
    lost = [TopicFinding(topic, "error", f"{topic} does not exist", NOT_OURS) for topic in wanted if topic not in found]
    return list(found.values()), lost


def make_topic(cluster: Cluster, spec: TopicSpec, wait: float = _WAIT_S) -> TopicInfo:
    """Create one topic, unless it exists, and wait until the cluster knows it. Raises the same as `create`."""
    with cluster.admin() as admin:
        _make(admin, [spec], wait)
        _await_leaders(admin, [spec.name], wait)
    return cluster.topic_info(spec.name)[spec.name]


def stamps(cluster: Cluster, topic: str) -> bool:
    """Return whether the broker sets the time of records on an existing topic."""
    with cluster.admin() as admin:
        found = _look(admin, [topic])
    return found[topic].config.get("message.timestamp.type") == "LogAppendTime"


def require(outcome: CreateReport) -> None:
    """Raise TopicsError with all errors in its message, if any finding is an error."""
    errors = by_fix(each for each in outcome.findings if each.severity == "error")
    if errors:
        raise TopicsError(
            "; ".join(f"{'; '.join(each.message for each in alike)} (fix: {fix})" for fix, alike in errors.items())
        )


def by_fix(findings: Iterable[TopicFinding]) -> dict[str, list[TopicFinding]]:
    """Return findings grouped by their fix, so that it is printed once for all of them.

    >>> wrong = [TopicFinding(topic, "error", f"{topic} is missing", "create them") for topic in ("a", "b")]
    >>> {fix: len(alike) for fix, alike in by_fix(wrong).items()}
    {'create them': 2}
    """
    found: dict[str, list[TopicFinding]] = {}
    for each in findings:
        found.setdefault(each.fix, []).append(each)
    return found


def judge(wanted: Sequence[TopicSpec], found: Mapping[str, Topic], bootstrap: str = "HOST:PORT") -> list[TopicFinding]:
    """Return the findings on a stream's topics, in the order of `wanted`."""
    findings: list[TopicFinding] = []
    stream = wanted[0].name.rpartition(".")[0]
    answers = f"{stream}.{ANSWERS}"
    whole = answers if any(spec.name == answers for spec in wanted) else f"{stream}.predictions"
    counts = {spec.name: found[spec.name].partitions for spec in wanted if spec.name in found}
    for spec in wanted:
        topic = found.get(spec.name)
        if topic is None:
            findings.append(
                TopicFinding(spec.name, "error", f"{spec.name} is missing", "millstream topics create STREAM")
            )
            continue
        findings += _judge_count(spec, topic, (whole, counts.get(whole)), bootstrap)
        findings += _judge_settings(spec, topic, bootstrap)
    return findings


def _judge_count(spec: TopicSpec, topic: Topic, whole: tuple[str, int | None], bootstrap: str) -> list[TopicFinding]:
    """Check the number of partitions. `whole` is the topic of whole predictions, and its number of partitions."""
    count = topic.partitions
    if spec.partitions == 1 and not spec.name.endswith((".features", ".predictions", ".labels", f".{ANSWERS}")):
        if count == 1:
            return []
        text = f"{spec.name} has {count} partitions and is meant to have 1: what is on the others is not read"
        return [
            TopicFinding(spec.name, "warning", text, "none is needed: only partition 0 is used, and Kafka removes none")
        ]
    sibling, predictions = whole
    if spec.name.endswith(".labels") and predictions is not None and count != predictions:
        fewer, most = (spec.name, predictions) if count < predictions else (sibling, count)
        text = (
            f"{sibling} has {predictions} partitions and {spec.name} has {count}; one joiner works with that, several "
            "need equally many"
        )
        by_hand = f"kafka-topics.sh --bootstrap-server {bootstrap} --alter --topic {fewer} --partitions {most}"
        return [TopicFinding(fewer, "warning", text, _FIX, (_PARTITIONS, str(most)), by_hand)]
    return []


def _judge_settings(spec: TopicSpec, topic: Topic, bootstrap: str) -> list[TopicFinding]:
    findings: list[TopicFinding] = []

    def wrong(severity: Literal["error", "warning"], text: str, key: str, value: str) -> None:
        by_hand = (
            f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {spec.name} "
            f"--add-config {key}={value}"
        )
        findings.append(TopicFinding(spec.name, severity, f"{spec.name} has {text}", _FIX, (key, value), by_hand))

    policy, policy_wanted = topic.config.get("cleanup.policy", "delete"), spec.config["cleanup.policy"]
    if set(policy.split(",")) != set(policy_wanted.split(",")):
        wrong("error", f"cleanup.policy={policy} and must have {policy_wanted}", "cleanup.policy", policy_wanted)
    clock = spec.config.get("message.timestamp.type")
    clock_found = topic.config.get("message.timestamp.type", "CreateTime")
    if clock is not None and clock_found != clock:
        text = f"message.timestamp.type={clock_found} and must have {clock}: waits are measured by the broker's clock"
        wrong("error", text, "message.timestamp.type", clock)
    retention = int(topic.config.get("retention.ms", "-1"))
    if spec.least_retention_ms is not None and 0 <= retention < spec.least_retention_ms:
        least = spec.least_retention_ms
        text = f"retention.ms={retention} ({spoken(retention)}) and must have at least {least}: 3 times Labels(wait=…)"
        wrong("error", text, "retention.ms", spec.config["retention.ms"])
    if spec.config.get("retention.ms") == "-1":
        size = int(topic.config.get("retention.bytes", "-1"))
        if retention != -1:
            text = f"retention.ms={retention} ({spoken(retention)}): it is not kept for ever, so old versions"
            wrong("warning", f"{text} cannot be rebuilt", "retention.ms", "-1")
        if size != -1:
            text = f"retention.bytes={size}: it is not kept for ever, so old versions cannot be rebuilt"
            wrong("warning", text, "retention.bytes", "-1")
    return findings


def _look(admin: Admin, wanted: Sequence[str]) -> dict[str, Topic]:
    """Return the wanted topics that exist, with the settings to check."""
    told = admin.describe_topics(wanted) if wanted else []
    require_sight(told)
    there = [each for each in told if each.exists]
    configs = admin.topic_configs([each.name for each in there], _JUDGED) if there else {}
    return {each.name: Topic(each.name, each.id, len(each.leaders), configs[each.name]) for each in there}


def _make(admin: Admin, missing: Sequence[TopicSpec], wait: float) -> None:
    deadline = time.monotonic() + wait
    wanted = {spec.name: NewTopic(spec.name, spec.partitions, spec.config) for spec in missing}
    while wanted:
        try:
            answer = admin.create_topics(wanted.values(), timeout_ms=10_000)
        except KafkaError as error:
            raise TopicsError(f"the cluster creates no topics: {described(error)}") from error
        for name, refusal in answer.items():
            fenced = isinstance(refusal, InvalidReplicationFactorError) and _FENCED in str(refusal)
            if fenced and time.monotonic() < deadline:
                continue
            # If another process has created the topic meanwhile, it is checked with the rest.
            if refusal is not None and not isinstance(refusal, TopicExistsError):
                raise TopicsError(f"the cluster does not create {name}: {described(refusal)}")
            del wanted[name]
        if wanted:
            time.sleep(_AGAIN_S)


def _await_leaders(admin: Admin, topics: Sequence[str], wait: float) -> None:
    deadline = time.monotonic() + wait
    waiting = set(topics)
    while waiting:
        for each in admin.describe_topics(sorted(waiting)):
            if each.exists and all(leader >= 0 for leader in each.leaders.values()):
                waiting.discard(each.name)
        if waiting and time.monotonic() > deadline:
            raise TopicsError(f"{', '.join(sorted(waiting))}: no leader after {wait:g} s; is every broker up?")
        if waiting:
            time.sleep(0.05)


def _alter(admin: Admin, findings: Sequence[TopicFinding]) -> list[str]:
    """Apply the changes that lose nothing; return them as `topic: key=value`."""
    done: list[str] = []
    for finding in findings:
        if finding.change is None:
            continue
        key, value = finding.change
        try:
            if key == _PARTITIONS:
                admin.create_partitions(finding.topic, int(value))
            else:
                admin.alter_topic_config(finding.topic, key, value)
        except KafkaError as error:
            raise TopicsError(f"the cluster does not set {key}={value} on {finding.topic}: {error}") from error
        done.append(f"{finding.topic}: {key}={value}")
    return done
