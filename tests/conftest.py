"""Settings for all tests."""

from hypothesis import settings

# A planted bug only has to be found, not made small: tests/test_mutations.py.
settings.register_profile("find", phases=settings().phases[:-2], deadline=None)
