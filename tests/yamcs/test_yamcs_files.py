"""A real Yamcs as the other end of CFDP: both classes, both directions, losses, a contact that ends, and cancels.

file_cases.py says which row of the page about interoperability each of these holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from flight.contract.parameter_table import encode_table
from tests.waiting import wait_until
from tests.yamcs.postcard import content
from tests.yamcs.rig import Rig

_FILES_VCID = 2
_LARGE_OCTETS = 1_000_000


def is_of_files(frame: bytes) -> bool:
    """Return whether a telemetry frame belongs to the channel of files."""
    return frame[1] >> 1 & 7 == _FILES_VCID


def numbered(*numbers: int) -> Callable[[bytes], bool]:
    """Return what loses the frames of files that come as these, counted from 0."""
    count = itertools.count()
    return lambda frame: is_of_files(frame) and next(count) in numbers


@pytest.fixture(autouse=True)
def no_losses_afterwards(commanded: Rig) -> Iterator[None]:
    yield
    commanded.relay.loses_down = lambda _frame: False


def says(rig: Rig, *words: str) -> None:
    """Wait until the node has said all of these words in one event."""
    wait_until(
        lambda: any(all(word in event["message"] for word in words) for event in rig.yamcs.events()),
        f"the node says {words}",
    )


def is_on_board(rig: Rig, directory: str, name: str) -> bool:
    ended = rig.yamcs.end_of(lambda: rig.yamcs.issue("report_file", directory=directory, name=name))
    return bool(ended["CommandComplete_Status"] == "OK")


def product(rig: Rig, octets: int) -> str:
    """Have a product made, and return its name."""
    rig.yamcs.do("send_postcard", octets=octets)
    return f"postcard-{octets}.bin"


def arrived(rig: Rig, name: str, octets: int) -> None:
    """Wait until the product is in Yamcs by class 2, whole, and deleted on board."""
    transfer = rig.yamcs.until_transferred(name)
    assert (transfer["direction"], transfer["reliable"], transfer["failureReason"]) == ("DOWNLOAD", True, "")
    assert transfer["totalSize"] == transfer["sizeTransferred"] == str(octets)
    assert rig.yamcs.file("cfdpDown", name) == content(octets)
    wait_until(lambda: not is_on_board(rig, "products", name), f"{name} is deleted on board")


def sent_up(rig: Rig, name: str, octets: int, *, reliable: bool = True) -> None:
    rig.yamcs.put_object("cfdpUp", name, content(octets))
    rig.yamcs.upload(name, reliable=reliable)


@pytest.mark.parametrize("octets", [1, 1024, 50_001])
def test_a_product_arrives_and_is_deleted_on_board(commanded: Rig, octets: int) -> None:
    name = product(commanded, octets)
    arrived(commanded, name, octets)
    assert commanded.ours().files[name] == content(octets), "and our ground reads the same out of the same frames"


def test_frames_that_are_lost_are_asked_for_again(commanded: Rig) -> None:
    commanded.relay.loses_down = numbered(0, 5, 6, 20)
    before = len(commanded.relay.lost)
    arrived(commanded, product(commanded, 40_000), 40_000)
    assert len(commanded.relay.lost) == before + 4


def test_a_file_that_is_lost_whole_is_sent_again(commanded: Rig) -> None:
    commanded.relay.loses_down = numbered(*range(5))
    arrived(commanded, product(commanded, 300), 300)


@pytest.mark.parametrize("octets", [1, 1024, 50_001])
def test_a_file_goes_up_and_yamcs_knows_that_it_is_there(commanded: Rig, octets: int) -> None:
    name = f"up-{octets}.bin"
    sent_up(commanded, name, octets)
    transfer = commanded.yamcs.until_transferred(name)
    assert (transfer["direction"], transfer["reliable"]) == ("UPLOAD", True)
    assert is_on_board(commanded, "uploads", name)


def test_a_finished_that_is_lost_comes_again(commanded: Rig) -> None:
    commanded.relay.loses_down = numbered(0, 1)
    sent_up(commanded, "told-late.bin", 2000)
    commanded.yamcs.until_transferred("told-late.bin")
    assert is_on_board(commanded, "uploads", "told-late.bin")


def test_a_file_that_yamcs_asks_for_comes_down(commanded: Rig) -> None:
    sent_up(commanded, "asked-for.bin", 30_000)
    commanded.yamcs.until_transferred("asked-for.bin")
    commanded.yamcs.download("uploads/asked-for.bin", "got.bin")
    assert commanded.yamcs.file("cfdpDown", "got.bin") == content(30_000)
    assert is_on_board(commanded, "uploads", "asked-for.bin"), "a file that is asked for stays"


def test_yamcs_lists_a_directory_of_the_node(commanded: Rig) -> None:
    sent_up(commanded, "listed.bin", 77)
    commanded.yamcs.until_transferred("listed.bin")
    rows = [line.split("\t") for line in commanded.yamcs.listing("uploads")]
    assert ["listed.bin", "77"] in [row[:2] for row in rows]


# Class 1


def test_a_file_comes_down_by_class_1(commanded: Rig) -> None:
    sent_up(commanded, "once.bin", 20_000)
    commanded.yamcs.until_transferred("once.bin")
    commanded.yamcs.do("downlink_file", directory="uploads", name="once.bin", cfdp_class="class 1")
    assert commanded.yamcs.file("cfdpDown", "uploads_once.bin") == content(20_000)
    transfer = commanded.yamcs.until_transferred("once.bin")
    assert (transfer["direction"], transfer["reliable"]) == ("DOWNLOAD", False)


def test_a_parameter_table_goes_up_by_class_1_and_is_loaded(commanded: Rig) -> None:
    settings = commanded.dictionary.settings
    commanded.yamcs.put_object("cfdpUp", "night.table", encode_table(settings, {"heater_on_c": 3.5}))
    commanded.yamcs.upload("night.table", reliable=False)
    transfer = commanded.yamcs.until_transferred("night.table")
    assert (transfer["direction"], transfer["reliable"]) == ("UPLOAD", False)
    says(commanded, "night.table", "came up")
    commanded.yamcs.do("load_parameter_table", name="night.table")
    number = next(setting.number for setting in settings if setting.name == "heater_on_c")
    commanded.yamcs.do("report_parameters", parameters=[{"parameter": number}])
    row = [{"parameter": number, "value": 3.5}]
    wait_until(lambda: commanded.yamcs.live("parameter_values__parameters") == row, f"{row} is reported")


# Cancels and the end of a contact: last, because a product that was refused is sent again in the next contact


def test_yamcs_cancels_what_it_sends(commanded: Rig) -> None:
    sent_up(commanded, "stopped.bin", _LARGE_OCTETS)
    commanded.yamcs.cancel(commanded.yamcs.transfers("stopped.bin")[0])
    assert commanded.yamcs.until_ended("stopped.bin")["state"] == "FAILED"
    says(commanded, "stopped.bin", "did not come up whole")
    assert not is_on_board(commanded, "uploads", "stopped.bin")


def test_the_node_cancels_what_it_receives(commanded: Rig) -> None:
    sent_up(commanded, "unwanted.bin", _LARGE_OCTETS)
    number = commanded.yamcs.transfers("unwanted.bin")[0]["transactionId"]["sequenceNumber"]
    commanded.yamcs.do("cancel_transfer", entity=1, number=number)
    assert commanded.yamcs.until_ended("unwanted.bin")["state"] == "FAILED"
    assert not is_on_board(commanded, "uploads", "unwanted.bin")


def test_the_node_cancels_what_it_sends(commanded: Rig) -> None:
    name = product(commanded, _LARGE_OCTETS - 1)
    wait_until(lambda: commanded.yamcs.transfers(name), f"{name} has begun")
    commanded.yamcs.do("cancel_transfer", entity=2, number=commanded.ours().transfers[name])
    assert commanded.yamcs.until_ended(name)["state"] == "FAILED"
    assert is_on_board(commanded, "products", name), "a product rests if a command cancels its transfer"


def test_a_file_goes_on_in_the_next_contact(commanded: Rig) -> None:
    name = product(commanded, _LARGE_OCTETS)
    wait_until(lambda: commanded.yamcs.transfers(name), f"{name} has begun")
    commanded.relay.shut()
    commanded.node.says("contact lost")
    assert commanded.yamcs.transfers(name)[0]["state"] == "RUNNING"
    commanded.relay.open()
    arrived(commanded, name, _LARGE_OCTETS)


def test_yamcs_cancels_what_it_receives(commanded: Rig) -> None:
    name = product(commanded, _LARGE_OCTETS - 2)
    wait_until(lambda: commanded.yamcs.transfers(name), f"{name} has begun")
    commanded.yamcs.cancel(commanded.yamcs.transfers(name)[0])
    assert commanded.yamcs.until_ended(name)["state"] == "FAILED"
    assert is_on_board(commanded, "products", name), "it is tried again in the next contact"
