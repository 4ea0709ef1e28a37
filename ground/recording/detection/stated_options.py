"""What a user stated of a recording: which forms that leaves, and how it is written on the command line."""

# An option is about something that the file then must have: `--spacecraft` about frames, `--coding rs223` about units,
# `--skip` about a file of packets. A reading without it would drop the option in silence. A mission file is different:
# it describes the link, and the file may hold any layer of it. So only what the user stated himself counts here.

from __future__ import annotations

from ground.recording.streams.link_options import Form, LinkOptions

_OF_FRAMES = frozenset({
    "service", "frame_octets", "has_fecf", "has_ocf", "insert_octets", "has_header_control", "spacecraft_id", "vcids",
    "security_header_octets", "security_trailer_octets",
    "coding", "interleave", "randomizer", "convolutional",
})  # fmt: skip
_UNCODED = (None, "none", False)  # bare frames have no coding either
_FLAGS = {
    "form": "--as", "service": "--service", "frame_octets": "--frame-octets", "insert_octets": "--insert-octets",
    "interleave": "--interleave", "randomizer": "--randomizer", "skip_octets": "--skip",
    "security_header_octets": "--security-header", "security_trailer_octets": "--security-trailer",
}  # fmt: skip
_CODINGS = {"none": "none", "rs(255,223)": "rs223", "rs(255,239)": "rs239"}
_SWITCHES = {
    "has_fecf": "fecf", "has_ocf": "ocf", "has_header_control": "header-control", "convolutional": "convolutional",
    "any_version": "any-version",
}  # fmt: skip


def forms_of(stated: LinkOptions) -> frozenset[Form]:
    """Return the forms that a recording may have: the stated one, or those that have all that was stated."""
    # A stated form is final: Python may add it to all that a mission says of a link (`LinkOptions.from_config`).
    return _forms_with(stated) if stated.form is None else frozenset({stated.form})


def contradictions(stated: LinkOptions) -> list[str]:
    """Return one line if no form has all that was stated, else nothing."""
    if _forms_with(stated) & (set(Form) if stated.form is None else {stated.form}):
        return []
    return [f"{' '.join(written(stated))}: no recording has all of these; leave out what is of another form"]


def _forms_with(stated: LinkOptions) -> frozenset[Form]:
    """Return the forms that have what the options besides the form are about."""
    forms = set(Form)
    if _OF_FRAMES & stated.stated().keys():
        forms &= {Form.UNITS, Form.FRAMES}
    codings = (stated.coding, stated.randomizer, stated.convolutional)
    if stated.interleave is not None or any(value not in _UNCODED for value in codings):
        forms &= {Form.UNITS}
    if stated.skip_octets is not None:
        forms &= {Form.PACKETS}
    return frozenset(forms)


def written(stated: LinkOptions) -> list[str]:
    """Return what was stated as the options of `orbitnode decode`, but for those that do not bear on detection."""
    out = []
    for name, value in stated.stated().items():
        if name == "coding":
            out.append(f"--coding {_CODINGS.get(str(value), value)}")
        elif name == "vcids":
            out += [f"--vcid {vcid}" for vcid in stated.vcids or ()]
        elif name == "spacecraft_id":
            spacecraft = stated.spacecraft_id or 0
            # As the evidence writes it, so that the two can be compared.
            out.append(f"--spacecraft {spacecraft:#x}" if spacecraft > 9 else f"--spacecraft {spacecraft}")
        elif name in _FLAGS:
            out.append(f"{_FLAGS[name]} {value}")
        elif name in _SWITCHES:
            out.append(f"--{'' if value else 'no-'}{_SWITCHES[name]}")
    return out
