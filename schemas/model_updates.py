"""Records of the models topic: announcements of versions, and decisions about them."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from schemas import codec


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
    """Decision on whether the learner learns. Key `learning/<shard>`."""

    shard: int
    paused: bool
    by: str
    why: str

    @property
    def key(self) -> str:
        return f"learning/{self.shard}"


class Adopted(msgspec.Struct, frozen=True, gc=False):
    """Decision on the rebuilt version from which the learner continues. Key `adopted/<shard>`."""

    model: str
    shard: int
    epoch: int
    examples: int
    by: str
    why: str

    @property
    def key(self) -> str:
        return f"adopted/{self.shard}"


Decision: TypeAlias = Published | Serving | Learning | Adopted


class ModelUpdate(msgspec.Struct, frozen=True, gc=False):
    """One record of the models topic: a complete state, so that compaction loses nothing."""

    at: int
    state: Decision

    def encode(self) -> bytes:
        if isinstance(self.state, Adopted):  # it has its own schema, because released schemas must not change
            return codec.ADOPTION.encode({"at": self.at, **msgspec.structs.asdict(self.state)})
        name = f"millstream.{type(self.state).__name__}"
        return codec.MODEL_UPDATE.encode({"at": self.at, "state": (name, msgspec.structs.asdict(self.state))})


def read_model_update(data: bytes) -> ModelUpdate:
    """Read a record of the models topic. Raises CodecError if it is not one."""
    if data.startswith(codec.ADOPTION.header):
        fields = codec.ADOPTION.decode(data)
        return ModelUpdate(fields.pop("at"), Adopted(**fields))
    fields = codec.MODEL_UPDATE.decode(data)
    state = fields["state"]
    # The three records of the union differ in their field names.
    if "manifest_sha256" in state:
        return ModelUpdate(fields["at"], Published(**state))
    if "paused" in state:
        return ModelUpdate(fields["at"], Learning(**state))
    return ModelUpdate(fields["at"], Serving(**state))
