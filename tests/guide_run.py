"""Run the commands of a page in a folder of its own, with the project's programs in the way that a test can afford.

python -m tests.guide_run docs/guides/recording.md      writes under its commands what they print now
"""

# What differs between the page and the process, and why:
# - `orbitnode run` without --orbits flies three minutes: a whole orbit takes one minute of wall time.
# - Programs in real time meet at ports and a board of this test: somebody else may use the usual ones. Options added to
#   the command line name them, and they are put into the mission files that a page writes.
# - Keys are made in a folder of the session: the usual one is that of whoever runs the tests.
# - Every second, the ground prints four status lines and the node reports its power twice, so that nobody waits for
#   them. If a value has not come yet, the command that asks for it runs again.
# Everything else is as a reader has it: a shell, the project's environment on its PATH, an empty folder.

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from flight.mission import MISSIONS
from tests.guide import BLOCK, ROOT, VECTORS, Block, Step, block_of, blocks_of, fits, is_run
from tests.ports import free_port
from tests.waiting import GIVE_UP_RUN_S, GIVE_UP_S, wait_until

_NOT_YET = "has been received yet"
READY = "Ctrl-C ends it"  # in the first line of each program that keeps running
KEYS = "orbitnode keys new"
BENCH = ("orbitnode sim", "orbitnode ground", "orbitnode flight")
_MISSIONS = "flight/missions"  # as commands in the folder of the project name it
_USUAL_PORTS, _USUAL_BOARD, _USUAL_TOKENS, _USUAL_KEYS = (
    "127.0.0.1:10015:10018",
    "/tmp/orbitnode",
    "/home/op/.cache/orbitnode/tokens",
    "/home/op/.orbitnode",
)
_REQUEST = re.compile(r"\b\d:\d+\b")  # a command's id, such as 1:87
_SHIM = """\
#!{python}
import sys
from flight import cli
words = sys.argv[1:]
for option, value in {options}.get(words[0] if words else "", []):
    if option not in words and words[1:2] != ["pack"]:  # which asks no ground
        words += [option, value]
if words[:1] == ["ground"]:
    from ground.server import ground_server
    ground_server.QUIET_STATUS_S = 0.25
sys.argv[1:] = words
sys.exit(cli.main())
"""
_SOONER = """
[housekeeping.period_s]
power = 0.5
"""
_NO_PAYLOAD = f"""\
extends = "{(MISSIONS / "orbit.toml").as_posix()}"
app = []
"""


class Program:
    """A program in a terminal of its own. Its output goes into a file: a pipe that nobody reads would stop it."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                ["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def printed(self) -> list[str]:
        """Return the lines that it has printed so far."""
        return self._log.read_text(encoding="utf-8").splitlines()

    def until(self, is_there: Callable[[str], bool], what: str) -> None:
        """Wait for a line of which `is_there` is true. Raises AssertionError if the program ends before."""
        wait_until(
            lambda: any(map(is_there, self.printed())) or self._process.poll() is not None,
            lambda: f"{what!r} in {self.printed()}",
        )
        assert any(map(is_there, self.printed())), f"no {what!r}: {self.printed()}"

    def end(self) -> int:
        """End it as Ctrl-C does; return its exit status."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(GIVE_UP_S)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


class Session:
    """Programs in real time that pages talk to: a board, ports, and what is running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.programs: dict[str, Program] = {}
        self.once: dict[str, list[str]] = {}  # what commands that run once have printed
        self._ports = f"127.0.0.1:{free_port()}:{free_port()}"
        self._api = free_port(socket.SOCK_STREAM)
        mission = folder / "bench.toml"
        mission.write_text(self.own((MISSIONS / "bench.toml").read_text(encoding="utf-8")) + _SOONER, encoding="utf-8")
        (folder / "orbit.toml").symlink_to(MISSIONS / "orbit.toml")
        start, talk = [["--mission", str(mission)]], [["--port", str(self._api)]]
        options = dict.fromkeys(("sim", "ground", "flight"), start)
        names = ("cmd", "tm", "events", "schedule", "link", "leap-seconds", "parameters", "procedure")
        options |= dict.fromkeys(names, talk)
        options["keys"] = start
        options["run"] = [["--orbits", "0.03"]]
        shim = folder / "orbitnode"
        shim.write_text(_SHIM.format(python=sys.executable, options=json.dumps(options)), encoding="utf-8")
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        binaries = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "ORBITNODE_KEYS": str(folder / "keys"),
            "PATH": f"{folder}:{binaries}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "200",
        }

    def own(self, mission: str) -> str:
        """Return the text of a mission file with the ports and board of this session instead of the usual ones."""
        text = mission.replace(_USUAL_PORTS, self._ports).replace(_USUAL_BOARD, str(self.folder))
        if text == mission:
            return text
        if "api_port" in text:
            return re.sub(r"api_port = \d+", f"api_port = {self._api}", text)
        return f"{text}\n[ground]\napi_port = {self._api}\n"

    def usual(self, line: str) -> str:
        """Return a printed line with the usual places instead of those of this session."""
        tokens = os.environ.get("ORBITNODE_TOKENS", _USUAL_TOKENS)
        line = line.replace(self.environment["ORBITNODE_KEYS"], _USUAL_KEYS).replace(tokens, _USUAL_TOKENS)
        return line.replace(str(self.folder), _USUAL_BOARD)

    def start(self, command: str, folder: Path) -> Program:
        """Start the program if it does not run yet, and wait until it is ready."""
        command = command.partition("#")[0].strip()
        if command not in self.programs:
            log = self.folder / f"terminal-{len(self.programs)}"
            self.programs[command] = Program(command, folder, self.environment, log)
        self.programs[command].until(lambda line: READY in line, READY)
        return self.programs[command]

    def end(self) -> None:
        """End all programs, the last one first, so that the node ends before its board."""
        codes = {command: program.end() for command, program in reversed(self.programs.items())}
        assert set(codes.values()) <= {0}, codes


class Runner:
    """Runs the commands of a page in its folder, with the sessions that it may use."""

    def __init__(self, folder: Path, sessions: dict[str, Session]) -> None:
        self.folder = folder
        self._sessions = sessions
        self._ids: dict[str, str] = {}  # of commands: the one that was given by the one that is shown

    def page(self, page: str) -> None:
        """Run all of a page. Raises AssertionError if something is not as it is shown."""
        blocks = list(blocks_of(page))
        if not any(map(is_run, blocks)):
            return
        for block in blocks:
            if block.file:
                self.write(block)
            if is_run(block):
                for step, printed in zip(block.steps, self.block(block), strict=True):
                    right = "background" in block.words or not step.output or fits(step.output, printed, block.varies)
                    shown = "\n".join(["is shown:", *step.output, "is printed:", *printed])
                    assert right, f"line {block.line}: {step.command}: {shown}"

    def block(self, block: Block) -> Iterator[list[str]]:
        """Yield what each command prints. Raises AssertionError if a command with no output under it fails."""
        session = self._session(block)
        self._prepare(block, session)
        for step in block.steps:
            if "background" in block.words:
                yield self._started(step, session)
                continue
            if "once" in block.words:
                yield self._once(step.command, session)
                continue
            command = _REQUEST.sub(lambda found: self._ids.get(found[0], found[0]), step.command)
            code, printed = self._run(command, session)
            assert step.output or code == 0, f"line {block.line}: {command} ended with {code}: {printed}"
            if block.varies:
                ids = (_REQUEST.findall("\n".join(lines)) for lines in (step.output, printed))
                self._ids.update(zip(*ids, strict=False))
            yield printed

    def _started(self, step: Step, session: Session) -> list[str]:
        program = session.start(step.command, self.folder)
        for line in filter(None, step.output):
            program.until(partial(_is_shown, session, line), line)
        return program.printed()

    def _once(self, command: str, session: Session) -> list[str]:
        """Run a command, which must succeed, unless a page has done so before; return what it printed then."""
        if command not in session.once:
            code, session.once[command] = self._ran(command, session)
            assert code == 0, f"{command} ended with {code}: {session.once[command]}"
        return session.once[command]

    def _session(self, block: Block) -> Session:
        """Return the session of a block, or one only for this page if the block names none."""
        name = block.words.get("session", self.folder.name)
        if name not in self._sessions:
            self._sessions[name] = Session(self.folder.parent / f"session-{name}")
        return self._sessions[name]

    def _prepare(self, block: Block, session: Session) -> None:
        """Provide what the words of the block ask for."""
        if vectors := block.words.get("vectors"):
            for path in (VECTORS / vectors).iterdir():
                if not (self.folder / path.name).exists():
                    (self.folder / path.name).symlink_to(path)
        missions = self.folder / _MISSIONS
        if _MISSIONS in block.text and not missions.exists():
            missions.parent.mkdir()
            missions.symlink_to(MISSIONS)
        if block.words.get("after") == "run" and not (self.folder / "out").exists():
            (self.folder / "out").symlink_to(_flown())
        if block.words.get("session") == "bench" and "once" not in block.words:
            self._once(KEYS, session)
            for command in () if "background" in block.words else BENCH:
                session.start(command, session.folder)

    def write(self, block: Block) -> None:
        """Write a file of the page into its folder."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        session = self._session(block)
        path.write_text(session.own(block.text) if path.suffix == ".toml" else block.text, encoding="utf-8")

    def _run(self, command: str, session: Session) -> tuple[int, list[str]]:
        """Run one command; return exit status and lines. One that follows is ended by Ctrl-C after its first output."""
        if "--follow" in command:
            program = Program(command, self.folder, session.environment, session.folder / "followed")
            program.until(bool, "anything")
            return (0 if program.end() in (0, 130) else 1), program.printed()
        answers: list[tuple[int, list[str]]] = []

        def has_come() -> bool:
            answers.append(self._ran(command, session))
            return not any(_NOT_YET in line for line in answers[-1][1])

        wait_until(has_come, lambda: f"{command}: {answers[-1]}")
        return answers[-1]

    def _ran(self, command: str, session: Session) -> tuple[int, list[str]]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=session.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=GIVE_UP_RUN_S, check=False,
        )  # fmt: skip
        return done.returncode, [session.usual(line.rstrip()) for line in done.stdout.splitlines()]


def _is_shown(session: Session, line: str, printed: str) -> bool:
    return fits((line,), (session.usual(printed),), varies=True)


@lru_cache(maxsize=1)
def _flown() -> Path:
    """Return the folder `out` of a run that has a pass, and has no payload because that would take longer."""
    folder = Path(mkdtemp(prefix="orbitnode-guide-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "mission.toml").write_text(_NO_PAYLOAD, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "flight.cli", "run", "--mission", "mission.toml", "--orbits", "0.2"], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=GIVE_UP_RUN_S, check=True,
    )  # fmt: skip
    return folder / "out"


def put_down(page: str, runner: Runner) -> str:
    """Return the page with what its commands print now, if that differs from what is shown."""

    def renewed(found: re.Match[str]) -> str:
        block = block_of(found)
        if block.file:
            runner.write(block)
        if not is_run(block) or "background" in block.words:
            return found[0]
        lines = []
        for step, printed in zip(block.steps, list(runner.block(block)), strict=True):
            kept = not step.output or fits(step.output, printed, block.varies)
            lines += [f"$ {step.command}", *(step.output if kept else printed)]
        return "\n".join([found[0].partition("\n")[0], *lines, "```"])

    return BLOCK.sub(renewed, page)


def main(path: Path) -> None:
    """Write into one page what its commands print."""
    sessions: dict[str, Session] = {}
    with TemporaryDirectory() as folder:
        page = Path(folder, "page")
        page.mkdir()
        try:
            path.write_text(put_down(path.read_text(encoding="utf-8"), Runner(page, sessions)), encoding="utf-8")
        finally:
            for session in sessions.values():
                session.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
