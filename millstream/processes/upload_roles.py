"""Wiring of the importer of uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.roles import IMPORTER
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.role_log import say
from millstream.processes import role_events
from millstream.processes.forwarding import cluster_of
from millstream.processes.run_stream import stopping
from millstream.scaffold.open_data import spec_of, weigher
from producers.import_log import ImportStoppedError
from runtime.exits import OK, TRY_AGAIN, RoleFailure
from runtime.kafka_client.cluster import NoBroker
from runtime.kafka_client.errors import KafkaError, described
from server.uploads.folder import UPLOADS
from server.uploads.importer import Importer, ImporterSettings

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from server.uploads.receiving import UploadLimits


def run_importer(
    loaded: LoadedStream, settings: Settings, instance: str, limits: UploadLimits, meter: RoleInstrumentation
) -> int:
    """Import what servers on this machine receive until told to stop; return the exit code."""
    names, stream = settings.names(loaded.stream), loaded.stream
    cluster = cluster_of(settings)
    importing = ImporterSettings(
        names=names,
        instance=instance,
        spec=spec_of(stream, labelled=True),
        weigh=weigher(stream),
        uploads=settings.state(names) / UPLOADS,
        expire_s=limits.expire_s,
        largest_unpacked=limits.largest_unpacked,
    )
    importer: Importer | None = None
    try:
        with stopping() as stop:
            importer = Importer(cluster, importing, stop, say, meter)
            before = importer.open()
            role_events.ready(f"ready: imports {importing.uploads}; {before} uploads were imported", event="assigned")
            meter.assigned(())
            importer.run()
    except ImportStoppedError as error:
        return _doubt(str(error), meter)
    except RoleFailure as failure:
        meter.aborted()
        role_events.failed(IMPORTER, str(failure))
        return failure.exit_code
    except OSError as error:
        return _doubt(f"the disk of the uploads fails: {error}", meter)
    except (KafkaError, NoBroker) as error:
        return _doubt(f"Kafka: {described(error) if isinstance(error, KafkaError) else error}", meter)
    finally:
        if importer is not None:
            importer.close()
    say(f"{IMPORTER} has ended in order")
    return OK


def _doubt(why: str, meter: RoleInstrumentation) -> int:
    meter.aborted()
    role_events.failed(IMPORTER, why)
    return TRY_AGAIN
