"""Fields of an external schema that cannot be features, found before the first message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from schemas.codec import CodecError
from schemas.sources.avro_limits import Types
from schemas.sources.decoding import readable, source_schema
from schemas.sources.source import Source
from schemas.sources.writer_schema import PRIMITIVE, WriterSchema

if TYPE_CHECKING:
    from schemas.schema_registry import Registry

_DEEPEST: Final = 64
_NUMBERS: Final = frozenset({"int", "long", "float", "double"})
_MOST_FINDINGS: Final = 20


def unmappable(schema: WriterSchema, chosen: Sequence[str] | None = None) -> list[str]:
    """Return the paths whose values cannot be features, each with the reason; at most twenty.

    Parameters
    ----------
    chosen
        Paths of the features; without it all values of a message are features.

    >>> unmappable(WriterSchema({"type": "record", "name": "Order", "fields": [
    ...     {"name": "total", "type": "double"}, {"name": "tags", "type": {"type": "array", "items": "string"}}]}))
    ['tags: an array of string; only arrays of numbers are features, and tags[0] takes one value out']
    """
    found: dict[str, None] = {}
    for path, reason in _Unmappable(schema.types).below(schema.parsed, "", ()):
        if chosen is not None and not any(path == each or path.startswith(f"{each}.") for each in chosen):
            continue
        found[f"{path}: {reason}"] = None
        if len(found) == _MOST_FINDINGS:
            break
    return list(found)


class _Unmappable:
    def __init__(self, types: Types) -> None:
        self._types = types
        self._clean: set[str] = set()  # types already checked, because one may be used a thousand times

    def below(self, node: Any, path: str, within: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        if isinstance(node, list):
            for branch in node:
                yield from self.below(branch, path, within)
            return
        if isinstance(node, str):
            if node in PRIMITIVE:
                return
            node = self._types[node]
        kind = node["type"]
        if kind in ("record", "error"):
            yield from self._record(node, path, within)
        elif kind == "array" and _kind(node["items"]) not in _NUMBERS:
            held = _kind(node["items"])
            yield path, f"an array of {held}; only arrays of numbers are features, and {path}[0] takes one value out"
        elif kind == "map":
            yield from self.below(node["values"], f"{path}.*", within)

    def _record(self, node: Any, path: str, within: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        name = node["name"]
        if name in self._clean:
            return
        if name in within or len(within) >= _DEEPEST:
            yield path, f"a {name} within another; only paths that name a place in it can be features"
            return
        clean = True
        for field in node["fields"]:
            inner = f"{path}.{field['name']}" if path else field["name"]
            for finding in self.below(field["type"], inner, (*within, name)):
                clean = False
                yield finding
        if clean:
            self._clean.add(name)


def _kind(node: Any) -> str:
    if isinstance(node, list):
        return " or ".join(_kind(branch) for branch in node)
    return str(node["type"]) if isinstance(node, dict) else str(node)


def unmapped(source: Source, registry: Registry | None) -> list[str]:
    """Return the fields of a source's messages that cannot be features, if a schema is known; see `unmappable`.

    The schema is the source's own, or the registry's newest one for the topic.

    Raises
    ------
    RegistryError
        If the registry does not answer.
    """
    if source.prepare is not None:
        return []
    schema = source_schema(source)
    try:
        if schema is None and registry is not None and source.format in ("auto", "registry"):
            found = registry.latest(f"{source.topic}-value")
            schema = None if found is None else readable(found)
    except CodecError as error:
        return [str(error)]
    if schema is None:
        return []
    return unmappable(schema, [each for each in source.fields.values() if isinstance(each, str)] or None)
