"""`millstream importer`, and the options for uploads of the commands that answer over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cyclopts
from cyclopts import Parameter

from consumers.roles import IMPORTER
from millstream.cli.monitoring import UNWATCHED, Monitoring
from millstream.cli.roles import Instance, run_role
from millstream.cli.shared_options import HERE, StreamFileName, UsageError, Where, byte_count

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream
    from server.uploads.receiving import UploadLimits


@Parameter(name="*", group="HTTP")
@dataclass(frozen=True)
class UploadOptions:
    """Options for uploads of training data."""

    largest_upload: str = "1GiB"
    """Largest upload, as it is sent; unpacked it may be 20 times as large."""

    upload_spool: str = "4GiB"
    """Size on disk of uploads that are not imported, from which on further ones are refused."""

    upload_expires: str = "1d"
    """Time for which a resumable upload waits for its next part."""

    def upload_limits(self) -> UploadLimits:
        """Return the checked options. Raises UsageError, or InvalidDuration."""
        from millstream.stream.duration import milliseconds
        from server.uploads.receiving import UploadLimits

        largest = byte_count("--largest-upload", self.largest_upload)
        most = byte_count("--upload-spool", self.upload_spool)
        if not 1 <= largest <= most:
            raise UsageError(
                f"--largest-upload {self.largest_upload} must be at least 1 byte, and at most --upload-spool "
                f"{self.upload_spool}"
            )
        return UploadLimits(largest=largest, most_bytes=most, expire_s=milliseconds(self.upload_expires) / 1000)

    def upload_words(self) -> tuple[str, ...]:
        """Return the options as arguments of a command."""
        return (
            *("--largest-upload", self.largest_upload, "--upload-spool", self.upload_spool),
            *("--upload-expires", self.upload_expires),
        )


_DEFAULTS = UploadOptions()


def register(parent: cyclopts.App) -> None:
    """Add the command."""
    parent.command(importer)


def importer(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    uploads: UploadOptions = _DEFAULTS,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Import what servers on this machine receive as uploads into the examples log, until stopped.

    Each machine whose servers take uploads has one. It imports as `millstream import` does.

    Example: millstream importer my_stream.py
    """
    limits = uploads.upload_limits()

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.processes.upload_roles import run_importer

        return run_importer(loaded, settings, name, limits, meter)

    return run_role(IMPORTER, stream, instance, where, monitoring, work)
