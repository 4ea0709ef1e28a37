"""What an entity counts since it was made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class EntityCounters:
    """PDUs and octets of file data in and out, what was refused, how transactions ended, which faults came up.

    pdus_in and pdus_out: directives by their name ("metadata", "eof", "finished", "ack", "nak", "prompt",
    "keep_alive"); file data are counted in data_in and data_out. octets_in: new octets of files. repeated: PDUs that
    said what was known. resent_octets: octets sent again. renewed: transactions under a number that its sender had
    given out before. ignored: PDUs by reason (indications.py). ended: transactions by outcome ("sent", "received",
    "send_failed", "receive_failed"). faults: by the name of their condition. rests: how often one rested.
    """

    data_in: int = 0
    data_out: int = 0
    octets_in: int = 0
    octets_out: int = 0
    resent_octets: int = 0
    repeated: int = 0
    renewed: int = 0
    rests: int = 0
    pdus_in: Counter[str] = field(default_factory=Counter)
    pdus_out: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
