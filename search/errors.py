"""The error of a search that the user can mend."""

__all__ = ["SearchError"]


class SearchError(Exception):
    """One line: what was given, where, and what to do."""
