"""How a role can end other than by being asked to."""

from __future__ import annotations


class RoleFailure(Exception):  # noqa: N818 - the base of three outcomes, none of which is itself an error of code
    """A role cannot go on in this process."""

    exit_code = 1


class Doubt(RoleFailure):
    """The outcome of a transaction, or the membership, is not known. Start the process anew.

    Starting anew aborts what was open (same transactional id) and rebuilds state through the normal
    door; going on with the same producer can lose, tear or repeat records.
    """

    exit_code = 75


class Fenced(RoleFailure):
    """Another process works under this one's name. Stop the other, or give this one its own --instance."""

    exit_code = 75


class RoleRefused(RoleFailure):
    """Going on would be wrong until somebody decides; the message holds the ways on."""

    exit_code = 1
