"""Who gets into the ground's API, and who keeps a place there: tokens, strangers, and clients that are gone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flight.core.errors import OrbitnodeError, SetupError
from ground.changes import Change, Packet
from ground.cli.api.client import GroundClient
from ground.config import GroundConfig
from ground.files.transfer_folder import TransferFolder
from ground.link.tm_tc_session import GroundSession
from ground.products.product_store import ProductStore
from ground.server import api as api_module
from ground.server import api_token, connection
from ground.server.api import STRANGERS_MAX, Api, Services
from ground.server.api_token import ApiToken, read_token, token_path
from ground.server.requests import LINE_OCTETS_MAX
from ground.station import GroundStation
from ground.telemetry.decoder import REPORT, DecodedPacket
from tests.ground_dictionary import make
from tests.link_ends import BARE
from tests.live_ground import GROUND, ROOT, Ground, hello
from tests.ports import HOST, free_port
from tests.waiting import GIVE_UP_S, wait_until

COMMAND = b'{"do": "command", "name": "ping", "bypass": true, "timeout_s": 60}\n'
NOT_REQUESTS = {
    "post": b"POST / HTTP/1.1\r\nHost: localhost:10020\r\nContent-Type: text/plain\r\nContent-Length: 67\r\n\r\n",
    "get": b"GET / HTTP/1.1\r\n\r\n",
    "options": b"OPTIONS * HTTP/1.1\r\n",
    "text": b"not json\n",
    "octets": bytes(range(256)) + b"\n",
    "nothing": b"\n",
    "list": b"[]\n",
    "number": b"5\n",
    "null": b"null\n",
    "without do": b'{"name": "ping"}\n',
    "do of a strange kind": b'{"do": 5}\n',
    "deep": b"[" * 30_000 + b"\n",
    "long": b'{"do": "status", "name": "' + b"x" * LINE_OCTETS_MAX + b'"}\n',
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("ground"))
    yield made
    made.kill()


@pytest.fixture(scope="module")
def another_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """For those who spoil what the others count."""
    made = Ground(tmp_path_factory.mktemp("another"))
    yield made
    made.kill()


@pytest.fixture
def own_ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.kill()


def said(ground: Ground, octets: bytes) -> list[dict[str, Any]]:
    """What the ground answers to these octets of a new connection, until it ends that."""
    with socket.create_connection((HOST, ground.api), GIVE_UP_S) as one:
        answer = b""
        try:
            one.sendall(octets)
            while octets := one.recv(65536):
                answer += octets
        except ConnectionError:  # it ended before it had read all
            pass
    return [json.loads(line) for line in answer.splitlines()]


def line_of(request: dict[str, Any]) -> bytes:
    return json.dumps(request).encode() + b"\n"


def status(ground: Ground) -> dict[str, Any]:
    with GroundClient(ground.api) as client:
        return client.ask(do="status")


def sent(ground: Ground) -> int:
    return int(status(ground)["counters"]["commands.sent"])


# Who gets in


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", NOT_REQUESTS)
def test_what_is_not_a_request_ends_the_connection_and_nothing_behind_it_is_done(
    ground: Ground, kind: str, known: bool
) -> None:
    """A web page makes a browser send such octets, with whatever it likes behind them."""
    before = sent(ground)
    answers = said(ground, (hello(ground.api) if known else b"") + NOT_REQUESTS[kind] + COMMAND)
    if answers and known:
        assert answers.pop(0) == {"done": True}
    assert len(answers) <= 1 and all("error" in answer for answer in answers)
    assert sent(ground) == before


@pytest.mark.parametrize(
    "first",
    [
        COMMAND,
        b'{"do": "status"}\n',
        b'{"do": "operate"}\n',
        b'{"do": "fly"}\n',
        b'{"do": "hello"}\n',
        b'{"do": "hello", "token": ""}\n',
        b'{"do": "hello", "token": "%s"}\n' % (b"0" * 64),
        b'{"do": "hello", "token": "\\ud800"}\n',
        b'{"do": "hello", "token": 5}\n',
        b'{"do": "hello", "token": null}\n',
        b'{"do": "status", "token": "%s"}\n',
    ],
)
def test_nothing_is_answered_before_the_token_is_shown(ground: Ground, first: bytes) -> None:
    if b"%s" in first:
        first %= read_token(ground.api).encode()
    before = status(ground)
    (answer,) = said(ground, first + COMMAND)
    assert answer.keys() == {"error"} and read_token(ground.api) not in answer["error"]
    after = status(ground)
    assert after["counters"]["commands.sent"] == before["counters"]["commands.sent"]
    assert after["strangers"] == before["strangers"] + 1


def test_a_client_with_a_wrong_token_is_told_so(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.cli.api.client.read_token", lambda _: "0" * 64)
    with pytest.raises(OrbitnodeError, match="the token is not that of this ground, which makes a new one at each"):
        GroundClient(ground.api)


def test_a_token_is_private_new_at_each_start_and_gone_at_the_end(own_ground: Ground) -> None:
    path = token_path(own_ground.api)
    assert str(path) in own_ground.welcome
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    first = read_token(own_ground.api)
    own_ground.process.kill()  # it leaves its token behind
    own_ground.process.communicate()
    assert read_token(own_ground.api) == first
    own_ground.process = own_ground.start()
    assert own_ground.process.stderr is not None
    own_ground.process.stderr.readline()
    assert read_token(own_ground.api) != first
    assert "error" in said(own_ground, json.dumps({"do": "hello", "token": first}).encode() + b"\n")[0]
    assert status(own_ground)["contact"] is False
    assert own_ground.stop() == 0 and not path.exists()
    assert [one.name for one in path.parent.iterdir() if str(own_ground.api) in one.name] == []


def test_each_port_has_a_token_of_its_own_and_a_second_ground_on_one_takes_none_away(
    another_ground: Ground, ground: Ground, tmp_path: Path
) -> None:
    token = read_token(another_ground.api)
    assert token != read_token(ground.api)
    numbers = [str(n) for n in (free_port(), free_port(), another_ground.api, 1.0)]
    second = subprocess.run(
        [sys.executable, "-c", GROUND, str(tmp_path / "second"), *numbers], cwd=ROOT, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=GIVE_UP_S, check=False,
    )  # fmt: skip
    assert f"TCP port {another_ground.api}: is in use; is another ground running?" in second.stderr
    assert second.returncode == 1 and read_token(another_ground.api) == token
    assert status(another_ground)["contact"] is False


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(api_token.FOLDER_VARIABLE, str(tmp_path / "tokens"))
    return tmp_path / "tokens"


def foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)


def foreign_folder(folder: Path) -> None:
    folder.mkdir()
    foreign(folder)


def replaced(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


def moved_to_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.chmod(0o640), r"is open to others \(mode 0640\), should be 0600"),
        (lambda path: path.chmod(0o604), r"is open to others \(mode 0604\), should be 0600"),
        (lambda path: path.parent.chmod(0o701), r"is open to others \(mode 0701\), should be 0700"),
        (moved_to_a_link, "is a symbolic link, should be a file"),
        (lambda path: moved_to_a_link(path.parent), "or a symbolic link to one"),
        (foreign, r"belongs to user 12345, should belong to user 0"),
        (lambda path: foreign(path.parent), r"belongs to user 12345, should belong to user 0"),
        (lambda path: replaced(path, os.mkfifo), "is not a file"),
        (lambda path: replaced(path, lambda at: at.mkdir(mode=0o700)), "is not a file"),
        (lambda path: path.unlink(), "there is no .*copy its token there"),
        (lambda path: path.write_text("0" * 63 + "\n"), "does not hold a token, which is 64"),
        (lambda path: path.write_text("0" * 65 + "\n"), "does not hold a token, which is 64"),
        (lambda path: path.write_bytes(b"\xff" * 65), "does not hold a token, which is 64"),
    ],
)
def test_a_token_that_others_may_have_put_there_or_may_read_is_refused(
    folder: Path, spoil: Callable[[Path], None], says: str
) -> None:
    ApiToken(7).publish()
    path = folder / "api-7.token"
    assert len(read_token(7)) == 64
    spoil(path)
    with pytest.raises(OrbitnodeError, match=says) as refused:
        read_token(7)
    assert "\n" not in str(refused.value)


def test_a_token_is_published_whole_and_through_no_link(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    first, second = ApiToken(7), ApiToken(7)
    first.publish()
    for name in ("api-7.token", ".api-7.token.new"):  # the second is what a kill may leave
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(other)
    before = os.umask(0o777)
    try:
        second.publish()
    finally:
        os.umask(before)
    assert second.is_shown(read_token(7)) and not first.is_shown(read_token(7))
    assert other.read_text() == "kept" and sorted(one.name for one in folder.iterdir()) == ["api-7.token"]
    second.withdraw()
    second.withdraw()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: folder.write_text(""), "is not a folder"),
        (lambda folder: folder.symlink_to(folder.parent), "or a symbolic link to one"),
        (lambda folder: folder.mkdir() or folder.chmod(0o777), r"is open to others \(mode 0777\), should be 0700"),
        (lambda folder: folder.mkdir() or (folder / "api-7.token").mkdir(), "Is a directory; name another folder"),
        (foreign_folder, "belongs to user 12345"),
    ],
)
def test_a_ground_refuses_a_place_that_others_rule(folder: Path, spoil: Callable[[Path], object], says: str) -> None:
    before = os.umask(0o077)
    try:
        spoil(folder)
    finally:
        os.umask(before)
    with pytest.raises(SetupError, match=says):
        ApiToken(7).publish()


def test_without_a_variable_it_lies_in_the_users_own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(api_token.FOLDER_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token_path(10020) == tmp_path / ".cache" / "orbitnode" / "tokens" / "api-10020.token"
    ApiToken(10020).publish()
    assert stat.S_IMODE(token_path(10020).parent.stat().st_mode) == 0o700


# Who keeps a place


class Served:
    """An API on a port of its own, in a thread, for tests that turn its limits down."""

    def __init__(self, clients: int = 4) -> None:
        self.folder = tempfile.TemporaryDirectory()
        files = Path(self.folder.name)
        self.station = GroundStation(
            make(), GroundSession(BARE), epoch_tai_ns=0, products=ProductStore(files / "products"),
            transfers=TransferFolder(files / "transfers"),
        )  # fmt: skip
        self.token = ApiToken(1)
        services = Services(self.station, GroundConfig(clients=clients), lambda _: None, self.token)
        self.counters = services.counters
        self.api = Api(services)
        self.loop = asyncio.new_event_loop()
        self.port = 0
        self._up = threading.Event()
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._up.wait(GIVE_UP_S)

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self.api.connected, HOST, 0, limit=LINE_OCTETS_MAX)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._end.wait()
        server.close()
        await self.api.close()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self.loop.close()
        self.folder.cleanup()

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), GIVE_UP_S)

    def client(self, *requests: dict[str, Any]) -> socket.socket:
        """One that is known, and has asked this."""
        made = self.connect()
        made.sendall(line_of({"do": "hello", "token": self.token._text}))
        assert made.recv(1024) == line_of({"done": True})
        made.sendall(b"".join(map(line_of, requests)))
        return made

    @property
    def places(self) -> int:
        return len(self.api._clients)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(connection, "LOOK_S", 0.05)
    made = Served()
    yield made
    made.close()


def test_strangers_that_say_nothing_keep_nobody_out(another_ground: Ground) -> None:
    silent = [socket.create_connection((HOST, another_ground.api), GIVE_UP_S) for _ in range(3 * STRANGERS_MAX)]
    assert status(another_ground)["contact"] is False
    for one in silent:
        one.close()


def test_strangers_that_come_at_once_are_no_more_than_there_may_be(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are accepted in one turn of the loop: each must send another one away."""
    monkeypatch.setattr(api_module, "HELLO_S", 4 * GIVE_UP_S)
    busy, come = threading.Event(), threading.Event()

    def keep_busy() -> None:
        busy.set()
        come.wait(GIVE_UP_S)

    served.loop.call_soon_threadsafe(keep_busy)
    assert busy.wait(GIVE_UP_S)
    silent = [served.connect() for _ in range(90)]  # asyncio lets 100 wait
    come.set()
    with served.client():  # behind them
        gone = len(silent) - STRANGERS_MAX
        wait_until(lambda: served.counters.strangers >= gone, "as many have gone as are too many")
        assert len(served.api._strangers) <= STRANGERS_MAX
    for one in silent:
        one.close()


@pytest.mark.parametrize("slowly", [False, True])
def test_a_stranger_has_its_time(served: Served, monkeypatch: pytest.MonkeyPatch, slowly: bool) -> None:
    """One that says nothing, and one that says its token octet by octet."""
    monkeypatch.setattr(api_module, "HELLO_S", 0.3)
    with served.connect() as one:
        one.settimeout(0.02 if slowly else GIVE_UP_S)
        answer = b""
        line = iter(json.dumps({"do": "hello", "token": served.token._text}).encode())
        while not answer.endswith(b"\n"):
            if slowly:
                one.sendall(bytes((next(line),)))
            try:
                answer += one.recv(65536)
            except TimeoutError:
                continue
        assert json.loads(answer) == {"error": "no hello within 0.3 s"}
    wait_until(lambda: served.counters.strangers == 1, "it is counted")


WAITING: dict[str, list[dict[str, Any]]] = {
    "command": [{"do": "command", "name": "ping", "timeout_s": 3600}],
    "files_put": [{"do": "files_put", "name": "a", "octets": "00", "timeout_s": 3600}],
    "files_get": [{"do": "files_get", "name": "products/a"}],
    "follow": [{"do": "follow", "what": "packets"}],
    "send": [{"do": "operate"}, {"do": "send", "name": "ping"}],
    "wait_for": [{"do": "operate"}, {"do": "wait_for", "name": "power", "timeout_s": 1e6}],
    "wait_contact": [{"do": "operate"}, {"do": "wait_contact", "timeout_s": 1e6}],
}


@pytest.mark.parametrize("more", [[], [{"do": "status"}]])
@pytest.mark.parametrize("what", WAITING)
def test_whoever_goes_while_a_request_takes_long_keeps_no_place(
    served: Served, what: str, more: list[dict[str, Any]]
) -> None:
    """Also one that has said more than was read."""
    listening = len(served.station._listeners._listeners)
    one = served.client(*WAITING[what])
    wait_until(lambda: len(served.station._listeners._listeners) > listening, "it waits")
    one.sendall(b"".join(map(line_of, more)))
    one.close()
    wait_until(lambda: served.places == 0, "its place is free")
    assert len(served.station._listeners._listeners) == listening
    if what in ("command", "send"):
        assert served.station.tracker.open_count == 1, "what was sent goes on"


def test_commands_of_clients_that_have_gone_do_not_block_a_ground(another_ground: Ground) -> None:
    places = GroundConfig().clients
    for _ in range(places):
        one, answers = another_ground.connect()
        with one, answers:
            one.sendall(line_of({"do": "command", "name": "ping", "timeout_s": 3600}))
            assert json.loads(answers.readline())["stage"] == "sent"

    def is_served() -> bool:
        try:
            return status(another_ground)["contact"] is False
        except OrbitnodeError as error:
            if "ground.clients admits no more" not in str(error):
                raise
            return False

    wait_until(is_served, "there is a place again")
    assert status(another_ground)["counters"]["commands.sent"] == places


def test_whoever_leaves_all_unread_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that follows, and one that asks and asks."""
    monkeypatch.setattr(connection, "UNREAD_S", 0.5)
    monkeypatch.setattr(connection, "CLOSE_S", 0.1)
    values = {"note": "x" * 4000}
    report = Packet(0, b"", DecodedPacket("plan_detail", REPORT, 1, 0, b"", 11, 10, 0, values, values))

    def flood() -> None:
        for _ in range(5000):  # more than the buffers of the machine take
            served.station._listeners.announce(Change.PACKET, report)

    following = served.client({"do": "follow"})
    wait_until(lambda: served.places == 1 and served.station._listeners._listeners, "it follows")
    served.loop.call_soon_threadsafe(flood)
    asking = served.client()

    def ask() -> None:
        try:
            while True:
                asking.sendall(b'{"do": "commands"}\n' * 100)
        except OSError:
            pass

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: served.places == 0, lambda: f"{served.places} keep a place")
    thread.join()
    following.close()
    asking.close()
    assert served.counters.dropped_lines > 0


def test_a_slow_reader_stays(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads, however slowly, makes progress."""
    monkeypatch.setattr(connection, "UNREAD_S", 30.0)
    one = served.client(*[{"do": "commands"}] * 3000)
    read = 0
    while read < 3000:
        read += one.recv(65536).count(b"\n")
    assert served.places == 1
    one.close()


def test_whoever_vanished_without_a_word_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The far end of a tunnel, say: nothing says that it is gone, and nothing is sent to it."""
    assert connection.KEEPALIVE[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        monkeypatch.setitem(connection.KEEPALIVE, (socket.IPPROTO_TCP, option), 1)
    served = Served()
    try:
        idle = served.client()
        waiting = served.client({"do": "operate"}, {"do": "wait_contact", "timeout_s": 1e6})
        wait_until(lambda: served.places == 2, "both are there")
        for one in (idle, waiting):
            try:
                one.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: what is closed then says nothing
            except PermissionError:
                pytest.skip("only a privileged user can make a connection vanish")
            one.close()
        wait_until(lambda: served.places == 0, lambda: f"{served.places} keep a place")
    finally:
        served.close()
