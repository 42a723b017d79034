"""Training the tiny model: its text, the settings, the loop, and the state it resumes from.

`from minimistral.training import Settings, train`. Without `train`, torch is not imported.
"""

from typing import Any

from minimistral.training.settings import Settings

__all__ = ["Settings", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from minimistral.training.loop import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
