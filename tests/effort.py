"""How much a test tries: little in `make test`, and more with --hypothesis-profile=thorough."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st


def times(few: int, many: int) -> int:
    """How often to do what is done at random moments or with random settings."""
    return many if settings().max_examples > 100 else few


def spread(settings: list, step: int) -> list:
    """One of so many settings, from all over the list; all of them where much is tried."""
    return settings[:: times(step, 1)]


def rare(*values: Any) -> Any:
    """Values of a parameter that only `make test-all` tries."""
    return pytest.param(*values, marks=pytest.mark.rare)


def characters(**more: Any) -> Any:
    """All that UTF-8 can write; `codec="utf-8"` is the same and takes two seconds to find them."""
    return st.characters(exclude_categories=["Cs"], **more)
