"""Recognises files of other kinds by their first octets.

If nothing else is found in a file, the user learns what it is: most often it is compressed, or of another tool.
"""

from __future__ import annotations

import json

_BEGINNINGS = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x7fELF", "an ELF program"),
    (b"\xd4\xc3\xb2\xa1", "a pcap capture"),
    (b"\xa1\xb2\xc3\xd4", "a pcap capture"),
    (b"\x4d\x3c\xb2\xa1", "a pcap capture"),
    (b"\x0a\x0d\x0d\x0a", "a pcapng capture"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"CDF\x01", "a NetCDF file"),
    (b"CDF\x02", "a NetCDF file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"%PDF-", "a PDF file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x93NUMPY", "a NumPy array"),
)
_QUOTED_OCTETS = 16  # of a text
_TEXT_FRAC = 0.95  # of printable ASCII; the rest may be letters of other scripts in UTF-8


def known_file(beginning: bytes) -> str:
    """Return what a file that begins like this most likely is; empty if that cannot be told."""
    for magic, kind in _BEGINNINGS:
        if beginning.startswith(magic):
            return kind
    printable = sum(octet in b"\t\n\r" or 32 <= octet < 127 for octet in beginning)
    if len(beginning) < 8 or printable < _TEXT_FRAC * len(beginning):
        return ""
    # Quoted: octets of a recorder may be printable by chance, and whoever sees them knows.
    return f"text ({json.dumps(beginning[:_QUOTED_OCTETS].decode(errors='ignore'))})"
