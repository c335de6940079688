"""Choice of the code that runs a version.

A version's state has a meaning only for the code that made it. The process's own code runs a version of its own
definition. A version of another definition runs with the code that it carries, or is refused: the operator chooses
(``--code``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from consumers.model.version_files import CODE_FILE, shown
from consumers.model.version_runtime import RunWith
from millstream.stream.code_object import MOST_BYTES, Code, decode, encode
from millstream.stream.definition_hash import changes, differing_values, model_lines, prepare_lines
from millstream.stream.errors import LoadError
from millstream.stream.load import LoadedStream, loaded_from
from millstream.stream.processor_rules import HALF, definition_of
from millstream.stream.stream_file import StreamFile, explain
from millstream.version_code.contract_changes import calendar_added, misfit, names_seen
from millstream.version_code.namespace import namespace_of
from model_store import Damaged, VersionRefused
from model_store.code_names import PREFIX

if TYPE_CHECKING:
    from model_store import Manifest, ModelStore

Policy = Literal["own", "version"]


class OtherCode(VersionRefused):
    """A version whose code this process may not run: start it with `--code version`, or with that code."""


class VersionCode:
    """Chooses the code for the versions of a stream, of all its models.

    It must be given only manifests with a checked signature.

    Parameters
    ----------
    loaded
        The stream of this process.
    say
        Prints a line when a version's own code runs for the first time.

    Attributes
    ----------
    loaded, store
        As given.
    """

    def __init__(
        self,
        loaded: LoadedStream,
        store: ModelStore,
        policy: Policy = "version",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.loaded = loaded
        self._definition = definition_of(loaded)
        self.store = store
        self._policy = policy
        self._say = say
        self._codes: dict[str, Code] = {}
        self._run: dict[str, LoadedStream] = {}
        self._others = {each.model_id: VersionCode(each, store, policy, say) for each in loaded.others}

    def to_answer(self, manifest: Manifest) -> RunWith:
        """Return the settings for a version to answer events that satisfy this process's contract.

        Raises
        ------
        OtherCode
            If the version has another definition, and its code must not be run or is missing.
        VersionRefused
            If its contract or target does not fit this process, or its code does not run.
        """
        if (other := self._others.get(manifest.version.model)) is not None:
            return other.to_answer(manifest)
        if self._is_own(manifest):
            return self._own()
        code = self._required(manifest)
        self._insist_on_fit(manifest, code)
        if model_lines(code.definition) == model_lines(self.loaded.definition_text):
            return self._narrowed(self._own(), code)
        ran = self._ran(manifest, code)
        return self._narrowed(RunWith(ran.allowed, ran.find, carried=True), code)

    def as_then(self, manifest: Manifest) -> LoadedStream:
        """Return the stream that made a version: its model, contract, target and weights at that time.

        Raises
        ------
        OtherCode, VersionRefused
            See `to_answer`.
        """
        if (other := self._others.get(manifest.version.model)) is not None:
            return other.as_then(manifest)
        if self._is_own(manifest):
            return self.loaded
        return self._ran(manifest, self._required(manifest))

    def to_read(self, manifest: Manifest) -> RunWith:
        """Return the settings to read a version's learner state, not to call its model.

        Raises OtherCode, VersionRefused.
        """
        then = self.as_then(manifest)
        return RunWith(then.allowed, then.find, carried=all(then is not each for each in self.loaded.each_model))

    def changes(self, manifest: Manifest) -> list[str]:
        """Return the differences between a version's definition and this process's own, as short texts."""
        if (other := self._others.get(manifest.version.model)) is not None:
            return other.changes(manifest)
        code = self._carried(manifest)
        if code is None or manifest.definition == self._definition.hash:
            return []
        return changes(code.definition, self.loaded.definition_text)

    def _own(self) -> RunWith:
        return replace(RunWith.own(self._definition), sees=self.loaded.stream.sees)

    def _is_own(self, manifest: Manifest) -> bool:
        mine = self._definition
        of = manifest.version.model, manifest.definition, manifest.contract
        return of == (mine.model, mine.hash, mine.contract)

    def _carried(self, manifest: Manifest) -> Code | None:
        ref = manifest.files.get(CODE_FILE)
        if ref is None:
            return None
        if ref.sha256 not in self._codes:
            if ref.size > 2 * MOST_BYTES:
                raise Damaged(f"the code of version {manifest.version} has {ref.size} bytes")
            self._codes[ref.sha256] = decode(self.store.read(manifest, CODE_FILE))
        return self._codes[ref.sha256]

    def _required(self, manifest: Manifest) -> Code:
        """Return the code that a version of another definition carries. Raises OtherCode if there is none, Damaged."""
        code = self._carried(manifest)
        if code is None:
            raise OtherCode(self._without_code(manifest))
        return code

    def _insist_on_fit(self, manifest: Manifest, code: Code) -> None:
        stream = self.loaded.stream
        if code.target != stream.target:
            raise VersionRefused(
                f"version {manifest.version} predicts another target ({code.target}) than {self.loaded.path.name} says "
                f"now ({stream.target}): serve it with the old stream file, or start a new epoch"
            )
        if prepare_lines(code.definition) != prepare_lines(self.loaded.definition_text):
            raise VersionRefused(
                f"version {manifest.version} learned features that another prepare= made than {self.loaded.path.name} "
                "has now: serve it with the old stream file, or start a new epoch"
            )
        problem = misfit(stream.contract, code.contract)
        if problem:
            raise VersionRefused(
                f"version {manifest.version} was made with another feature contract than {self.loaded.path.name} has "
                f"now: {problem}. Serve it with the old contract, or start a new epoch"
            )

    def _narrowed(self, run_with: RunWith, code: Code) -> RunWith:
        """Return settings by which a version is given only features that its contract had."""
        stream = self.loaded.stream
        if code.contract == stream.seen:
            return replace(run_with, sees=stream.sees)
        return replace(run_with, sees=names_seen(code.contract), hides=calendar_added(stream.contract, code.contract))

    def _ran(self, manifest: Manifest, code: Code) -> LoadedStream:
        ref = manifest.files[CODE_FILE]
        if self._policy == "own":
            raise OtherCode(self._refusal(manifest, code))
        if ref.sha256 not in self._run:
            ran = run_code(code)
            if differing := differing_values(code.definition, ran.definition_text):
                raise VersionRefused(
                    f"version {manifest.version}: run here, the code that it carries defines another model"
                    f"{shown(differing)}: it depends on a file, a package or a setting of the environment"
                )
            self._run[ref.sha256] = ran
            self._say(
                f"version {manifest.version} was made by another definition or contract than {self.loaded.path.name} "
                f"has now{shown(self.changes(manifest))}: it is run with the code that it carries ({ref.sha256[:12]})"
            )
        return self._run[ref.sha256]

    def _refusal(self, manifest: Manifest, code: Code) -> str:
        differing = changes(code.definition, self.loaded.definition_text)
        return (
            f"version {manifest.version} is of definition {manifest.definition[:12]}, and {self.loaded.path.name} has "
            f"{self._definition.hash[:12]}{shown(differing)}: start this with --code version to run the code that the "
            "version carries, or with the old stream file"
        )

    def _without_code(self, manifest: Manifest) -> str:
        mine = self._definition
        what, then, now = "definition", manifest.definition, mine.hash
        if then == now:
            same = manifest.contract[:HALF] == mine.contract[:HALF]
            what, start = ("target", HALF) if same else ("feature contract", 0)
            then, now = manifest.contract[start:], mine.contract[start:]
        return (
            f"version {manifest.version} is of another {what} than {self.loaded.path.name} has now ({then[:12]}; here "
            f"{now[:12]}) and carries no code, because an older Millstream made it: use the old stream file"
        )


def run_code(code: Code) -> LoadedStream:
    """Run a version's code in its own namespace, and return the stream that it defines.

    Call it only for a version with a checked signature.

    Raises
    ------
    VersionRefused
        If the code does not run or defines no stream, for example because a file that it reads is missing.
    """
    space = namespace_of(code)
    file = StreamFile(Path(f"<version code {space.package.removeprefix(PREFIX)}>/{code.main}"), code.module)
    try:
        module = space.main()
        loaded = loaded_from(module, file, space.owns, code.files, code.model_name)
        names = () if loaded.model else tuple(loaded.stream.named)
        others = [loaded_from(module, file, space.owns, code.files, name) for name in names]
    except LoadError as error:
        raise VersionRefused(f"the code that the version carries does not run: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        for name in [each for each in sys.modules if space.owns(each)]:
            del sys.modules[name]
        raise VersionRefused(f"the code that the version carries does not run: {explain(error, file.path)}") from error
    data = encode(code)
    carried = tuple(replace(each, code=data, find=space.find) for each in others)
    return replace(loaded, code=data, find=space.find, others=carried)
