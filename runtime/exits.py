"""Exit codes of the commands, and the exceptions with which a role ends by itself."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""A restart would not help until the operator has corrected the cause."""
USAGE: Final = 2
"""The arguments or the configuration of the command are wrong."""
TRY_AGAIN: Final = 75
"""Start the process again: the next one may succeed (EX_TEMPFAIL of sysexits.h)."""
INTERRUPTED: Final = 130
"""Ended by Ctrl-C, with the exit code that shells use."""


class RoleFailure(Exception):  # noqa: N818 - the base of three outcomes, none of which is an error in the code
    """The role cannot continue in this process."""

    exit_code = FAILED


class Doubt(RoleFailure):
    """The outcome of a transaction, or the membership, is not known. Restart the process.

    The restarted process aborts the open transaction (same transactional id) and rebuilds its state in the normal
    way; continuing with the same producer can lose, split or repeat records.
    """

    exit_code = TRY_AGAIN


class Fenced(RoleFailure):
    """Another process uses the same instance name. Stop the other, or give this one its own --instance."""

    exit_code = TRY_AGAIN


class RoleRefused(RoleFailure):
    """Continuing would be wrong until the operator decides; the message lists the possible decisions."""

    exit_code = FAILED
