"""Any CFDP PDU: whatever the octets, `decode_pdu` returns one or raises DecodeError (CCSDS 727.0-B-5, 5)."""

# The machines take file data of a transaction that they know by split_file_data, and come here with all the rest.

from __future__ import annotations

from collections.abc import Callable

from flight.core.errors import DecodeError
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, decode_header
from flight.link.cfdp.tlv import FieldReader

FileDirective = Metadata | EndOfFile | Finished | Ack | Nak | Prompt | KeepAlive
Pdu = FileDirective | FileData

# By code: what the directive is called in an error, and its decoder.
_DIRECTIVES: dict[int, tuple[str, Callable[[Header, FieldReader], FileDirective]]] = {
    Directive.EOF: ("EOF", EndOfFile.decode),
    Directive.FINISHED: ("Finished", Finished.decode),
    Directive.ACK: ("ACK", Ack.decode),
    Directive.METADATA: ("metadata", Metadata.decode),
    Directive.NAK: ("NAK", Nak.decode),
    Directive.PROMPT: ("prompt", Prompt.decode),
    Directive.KEEP_ALIVE: ("keep alive", KeepAlive.decode),
}


def decode_pdu(raw: bytes | memoryview) -> Pdu:
    """Decode exactly `raw`; raises DecodeError if that is not a PDU."""
    framed = decode_header(raw)
    if framed.is_file_data:
        return FileData.decode(framed, raw)
    code = raw[framed.start]
    if code not in _DIRECTIVES:
        raise DecodeError(f"CFDP directive {code}, the standard has {', '.join(map(str, sorted(_DIRECTIVES)))}")
    what, decode = _DIRECTIVES[code]
    return decode(framed.header, FieldReader(bytes(raw[framed.start + 1 : framed.end]), what))
