"""Exit codes of the commands, and how a role can end other than by being asked to."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""Starting again would not help until somebody has put something right."""
USAGE: Final = 2
"""The command was typed or configured wrongly."""
TRY_AGAIN: Final = 75
"""Start the process again: the next one may succeed (EX_TEMPFAIL of sysexits.h)."""
INTERRUPTED: Final = 130
"""Ended by Ctrl-C, as shells say it."""


class RoleFailure(Exception):  # noqa: N818 - the base of three outcomes, none of which is itself an error of code
    """A role cannot go on in this process."""

    exit_code = FAILED


class Doubt(RoleFailure):
    """The outcome of a transaction, or the membership, is not known. Start the process anew.

    Starting anew aborts what was open (same transactional id) and rebuilds state through the normal
    door; going on with the same producer can lose, tear or repeat records.
    """

    exit_code = TRY_AGAIN


class Fenced(RoleFailure):
    """Another process works under this one's name. Stop the other, or give this one its own --instance."""

    exit_code = TRY_AGAIN


class RoleRefused(RoleFailure):
    """Going on would be wrong until somebody decides; the message holds the ways on."""

    exit_code = FAILED
