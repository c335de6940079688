"""The file of tokens in the home folder: names, scopes, limits, and hashes instead of the tokens."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec

from runtime.exits import FAILED, USAGE
from server.spool.folder import replace_file
from server.tokens.token_text import hash_of, id_of, new_token

FORMAT: Final = 1
SCOPES: Final = ("predict", "label", "metric", "upload", "read", "data", "admin")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_RATE: Final = re.compile(r"([1-9][0-9]{0,8})/(s|m|h)")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600}
_LONGEST_MS: Final = 36_500 * 86_400_000
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class TokensRefused(Exception):  # noqa: N818
    """A token cannot be made or revoked as asked; the message says what would be right."""

    exit_code = USAGE


class TokenFileProblem(Exception):  # noqa: N818
    """The file of tokens cannot be trusted or understood; the message names it and the way out."""

    exit_code = FAILED


class Rate(msgspec.Struct, frozen=True):
    """Most requests in a span of seconds, for each worker."""

    requests: Annotated[int, msgspec.Meta(ge=1)]
    seconds: Annotated[int, msgspec.Meta(ge=1)]

    def __str__(self) -> str:
        unit = next((name for name, span in _UNIT_S.items() if span == self.seconds), f"{self.seconds}s")
        return f"{self.requests}/{unit}"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token. Times are in ms since 1970.

    Attributes
    ----------
    id
        The part of the token that is no secret.
    sha256
        Hash of the whole token, in hex.
    expires
        Time from which on it is refused; `None` if it never expires.
    rate
        `None` is no limit.
    by
        User who made it.
    revoked
        Time of its revocation.
    """

    id: str
    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: tuple[str, ...]
    created: int
    by: str
    expires: int | None = None
    rate: Rate | None = None
    revoked: int | None = None

    def state(self, now_ms: int) -> str:
        """Return ``valid``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now_ms >= self.expires else "valid"


class _Content(msgspec.Struct, frozen=True):
    format: int
    tokens: tuple[Token, ...]


class _Format(msgspec.Struct, frozen=True):
    format: int


_read: Final = msgspec.json.Decoder(_Content).decode
_read_format: Final = msgspec.json.Decoder(_Format).decode


class TokenFile:
    """The file of tokens, and the times of their latest use beside it.

    The format::

        tokens.json   {"format": 1, "tokens": [Token, …]}; mode 0600, replaced as a whole
        tokens.lock   held by a command that changes the file
        used/<id>     an empty file; the time of its change is that of the token's latest use, to the minute

    A revoked token stays in the file, so that servers go on to ask for tokens after the last one was revoked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "tokens.json"

    def read(self) -> tuple[Token, ...]:
        """Return all tokens; none if there is no file.

        Raises
        ------
        TokenFileProblem
            If others may change it, or it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise TokenFileProblem(f"{self.path} cannot be read: {error.strerror}") from error
        if mode & _OTHERS_WRITE:
            raise TokenFileProblem(f"{self.path} can be changed by others: chmod 600 {self.path}")
        try:
            found = _read_format(data).format
            if found != FORMAT:
                raise TokenFileProblem(
                    f"{self.path} has format {found}, and this version reads format {FORMAT}: use the version that "
                    "wrote it, or delete the file and make new tokens"
                )
            return _read(data).tokens
        except msgspec.DecodeError as error:
            raise TokenFileProblem(
                f"{self.path} is damaged ({error}): put it back, or delete it and make new tokens"
            ) from error

    def stamp(self) -> tuple[int, ...] | None:
        """Return what differs after every change of the file; `None` if there is no file."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode

    def create(
        self, name: str, scopes: Sequence[str], by: str, *, lasts_ms: int | None = None, rate: Rate | None = None
    ) -> tuple[str, Token]:
        """Make a token; return its text, which is stored nowhere, and what is kept of it.

        Raises
        ------
        TokensRefused
            If name, scopes or expiry are invalid, or a valid token has this name.
        TokenFileProblem
            As in `read`.
        """
        check_name(name)
        unknown = [each for each in scopes if each not in SCOPES]
        if unknown or not scopes:
            raise TokensRefused(f"scope {','.join(unknown)[:100]!r} must be some of {', '.join(SCOPES)}, with commas")
        if lasts_ms is not None and not 0 < lasts_ms <= _LONGEST_MS:
            raise TokensRefused("a token must be valid for 1ms to 36500d")
        now = time.time_ns() // 1_000_000
        text = new_token()
        token = Token(
            id=id_of(text),
            name=name,
            sha256=hash_of(text).hex(),
            scopes=tuple(each for each in SCOPES if each in scopes),
            created=now,
            by=by,
            expires=None if lasts_ms is None else now + lasts_ms,
            rate=rate,
        )
        with self._locked():
            tokens = self.read()
            if any(each.name == name and each.state(now) == "valid" for each in tokens):
                raise TokensRefused(
                    f"there is a valid token {name}: choose another name, or `millstream tokens revoke {name}` first"
                )
            self._write([*(each for each in tokens if each.name != name), token])
        return text, token

    def revoke(self, name: str) -> Token:
        """Revoke a token, and return it.

        Raises
        ------
        TokensRefused
            If there is no token of this name that could be revoked.
        TokenFileProblem
            As in `read`.
        """
        check_name(name)
        with self._locked():
            tokens = self.read()
            found = next((each for each in tokens if each.name == name), None)
            if found is None:
                raise TokensRefused(f"there is no token {name}: `millstream tokens list` shows them")
            if found.revoked is not None:
                raise TokensRefused(f"the token {name} was revoked before")
            revoked = msgspec.structs.replace(found, revoked=time.time_ns() // 1_000_000)
            self._write([revoked if each is found else each for each in tokens])
        return revoked

    def note_use(self, token_id: str) -> None:
        """Note that a token was used just now, as far as the disk allows it."""
        file = self.folder / "used" / token_id
        with suppress(OSError):
            file.parent.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.utime(file)

    def used_ms(self, token_id: str) -> int | None:
        """Return the time of a token's latest use on this machine, `None` if there was none."""
        try:
            return (self.folder / "used" / token_id).stat().st_mtime_ns // 1_000_000
        except OSError:
            return None

    def _write(self, tokens: Sequence[Token]) -> None:
        replace_file(self.path, msgspec.json.encode(_Content(FORMAT, tuple(tokens))), sync=True)
        kept = {each.id for each in tokens}
        with suppress(OSError):
            for file in (self.folder / "used").iterdir():
                if file.name not in kept:
                    file.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        descriptor = os.open(self.folder / "tokens.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def check_name(name: str) -> None:
    """Raise TokensRefused unless a token can have this name."""
    if not _NAME.fullmatch(name):
        raise TokensRefused(
            f"name of a token {name[:100]!r} must be 1 to 63 of a-z, 0-9 and '-', not beginning with '-'"
        )


def read_rate(text: str) -> Rate:
    """Return a rate such as `200/s`. Raises TokensRefused.

    >>> read_rate("30/m")
    Rate(requests=30, seconds=60)
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise TokensRefused(f"rate {text[:100]!r} must be a number of requests for each s, m or h, such as 200/s")
    return Rate(int(match[1]), _UNIT_S[match[2]])
