"""Records of the models topic: announcements of versions, and decisions about them.

Keys of decisions about a named model contain its id (`schemas.model_names`), so that compaction keeps those of all
models.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, TypeAlias

import msgspec

from schemas import codec
from schemas.model_names import is_named


class Published(msgspec.Struct, frozen=True, gc=False):
    """Announcement of a complete version. Key `published/<model>/<shard>`."""

    model: str
    shard: int
    epoch: int
    examples: int
    topic_id: str
    offset: int
    manifest_sha256: str
    labels_from: int
    labels_to: int
    metrics: dict[str, float]

    @property
    def key(self) -> str:
        return f"published/{self.model}/{self.shard}"


class Serving(msgspec.Struct, frozen=True, gc=False):
    """Decision on the version to serve; `None` means the newest. Key `serving/<shard>`."""

    model: str
    shard: int
    epoch: int | None
    examples: int | None
    by: str
    why: str

    @property
    def key(self) -> str:
        return f"serving/{self.shard}"


class Learning(msgspec.Struct, frozen=True, gc=False):
    """Decision on whether a learner learns. Key `learning/<shard>`; for a named model `learning/<model>/<shard>`.

    `model` is empty for the stream's own model.
    """

    shard: int
    paused: bool
    by: str
    why: str
    model: str = ""

    @property
    def key(self) -> str:
        return f"learning/{self.model}/{self.shard}" if self.model else f"learning/{self.shard}"


class Adopted(msgspec.Struct, frozen=True, gc=False):
    """Decision on the rebuilt version from which a learner continues.

    Key `adopted/<shard>`; for a named model `adopted/<model>/<shard>`.
    """

    model: str
    shard: int
    epoch: int
    examples: int
    by: str
    why: str

    @property
    def key(self) -> str:
        return f"adopted/{self.model}/{self.shard}" if is_named(self.model) else f"adopted/{self.shard}"


class Promoted(msgspec.Struct, frozen=True, gc=False):
    """Decision of the rule or the guard on the model to serve. Key `promoted/<shard>`.

    Attributes
    ----------
    follows
        `decision_hash` of the last decision of a person on serving, empty if there was none. The promotion holds only
        while that decision is the last one.
    before
        The model that served before.
    evidence
        Figures that the decision rests on, by name.
    """

    model: str
    shard: int
    follows: str
    by: Literal["rule", "guard"]
    why: str
    before: str
    evidence: dict[str, float]

    @property
    def key(self) -> str:
        return f"promoted/{self.shard}"


class RolledBack(msgspec.Struct, frozen=True, gc=False):
    """Decision of an alert rule on the version to serve. Key `rolledback/<shard>`.

    Attributes
    ----------
    follows
        As of `Promoted`: the rollback holds only while that decision of a person is the last one, and until a later
        promotion.
    by
        Name of the alert whose rule decided.
    evidence
        Figures that the decision rests on, by name.
    """

    model: str
    shard: int
    epoch: int
    examples: int
    follows: str
    by: str
    why: str
    evidence: dict[str, float]

    @property
    def key(self) -> str:
        return f"rolledback/{self.shard}"


Decision: TypeAlias = Published | Serving | Learning | Adopted | Promoted | RolledBack


def decision_hash(record: bytes) -> str:
    """Return the hash by which a promotion or a rollback refers to a person's decision: of its record's bytes."""
    return hashlib.sha256(record).hexdigest()[:32]


class ModelUpdate(msgspec.Struct, frozen=True, gc=False):
    """One record of the models topic: a complete state, so that compaction loses nothing."""

    at: int
    state: Decision

    def encode(self) -> bytes:
        fields = msgspec.structs.asdict(self.state)
        # These have their own schemas, because released schemas must not change.
        if isinstance(self.state, Adopted):
            return codec.ADOPTION.encode({"at": self.at, **fields})
        if isinstance(self.state, Promoted):
            return codec.PROMOTION.encode({"at": self.at, **fields})
        if isinstance(self.state, RolledBack):
            return codec.ROLLBACK.encode({"at": self.at, **fields})
        if isinstance(self.state, Learning) and self.state.model:
            return codec.MODEL_LEARNING.encode({"at": self.at, **fields})
        if isinstance(self.state, Learning):
            fields.pop("model")
        name = f"millstream.{type(self.state).__name__}"
        return codec.MODEL_UPDATE.encode({"at": self.at, "state": (name, fields)})


_OWN_SCHEMAS: Final[tuple[tuple[codec.Codec, type[Adopted | Promoted | RolledBack | Learning]], ...]] = (
    (codec.ADOPTION, Adopted),
    (codec.PROMOTION, Promoted),
    (codec.ROLLBACK, RolledBack),
    (codec.MODEL_LEARNING, Learning),
)


def read_model_update(data: bytes) -> ModelUpdate:
    """Read a record of the models topic. Raises CodecError if it is not one."""
    for schema, kind in _OWN_SCHEMAS:
        if data.startswith(schema.header):
            fields = schema.decode(data)
            return ModelUpdate(fields.pop("at"), kind(**fields))
    fields = codec.MODEL_UPDATE.decode(data)
    state = fields["state"]
    # The three records of the union differ in their field names.
    if "manifest_sha256" in state:
        return ModelUpdate(fields["at"], Published(**state))
    if "paused" in state:
        return ModelUpdate(fields["at"], Learning(**state))
    return ModelUpdate(fields["at"], Serving(**state))
