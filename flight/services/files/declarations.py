"""What the file service says: the structure "files", and the events of transfers, products and the store."""

from __future__ import annotations

from flight.contract.dictionary import Declarations, EventDefinition, Structure
from flight.contract.fields import Field

_NAME = Field("name", "str")
_REASON = Field("reason", "str")
_OCTETS = Field("octets", "u64", "octet")
_NUMBER = Field("number", "u64", text="of the CFDP transaction")


def declare(apid: int) -> Declarations:
    """Return the structure "files" and the events of files. Commands and their reports: file_commands.py."""
    return Declarations(structures=(_files(apid),), events=_events(apid))


def _files(apid: int) -> Structure:
    u32, u64 = "u32", "u64"
    return Structure(
        apid, 14, "files", 10.0,
        (
            Field("sending", "u16", "", "transactions down that are open"),
            Field("sending_octets", u64, "octet", "size of their files"),
            Field("sent_octets", u64, "octet", "of them, what was sent"),
            Field("receiving", "u16", "", "transactions up that are open"),
            Field("receiving_octets", u64, "octet", "size of their files, as far as it is known"),
            Field("received_octets", u64, "octet", "of them, what is here"),
            Field("suspended", "u16", "", "of all open ones, suspended or at rest until the next contact"),
            Field("completed", u32, "", "transactions that ended well since boot, both ways"),
            Field("cancelled", u32, "", "transactions that ended without a whole file"),
            Field("pdus_in", u32, "", "PDUs taken in"),
            Field("pdus_out", u32, "", "PDUs sent"),
            Field("repeated_octets", u64, "octet", "file octets sent again because ground asked"),
            Field("products", u32, "", "products that wait or are in transfer"),
            Field("products_acknowledged", u32, "", "products that ground has whole, deleted on board"),
            Field("products_refused", u32, "", "products for which there was no room"),
            Field("products_resting", u32, "", "products that ground refused too often"),
            Field("stored", u32, "", "files in the store"),
            Field("stored_octets", u64, "octet", "their octets"),
            Field("evicted", u32, "", "files deleted to make room"),
        ),
    )  # fmt: skip


def _events(apid: int) -> tuple[EventDefinition, ...]:
    return (
        EventDefinition(
            apid, 50, "product_refused", "low", "{name} of {octets} octets is not kept: {reason}",
            (_NAME, _OCTETS, _REASON),
        ),
        EventDefinition(
            apid, 51, "upload_received", "info", "file {name} of {octets} octets came up", (_NAME, _OCTETS, _NUMBER)
        ),
        EventDefinition(
            apid, 52, "upload_failed", "low", "file {name} did not come up whole: {reason}", (_NAME, _REASON, _NUMBER)
        ),
        EventDefinition(
            apid, 53, "upload_ignored", "low", "{pdus} PDUs of files ignored, the last of {name}: {reason}",
            (Field("pdus", "u32"), _NAME, _REASON, _NUMBER),
        ),
        EventDefinition(
            apid, 54, "file_evicted", "medium", "file {name} of {octets} octets was deleted: {reason}",
            (_NAME, _OCTETS, _REASON),
        ),
        EventDefinition(
            apid, 55, "file_not_sent", "low", "file {name} did not go down whole: {reason}", (_NAME, _REASON, _NUMBER)
        ),
        EventDefinition(
            apid, 56, "product_rests", "medium",
            "product {name} is not sent any more, ground refused it {refusals} times: {reason}",
            (_NAME, Field("refusals", "u8"), _REASON),
        ),
        EventDefinition(apid, 57, "file_damaged", "medium", "file {name} cannot be used: {reason}", (_NAME, _REASON)),
        EventDefinition(
            apid, 58, "transfer_dropped", "low", "transfer {name} is not continued: {reason}", (_NAME, _REASON)
        ),
        EventDefinition(
            apid, 59, "transfer_rests", "low", "transfer of {name} rests: {reason}", (_NAME, _REASON, _NUMBER)
        ),
    )  # fmt: skip
