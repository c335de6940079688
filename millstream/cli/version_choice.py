"""Version of a command: the one named, a model's newest, or the newest of the model that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from millstream.cli.shared_options import UsageError
from schemas.model_names import MAIN, is_model_name, model_id, name_of

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from model_store import ModelStore, VersionId
    from schemas.topics import Names

_FORMS: Final = "EPOCH/EXAMPLES or MODEL:EPOCH/EXAMPLES, or MODEL for its newest"
VersionOrModel = Annotated[str, Parameter(name="VERSION", help=f"Version, {_FORMS}.")]
AnyVersion = Annotated[
    str | None,
    Parameter(name="VERSION", help=f"Version, {_FORMS} [default: the newest of the model that serves]."),
]


def version_or_newest(store: ModelStore, settings: Settings, names: Names, given: str | None) -> VersionId:
    """Return the version that is meant; without one given, the newest of the model that serves.

    Raises
    ------
    NotFound
        If the model that serves has no versions.
    UsageError
        As `version_meant`.
    """
    return _newest(store, _serving(store, settings, names)) if given is None else version_meant(store, names, given)


def version_meant(store: ModelStore, names: Names, given: str) -> VersionId:
    """Return the version of this name, or the newest of the model of this name. Raises UsageError if it is neither."""
    from model_store import InvalidVersion, VersionId

    try:
        return VersionId.parse(given, names.stream)
    except InvalidVersion as error:
        if not is_model_name(given):
            raise UsageError(str(error)) from error
    models = store.models(names.stream)
    model = model_id(names.stream, given)
    if model not in models:
        there = ", ".join(name_of(each) for each in models) or MAIN
        raise UsageError(
            f"{given!r} is no version and no model of {names.stream}: write EPOCH/EXAMPLES, such as 1/1250, or the "
            f"name of a model that has versions: {there}"
        )
    return _newest(store, model)


def _serving(store: ModelStore, settings: Settings, names: Names) -> str:
    """Return the id of the model that serves; of several that nobody can be asked about, the stream's own."""
    from millstream.reading.decision_history import served_model
    from runtime.kafka_client.cluster import MissingTopic, NoBroker
    from runtime.kafka_client.errors import KafkaError

    if store.models(names.stream) in ([], [names.stream]):
        return names.stream
    try:
        return served_model(settings.cluster(), names)
    except (NoBroker, KafkaError, MissingTopic):
        return names.stream


def _newest(store: ModelStore, model: str) -> VersionId:
    from model_store import NotFound

    there = store.versions(model)
    if not there:
        raise NotFound(f"there are no versions of {model}: the learner writes the first")
    return there[-1]
