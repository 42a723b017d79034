"""The way from ids to logits is short enough to read in one go."""

import sys
from pathlib import Path

import pytest

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp

PACKAGE = str(Path(mn.__file__).parents[1])
CHECKS = ("checked.py", "_arguments.py")  # of what the caller gave, before anything is computed


def functions_called(run):
    """Those of this package, by file and name, in the order in which they are first called."""
    called = {}

    def note(frame, event, _argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name[0] != "<":
            called[code.co_filename.replace("\\", "/").split("/")[-1], code.co_qualname] = True

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return list(called)


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_at_most_20_functions_stand_between_ids_and_logits(mm):
    """A chunk that evicts, and a token: what the model calls, without checks and attributes."""
    model = mm.Mistral(ModelConfig.tiny())
    cache = model.new_cache(1)
    model([[1, 2, 3]], cache)

    def read_and_decode():
        model([list(range(40))], cache)
        model([[3]], cache)

    first, *called = [call for call in functions_called(read_and_decode) if call[0] not in CHECKS]
    assert first in (("model.py", "Mistral.__call__"), ("model.py", "Mistral.forward"))
    attributes = {("model.py", "Mistral.dtype"), ("model.py", "Mistral.device")}  # of a module
    assert len(set(called) - attributes) <= 20, called
    names = [name for _, name in called]
    assert {"visible", "slot_of", "window_mask", "rms_norm", "apply_rope", "attend",
            "feed_forward", "RollingCache.update"} <= set(names)  # fmt: skip


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_without_a_cache_the_way_is_the_same(mm):
    model = mm.Mistral(ModelConfig.tiny())
    called = functions_called(lambda: model([[1, 2, 3]]))
    assert ("cache.py", "NoCache.update") in called
    assert not any("RollingCache" in name for _, name in called)
