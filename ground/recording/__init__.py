"""Recorded data of any mission: what a file holds, its packets, their fields as tables, and files of those tables.

    from ground.recording import decode
    result = decode("pass.cadu", definition="mission.xml")

`ground.recording.recording` describes the rest. Importing this package alone loads none of its modules: the public
names are imported at their first use.
"""

# Why lazily: whoever imports a module of a sub-package imports this package first. Eager imports here would load the
# whole decoder for it, and would close a circle: `ground.recording.recording` imports those sub-packages itself.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ground.recording.recording import Recording, WholeRecording, decode, open_recording
    from ground.recording.streams.link_options import LinkOptions

__all__ = ["LinkOptions", "Recording", "WholeRecording", "decode", "open_recording"]


def __getattr__(name: str) -> Any:
    if name == "LinkOptions":
        from ground.recording.streams import link_options

        return link_options.LinkOptions
    if name in __all__:
        from ground.recording import recording

        return getattr(recording, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
