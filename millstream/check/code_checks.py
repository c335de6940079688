"""Checks of the code that a stream's versions will carry: it must run by itself and hold no secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from consumers.model.version_files import shown
from millstream.check.findings import Finding
from millstream.stream.code_object import decode
from millstream.stream.definition_hash import changes
from millstream.stream.load import LoadedStream
from millstream.version_code.choice import run_code
from millstream.version_code.patches import patches
from millstream.version_code.secret_strings import suspects
from model_store import VersionRefused

_SHOWN: Final = 5


def look_at_code(loaded: LoadedStream) -> Iterator[Finding]:
    """Yield findings on the code that travels with every version."""
    if not loaded.code:
        return
    code = decode(loaded.code)
    secrets = [f"{path}:{each.line} ({each.why})" for path, text in code.files.items() for each in suspects(text)]
    if secrets:
        yield Finding(
            "warning",
            "code",
            f"looks like a secret: {', '.join(secrets)}. These files travel with every version into the model store: "
            "read secrets from the environment",
        )
    own = {path.partition("/")[0].removesuffix(".py") for path in code.files}
    patched = [f"{path}:{each.line} ({each.what})" for path, text in code.files.items() for each in patches(text, own)]
    if patched:
        yield Finding(
            "warning",
            "code",
            f"changes modules or classes that are not its own: {', '.join(patched)}. A process that loads an old "
            "version's code makes that code's changes too, for all versions at once: use a subclass or a parameter",
        )
    try:
        again = run_code(code)
    except VersionRefused as error:
        yield Finding(
            "warning",
            "code",
            f"{error}. Its versions carry only {', '.join(code.files)}: after a change of the stream file they "
            "could not be served, traced or rebuilt. Move what it reads into Python modules",
        )
        return
    if again.definition != loaded.definition:
        differing = shown(changes(loaded.definition_text, again.definition_text))
        yield Finding(
            "warning",
            "code",
            f"run by itself, the code that its versions carry defines another model{differing}: does it depend on the "
            "time, the environment, or a file?",
        )
        return
    names = [*code.files]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    carried = f"{', '.join(names[:_SHOWN])}{more} ({len(loaded.code):,} bytes)"
    yield Finding("ok", "code", f"its versions carry {carried}, and run with it")
