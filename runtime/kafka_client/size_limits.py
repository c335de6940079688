"""What still fits: in bytes once stages have wrapped it, in characters beside a committed offset.

A broker's limit is on what is sent, and senders compress: 50 MB of zeros pass a limit of 1 MB. What is made of them
does not, and a stage that tried would start anew and try again for ever.
"""

from __future__ import annotations

from typing import Final

RECORD: Final = 8 << 20  # what the topics of a stream take, and its roles send
EVENT: Final = 6 << 20  # in a prediction or an example
LABEL: Final = 1 << 19  # in an example, beside its event; JSON may double in Avro
LETTER: Final = 6 << 20  # the bytes that a dead letter keeps of what was refused
BESIDE: Final = 1 << 18  # its key, and its headers
OFFSET_METADATA: Final = 4096  # characters, by the broker's default of offset.metadata.max.bytes
