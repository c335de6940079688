"""Size limits of records (bytes, as wrapped by the roles) and of offset metadata (characters).

A broker limits the compressed size: 50 MB of zeros pass a limit of 1 MB. A record that a role makes of them may not,
and the role would restart and try again for ever.
"""

from __future__ import annotations

from typing import Final

RECORD: Final = 8 << 20  # limit of the stream's topics, and of what its roles send
EVENT: Final = 6 << 20  # in a prediction or an example
LABEL: Final = 1 << 19  # in an example, beside its event; JSON may double in Avro
LETTER: Final = 6 << 20  # the bytes of the refused record that a dead letter keeps
BESIDE: Final = 1 << 18  # its key, and its headers
OFFSET_METADATA: Final = (
    4095  # characters: the broker's default of offset.metadata.max.bytes less the NUL of librdkafka
)
