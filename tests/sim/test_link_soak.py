"""The soak of a link: the account comes out for any seed, over reboots and an attacker too, and notices whatever is
done behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns
from flight.link.actions import LinkAction, StoreSecurity
from flight.link.coding.cltu import START, decode_cltu, encode_cltu
from flight.link.security.link_security import Checked
from flight.link.security.numbers import ReceiveNumbers
from flight.link.security.report import FrameSecurityReport
from flight.link.security.suites import SUITES
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, load
from ground.link.actions import Acknowledged
from sim_hw.config import SimConfig
from sim_hw.soak.account import Account, account_of
from sim_hw.soak.attacker import Forgery
from sim_hw.soak.commands import State
from sim_hw.soak.ends import SecurityEnd
from sim_hw.soak.link_soak import LinkSoak, SoakPlan
from sim_hw.soak.protected_frames import SPI_UP, tc_frames
from sim_hw.soak.soak_command import document_of
from sim_hw.soak.uplink_ledger import FARM_RESULTS
from sim_hw.world.channel import Fate
from tests.command_line import command_line

MISSION = load(MISSIONS / "orbit.toml", {"sim": SimConfig})
SIM: SimConfig = MISSION.sections["sim"]
CONFIG = cast("LinkConfig", MISSION.links[0].config)
# The first pass of the mission begins at 932 s and lasts 9 min.
HOURS, COMMANDS = 0.3, 100


def soak(config: LinkConfig = CONFIG, **plan: Any) -> LinkSoak:
    given = {"hours": HOURS, "commands": COMMANDS, **plan}
    return LinkSoak(SoakPlan(**given), config, MISSION.links[0].rate_bps, SIM.acquisition_s, SIM.world)


def flown(run: LinkSoak) -> Account:
    run.advance(run.end_ns)
    return account_of(run)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_command_arrives_once_and_in_order_and_every_counter_is_explained(seed: int) -> None:
    run = soak(seed=seed)
    account = flown(run)
    assert account.failures == []
    assert [(c.serial, c.arrivals, c.state) for c in run.commands.commands] == [
        (serial, 1, State.ACKNOWLEDGED) for serial in range(COMMANDS)
    ]
    up, down = account.figures["up"], account.figures["down"]
    assert up["became"]["dropped"] > 0 and up["with_bit_errors"] > 0 and up["sent"]["retransmissions"] > 0
    assert down["became"]["dropped"] > 0 and down["packets_broken"] > 0
    assert account.figures["ground_counters"]["decoder.symbols_corrected"] > 0
    node, ground = account.figures["node_counters"], account.figures["ground_counters"]
    assert node["security.accepted"] > COMMANDS and ground["security.accepted"] == ground["frames"] > 3_000
    assert account.figures["security"]["node"]["frames_waited"] > 0, "the first command waits for the first record"
    assert ground["security.stores"] > 30


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("plan", "config"),
    [
        ({"bit_error_rate": 2e-3}, CONFIG),
        ({"bit_error_rate": 2e-4}, replace(CONFIG, cltu_errors="detect", tc_randomizer=True)),
        ({"bit_error_rate": 1e-5}, replace(CONFIG, coding="cadu")),
        ({"bit_error_rate": 1e-5, "drop_frac": 0.3}, replace(CONFIG, coding="frame")),
        ({"bit_error_rate": 0.0, "drop_frac": 0.0}, CONFIG),
    ],
    ids=["bad", "detect", "cadu", "bare", "clean"],
)
def test_other_links_and_channels_add_up_as_well(plan: dict[str, Any], config: LinkConfig) -> None:
    for seed in (1, 2):
        account = flown(soak(config, seed=seed, **plan))
        assert account.failures == []


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("frames", "plan", "changes"),
    [
        (2, {"bit_error_rate": 0.0, "drop_frac": 0.0}, {}),
        (2, {"bit_error_rate": 2e-3}, {}),
        (3, {"bit_error_rate": 2e-4}, {"cltu_errors": "detect", "tc_randomizer": True}),
        (4, {"bit_error_rate": 5e-4, "drop_frac": 0.2, "hours": 1.0, "commands": 200, "reboots": 24}, {}),
        (5, {"bit_error_rate": 1e-3, "reboots": 12}, {"uplink_security": "clear"}),
        (8, {"forged": 2.0, "bit_error_rate": 1e-3, "reboots": 12}, {"uplink_security": "encrypted"}),
        (127, {"forged": 2.0}, {}),
    ],
    ids=["clean", "bad", "detect", "reboots", "clear", "forged", "as many as fit"],
)
def test_frames_that_share_a_cltu_have_a_fate_each(frames: int, plan: dict[str, Any], changes: dict[str, Any]) -> None:
    for seed in (1, 2):
        account = flown(soak(replace(CONFIG, cltu_frames=frames, **changes), seed=seed, **plan))
        assert account.failures == []
        up = account.figures["up"]
        assert up["cltus"] * 1.5 < sum(up["sent"].values()) <= up["cltus"] * frames


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [1, 3])
def test_over_reboots_a_command_arrives_once_or_is_said_to_be_lost(seed: int) -> None:
    run = soak(seed=seed, hours=1.0, commands=200, reboots=24)
    account = flown(run)
    assert account.failures == []
    commands = run.commands.commands
    assert {c.state for c in commands} == {State.ACKNOWLEDGED, State.LOST}
    assert all(c.arrivals == 1 for c in commands if c.state is State.ACKNOWLEDGED)
    assert all(c.arrivals <= 1 and c.reason for c in commands if c.state is State.LOST)
    assert account.figures["reboots"]["node"] > 5 and account.figures["reboots"]["ground"] > 5


@pytest.mark.campaign
@pytest.mark.parametrize("up", SUITES)
@pytest.mark.parametrize("down", SUITES)
def test_every_protection_of_each_way_adds_up_over_reboots(up: str, down: str) -> None:
    config = replace(CONFIG, uplink_security=up, downlink_security=down)
    account = flown(soak(config, seed=5, commands=60, reboots=12, forged=1.0 if config.is_protected else 0.0))
    assert account.failures == []
    node, ground = account.figures["node_counters"], account.figures["ground_counters"]
    assert [node.get("security.accepted", 0) > 0, node.get("security.protected", 0) > 0] == [
        up != "clear",
        down != "clear",
    ]
    assert [ground.get("security.protected", 0) > 0, ground.get("security.accepted", 0) > 0] == [
        up != "clear",
        down != "clear",
    ]


def test_frames_wait_for_records_on_both_ends_and_power_goes_while_one_is_stored() -> None:
    run = soak(seed=2, hours=1.0, commands=300, reboots=40)
    account = flown(run)
    assert account.failures == []
    node, ground = account.figures["security"]["node"], account.figures["security"]["ground"]
    assert node["cut_off"] > 0 and node["durable"] > 10
    assert node["frames_waited"] > 0 and node["units_waited"] > 5 and ground["frames_waited"] > 5
    assert ground["skips_after_restarts"] > 3


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, coding="frame", uplink_security="encrypted", tc_segment_header=True, tc_randomizer=True)],
    ids=["orbit", "other"],
)
def test_nothing_forged_is_executed_or_moves_farm(config: LinkConfig) -> None:
    run = soak(config, seed=2, forged=3.0)
    account = flown(run)
    assert account.failures == []
    assert all(command.arrivals == 1 for command in run.commands.commands)
    security, counters = account.figures["security"], account.figures["node_counters"]
    assert set(security["forged_up"]["sent"]) == {kind.value for kind in Forgery}
    assert set(security["forged_down"]["sent"]) == {kind.value for kind in Forgery} - {"control"}
    assert {"rejected: length", "rejected: mac", "rejected: replay"} <= set(security["forged_up"]["became"])
    assert not set(FARM_RESULTS) & set(security["forged_up"]["became"])
    assert set(security["forged_down"]["became"]) >= {"rejected: mac", "rejected: replay"}
    assert "received" not in security["forged_down"]["became"]
    assert counters["security.refused: mac"] > 50 and counters["security.refused: replay"] > 50
    assert security["ground"]["skips_after_reports"] > 0, "who replays frames makes the ground skip numbers,"
    assert security["ground"]["skips_refused"] > 0, "and not without bound"


def test_one_seed_gives_one_account_however_it_is_advanced() -> None:
    whole, pieces = soak(seed=7), soak(seed=7)
    for t_s in range(0, int(HOURS * 3600), 7):
        pieces.advance(ns(float(t_s)))
    first, second = flown(whole), flown(pieces)
    assert document_of(first) == document_of(second)
    assert document_of(first)["up"] != document_of(flown(soak(seed=8)))["up"]


def test_silent_time_is_skipped_and_time_in_contact_is_not() -> None:
    run = soak(hours=1.0)
    (contact,) = run.passes
    run.advance(contact.start_ns)
    assert run.loop.calls <= COMMANDS + 10, "what the operator asks for, and nothing else"
    run.advance(contact.end_ns)
    calls = run.loop.calls
    assert calls > run.down.offered > 24 * (contact.end_ns - contact.start_ns) // ns(1.0), "each frame is made and sent"
    run.advance(run.end_ns)
    assert run.loop.calls - calls <= 20


def test_neither_end_passes_over_an_action_that_it_does_not_know() -> None:
    for end in ("node", "ground"):
        run = soak()
        run.advance(ns(940.0))
        assert run.node.link is not None and run.ground.session is not None
        if end == "node":
            run.node.link.next_unit = lambda: ["an action"]  # type: ignore[method-assign,list-item]
        else:
            run.ground.session.on_downlink = lambda octets, now_ns, dropped=0: ["an action"]  # type: ignore[method-assign,list-item]  # noqa: ARG005
        with pytest.raises(AssertionError, match="nothing here answers to an action"):
            run.advance(run.end_ns)


# What may be done behind the account's back, and what it says of it.
Fault = Callable[[LinkSoak], None]


def nth(number: int, usual: Callable[[bytes], None], instead: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return a call like `usual`, of which the n-th is `instead`."""
    count = 0

    def call(octets: bytes) -> None:
        nonlocal count
        count += 1
        (instead if count == number else usual)(octets)

    return call


def twice(call: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def both(octets: bytes) -> None:
        call(octets)
        call(octets)

    return both


def hear_instead(run: LinkSoak, instead: Callable[[bytes], None]) -> None:
    """Have the node's modem do this with the 50th CLTU."""
    call = nth(50, run.air.modem.hear, instead)
    run.air.modem.hear = call  # type: ignore[assignment,method-assign]


def cltu_twice(run: LinkSoak) -> None:
    hear_instead(run, twice(run.air.modem.hear))


def cltu_swallowed(run: LinkSoak) -> None:
    hear_instead(run, lambda _: None)


def frame_twice(run: LinkSoak) -> None:
    run.air.on_downlink = nth(500, run.air.on_downlink, twice(run.air.on_downlink))


def frame_swallowed(run: LinkSoak) -> None:
    run.air.on_downlink = nth(500, run.air.on_downlink, lambda _: None)


def frame_of_another_time(run: LinkSoak) -> None:
    """A frame goes down that the node's stack made and nobody was told of."""

    def call(octets: bytes) -> None:
        assert run.node.link is not None
        run.node.link.next_unit()
        usual(octets)

    usual = run.air.on_downlink
    run.air.on_downlink = nth(500, usual, call)


def farm_miscounts(run: LinkSoak) -> None:
    def call() -> None:
        assert run.node.link is not None
        run.node.link.farm.counters.repeated += 1

    run.loop.call_at(ns(1000.0), call)


def farm_forgets(run: LinkSoak) -> None:
    """V(R) goes back by one, so the last command is accepted once more when it is repeated, or the next is not."""

    def call() -> None:
        assert run.node.link is not None
        run.node.link.farm.vr = (run.node.link.farm.vr - 1) % 256

    run.loop.call_at(ns(935.5), call)


def session_miscounts(run: LinkSoak) -> None:
    def call() -> None:
        assert run.ground.session is not None
        run.ground.session.counters.frames_missed += 1

    run.loop.call_at(ns(1000.0), call)


def session_confirms_too_early(run: LinkSoak) -> None:
    def call() -> None:
        session = run.ground.session
        assert session is not None
        usual = session.send
        session.send = lambda packet, now_ns, tag: [*usual(packet, now_ns, tag), Acknowledged(tag)]  # type: ignore[method-assign]

    run.loop.call_at(ns(1.0), call)


def bit_flipped_in_secret(run: LinkSoak) -> None:
    """The channel damages a frame beyond repair and says that it arrived as it was sent."""
    hear = run.air.modem.hear
    hear_instead(run, lambda octets: hear(octets[:10] + bytes(8) + octets[18:]))


def frame_cut_out_in_secret(run: LinkSoak) -> None:
    """The node does not look at the last frame of a CLTU."""

    def call() -> None:
        link = run.node.link
        assert link is not None
        usual = link.on_uplink

        def on_uplink(octets: bytes, now_ns: int) -> list[LinkAction]:
            frames = tc_frames(decode_cltu(octets)) if octets and octets[:2] == START else []
            if len(frames) < 2:
                return usual(octets, now_ns)
            link.on_uplink = usual  # type: ignore[method-assign]
            return usual(encode_cltu(b"".join(frames[:-1])), now_ns)

        link.on_uplink = on_uplink  # type: ignore[method-assign]

    run.loop.call_at(ns(940.0), call)


def drop_denied(run: LinkSoak) -> None:
    """The channel drops units and counts them as cut."""
    usual = run.air.up.channel.on_fate
    run.air.up.channel.on_fate = lambda fate, octets: usual(Fate.CUT if fate is Fate.DROPPED else fate, octets)


def node_forgets_numbers(run: LinkSoak) -> None:
    """The node takes numbers again that it has taken."""

    def call() -> None:
        numbers(run).spent = 0

    for t_s in range(933, 1400):
        run.loop.call_at(ns(float(t_s)), call)


def node_takes_any_mac(run: LinkSoak) -> None:
    def call() -> None:
        security = run.node.security.security
        assert security is not None
        usual = security.look

        def look(link: int, header: bytes, body: bytes) -> Checked | str:
            number = int.from_bytes(body[2:10], "big")
            spent = number <= numbers(run).spent
            return usual(link, header, body) if spent else Checked(SPI_UP, number, body[10:-16], False)

        security.look = look  # type: ignore[method-assign]

    run.loop.call_at(ns(940.0), call)


def numbers(run: LinkSoak) -> ReceiveNumbers:
    assert run.node.security.security is not None
    found = run.node.security.security.state.numbers[SPI_UP]
    assert isinstance(found, ReceiveNumbers)
    return found


def without_storing(end: SecurityEnd) -> Callable[[StoreSecurity], None]:
    def store(content: StoreSecurity) -> None:
        assert end.security is not None
        end.asked += 1
        end.durable += 1
        end.security.stored(content.generation)
        end.on_stored()

    return store


def node_stores_nothing(run: LinkSoak) -> None:
    """The node says that its record is durable, and it is not."""
    run.node.security.store = without_storing(run.node.security)  # type: ignore[assignment,method-assign]
    run.loop.call_at(ns(1000.0), run.reboot_node)


def ground_stores_nothing(run: LinkSoak) -> None:
    run.ground.security.store = without_storing(run.ground.security)  # type: ignore[assignment,method-assign]
    run.loop.call_at(ns(1000.0), run.reboot_ground)


def security_miscounts(run: LinkSoak) -> None:
    def call() -> None:
        assert run.node.security.security is not None
        run.node.security.security.counters.refused["key"] += 1

    run.loop.call_at(ns(1000.0), call)


def report_stays_silent(run: LinkSoak) -> None:
    def call() -> None:
        assert run.node.security.security is not None
        run.node.security.security.report = lambda link: FrameSecurityReport()  # type: ignore[method-assign]  # noqa: ARG005

    run.loop.call_at(ns(940.0), call)


FAULTS: dict[Fault, str] = {
    node_forgets_numbers: "a forged frame",
    node_takes_any_mac: "FARM-1 was moved by a forged frame",
    node_stores_nothing: "the node takes numbers above 0 since its boot",
    ground_stores_nothing: "the ground takes numbers above 0 since its start",
    security_miscounts: "node security: refused, key: 1, should be 0",
    report_stays_silent: "a frame security report says",
    cltu_twice: "the node heard a unit of",
    cltu_swallowed: "a CLTU was delivered and not given to the node",
    frame_twice: "octets that the channel did not deliver",
    frame_swallowed: "a frame was delivered and not given to the ground",
    frame_of_another_time: "that was not sent",
    farm_miscounts: "FARM-1",
    farm_forgets: "command",
    session_miscounts: "session: frames missed: ",
    session_confirms_too_early: "was acknowledged and has not arrived",
    bit_flipped_in_secret: "the node heard a unit of",
    drop_denied: "channel: CLTUs dropped: ",
}


@pytest.mark.campaign
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_account_notices_a_fault_behind_its_back(fault: Fault, frames: int) -> None:
    run = soak(replace(CONFIG, cltu_frames=frames), forged=0.5)
    fault(run)
    failures = flown(run).failures
    assert any(FAULTS[fault] in failure for failure in failures), failures


def test_the_account_misses_a_frame_of_a_cltu_that_came_whole() -> None:
    run = soak(replace(CONFIG, cltu_frames=3), bit_error_rate=0.0, drop_frac=0.0)
    frame_cut_out_in_secret(run)
    failures = flown(run).failures
    assert any("the receiver did not find it in a CLTU without wrong bits" in failure for failure in failures), failures


def test_a_dead_link_fails_and_its_account_adds_up() -> None:
    run = soak(drop_frac=1.0)
    account = flown(run)
    assert account.failures == []
    assert account.unfinished.startswith(f"{COMMANDS} of {COMMANDS} commands had not ended when the time was over: the")


def test_a_link_that_the_account_cannot_follow_is_refused() -> None:
    with pytest.raises(OrbitnodeError, match="in clear both ways, so that forged frames are taken"):
        soak(replace(CONFIG, uplink_security="clear", downlink_security="clear"), forged=1.0)
    with pytest.raises(OrbitnodeError, match="convolutional = false"):
        soak(replace(CONFIG, convolutional=True))
    with pytest.raises(OrbitnodeError, match=r"no pass of 30 s or longer in the first 0\.2 h; --hours 0\.3 has one$"):
        soak(hours=0.2)


# The command


def test_the_command_prints_the_account_and_says_how_it_went() -> None:
    words = ("sim", "link", "--hours", "0.3", "--ber", "1e-4", "--drop", "0.05", "--seed", "5", "--commands", "60")
    code, out, err = command_line(*words, "--json")
    document = json.loads(out)
    assert (code, err, document["ok"]) == (0, "", True)
    assert document["commands"]["arrived"] == document["commands"]["acknowledged"] == 60
    assert all(row["holds"] for row in document["rows"]) and len(document["rows"]) > 100
    code, out, err = command_line(*words)
    assert "up authenticated, down authenticated" in " ".join(out.split())
    assert code == 0 and "arrived 60, acknowledged 60" in " ".join(out.split()) and "counters and sums hold" in out


def test_the_command_shows_what_became_of_forged_frames() -> None:
    words = ("sim", "link", "--hours", "0.3", "--seed", "5", "--commands", "60", "--forge", "1")
    code, out, err = command_line(*words)
    text = " ".join(out.replace("│", " ").split())
    assert code == 0, err
    assert "forged up, what became of" in text and "rejected: mac" in text and "forged down" in text


def test_the_command_fails_if_commands_do_not_arrive() -> None:
    words = ("sim", "link", "--hours", "0.3", "--ber", "0.01", "--drop", "0.5", "--commands", "9", "--json")
    code, out, err = command_line(*words)
    assert (code, json.loads(out)["ok"]) == (1, False)
    assert err.startswith("not done: 9 of 9 commands had not ended when the time was over: the link carries too little")
    assert "does not add up" not in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("link", "--hours", "0"), "--hours is 0, should be above 0 and at most 2400"),
        (("link", "--hours", "nan"), "--hours is nan, should be above 0"),
        (("link", "--hours", "x"), "argument --hours: invalid float value: 'x'"),
        (("link", "--ber", "0.6"), "--ber is 0.6, should be 0 .. 0.01"),
        (("link", "--ber", "-1"), "--ber is -1, should be 0 .. 0.01"),
        (("link", "--drop", "1"), "--drop is 1, should be 0 .. 0.5"),
        (("link", "--seed", "-1"), "--seed is -1, should be 0 .. 2^63 - 1"),
        (("link", "--commands", "0"), "--commands is 0, should be 1 .. 1,000,000"),
        (("link", "--reboots", "-1"), "--reboots is -1, should be 0 .. 10,000"),
        (("link", "--forge", "-1"), "--forge is -1, should be 0 .. 100"),
        (("link", "--forge", "nan"), "--forge is nan, should be 0 .. 100"),
        (("link", "--speed", "2"), "--speed is an option of `orbitnode sim` without `link`"),
        (("--hours", "2"), "--hours is an option of `orbitnode sim link`"),
        (("--json",), "--json is an option of `orbitnode sim link`"),
        (("lnk",), "invalid choice: 'lnk'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_arguments_are_refused(words: tuple[str, ...], text: str) -> None:
    code, out, err = command_line("sim", *words)
    assert (code, out) == (2, "")
    assert text in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--mission", "/absent.toml"), "mission file /absent.toml cannot be read"),
        (("--hours", "0.1"), "no pass of 30 s or longer in the first 0.1 h; --hours 0.3 has one"),
    ],
)
def test_what_cannot_begin_says_why(words: tuple[str, ...], text: str) -> None:
    code, out, err = command_line("sim", "link", *words)
    assert (code, out) == (1, "")
    assert text in err
