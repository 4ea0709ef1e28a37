"""Recorded data of any mission: what a file holds, its packets, their fields as tables, and files of those tables.

    from ground.recording import decode
    result = decode("pass.cadu", definition="mission.xml")

`ground.recording.recording` has the rest. The names are loaded when they are first used, since the rooms below stand on
this one.
"""

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
