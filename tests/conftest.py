"""Settings for all tests."""

from hypothesis import Phase, settings

# A slow machine is not a bug.
settings.register_profile("course", deadline=None)
# A planted bug only has to be found, not made small (tests/test_mutations.py).
find = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
settings.register_profile("find", deadline=None, phases=find)
settings.load_profile("course")
