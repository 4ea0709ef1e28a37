"""The order in which telemetry leaves: packets behind a place that is held, and how long nobody waits."""

from __future__ import annotations

from flight.services.reporting.telemetry import LINE_MAX, Telemetry


class Line:
    """Telemetry whose recorder takes everything down, and packets by what is in them."""

    def __init__(self) -> None:
        self.left: list[bytes] = []
        self.keeps = True
        self.told: list[tuple[bytes, bool]] = []
        self.telemetry = Telemetry(lambda: 0, self)

    def store(self, packet: bytes, heard: bool) -> bool:
        assert not heard
        self.left.append(packet)
        return self.keeps

    def emit(self, packet: bytes) -> None:
        self.telemetry.emit(packet, lambda said: self.told.append((packet, said)))


def test_with_nothing_held_a_packet_leaves_as_it_is_made() -> None:
    line = Line()
    line.emit(b"a")
    assert line.left == [b"a"] and line.told == [(b"a", True)]
    line.keeps = False
    line.emit(b"b")
    assert line.told[-1] == (b"b", False)


def test_what_is_behind_a_held_place_follows_what_is_said_there() -> None:
    line = Line()
    first, second = line.telemetry.hold(), line.telemetry.hold()
    line.emit(b"c")
    line.telemetry.settle(second, [(b"b", lambda said: line.told.append((b"b", said)))])
    assert line.left == [] and line.told == []
    line.keeps = False
    line.telemetry.settle(first, [(b"a", lambda said: line.told.append((b"a", said)))])
    assert line.left == [b"a", b"b", b"c"] and line.told == [(b"a", False), (b"b", False), (b"c", False)]
    line.emit(b"d")
    assert line.left[-1] == b"d"


def test_a_place_that_is_let_go_holds_nobody_and_may_be_settled_still() -> None:
    line = Line()
    place = line.telemetry.hold()
    line.emit(b"b")
    line.telemetry.let_go(place)
    line.telemetry.let_go(place)
    assert line.left == [b"b"]
    line.telemetry.settle(place, [(b"a", lambda _: None)])
    assert line.left == [b"b", b"a"]
    line.telemetry.let_go(place)
    assert line.left == [b"b", b"a"]


def test_the_line_is_bounded() -> None:
    line = Line()
    line.telemetry.hold()
    packets = [b"%d" % number for number in range(LINE_MAX + 3)]
    for packet in packets[: LINE_MAX - 1]:
        line.emit(packet)
    assert line.left == [] and line.telemetry.overtaken == 0
    for packet in packets[LINE_MAX - 1 :]:
        line.emit(packet)
    assert line.left == packets and line.telemetry.overtaken == 1


def test_a_packet_that_is_made_while_others_leave_is_behind_them() -> None:
    line = Line()
    place = line.telemetry.hold()
    line.emit(b"c")
    line.telemetry.settle(place, [(b"a", lambda _: line.emit(b"d")), (b"b", lambda _: None)])
    assert line.left == [b"a", b"b", b"c", b"d"]


def test_places_end_in_any_order() -> None:
    line = Line()
    places = [line.telemetry.hold() for _ in range(3)]
    for place in (places[2], places[0]):
        line.telemetry.settle(place, [(b"%d" % places.index(place), lambda _: None)])
    assert line.left == [b"0"]
    line.telemetry.let_go(places[1])
    assert line.left == [b"0", b"2"]


def test_at_the_end_nothing_is_held() -> None:
    line = Line()
    first = line.telemetry.hold()
    line.emit(b"b")
    second = line.telemetry.hold()
    line.emit(b"d")
    line.telemetry.end()
    assert line.left == [b"b", b"d"]
    for place, packet in ((second, b"c"), (first, b"a")):
        line.telemetry.settle(place, [(packet, lambda _: None)])
    assert line.left == [b"b", b"d", b"c", b"a"]
