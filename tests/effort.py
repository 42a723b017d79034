"""How much a test tries: little in `make test`, and more with --hypothesis-profile=thorough."""

from hypothesis import settings


def times(few: int, many: int) -> int:
    """How often to do what is done at random moments or with random settings."""
    return many if settings().max_examples > 100 else few
