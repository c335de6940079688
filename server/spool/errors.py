"""Errors of the spool."""

from __future__ import annotations

from runtime.exits import RoleFailure


class SpoolUnavailable(Exception):  # noqa: N818 - the base of two states, neither of which is an error in the code
    """The spool takes nothing now; nobody may be answered. It may take entries again later."""


class SpoolFull(SpoolUnavailable):
    """The spool has reached its size limit: the forwarder does not get its entries onto Kafka quickly enough."""


class SpoolFailed(SpoolUnavailable):
    """The disk refused a write or a sync; the message is the system's."""


class NotCommitted(SpoolUnavailable):
    """It is in the spool, and the forwarder has not committed it on Kafka in time."""


class SpoolDamaged(RoleFailure):
    """A file of the spool does not hold what was written to it; the message gives the place and the solution."""


class SpoolInUse(RoleFailure):
    """Another process uses this part of the spool."""
