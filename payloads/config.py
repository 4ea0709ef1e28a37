"""The section of the payload manager in mission.toml: `[payload]`, or the name that a mission gives the app."""

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.names import OWNER_CHARACTERS_MAX, is_name, name_rule
from flight.core.config import key
from payloads.worker.guards import Guard

APPS_MAX = 8


@dataclass(frozen=True, slots=True)
class WorkerAppConfig:
    """What workers run on a tile, and behind which guards. If no app is named, the mission's first one is meant."""

    name: str = key(text="the app's name in product files, jobs and reports")
    code: str = key(text='the app, "module:Class"')
    model: str = key("", text="the pinned model, or an .onnx file with its statistics beside it as .json; empty: none")
    time_frac: float = key(
        1.0, minimum=0.001, maximum=1000, text="duration of a tile in proportion to the mode's tile_s"
    )
    reserve_octets: int = key(300_000, minimum=0, maximum=100_000_000, text="outbox room that a job needs to start")
    value: float = key(
        1.0, minimum=0, maximum=1_000_000,
        text="worth of a product: of two with one priority, that of more worth per octet goes down first",
    )  # fmt: skip
    progressive_octets: int = key(
        0, minimum=0, maximum=100_000_000,
        text="of a mask's product that is larger, the mask goes down first, as a product of its own; 0: never",
    )  # fmt: skip
    threads: int = key(1, minimum=1, maximum=64, text="threads each worker computes with")
    memory_mib: int = key(2048, minimum=0, maximum=1_000_000, text="address space of a worker, 0 for no limit")
    scratch_mib: int = key(16, minimum=0, maximum=100_000, text="a worker's own folder, in memory, 0 for none")
    environment: tuple[str, ...] = key((), text="names of environment variables that workers inherit")
    readable: tuple[str, ...] = key((), text="files and folders that workers may read, besides Python, app and model")
    guards_off: tuple[str, ...] = key((), text="guards that are not put up around workers")

    def faults(self) -> list[tuple[str, str]]:
        """Return names and paths that cannot be used, each as a key and what is wrong with it."""
        found = []
        if not is_name(self.name, OWNER_CHARACTERS_MAX):
            found.append(("name", f"is {self.name!r}, should be {name_rule(OWNER_CHARACTERS_MAX)}"))
        for key_name in ("model", "readable", "environment"):
            value = getattr(self, key_name)
            # Here, as a fault of the mission file: the system call that is given the text would fail only in flight.
            if any("\0" in text for text in ([value] if isinstance(value, str) else value)):
                found.append((key_name, "has a NUL character, which no path and no name of a variable can have"))
        unknown = sorted(set(self.guards_off) - set(Guard.every().labels))
        if unknown:
            found.append(("guards_off", f"names {', '.join(unknown)}, should be of {', '.join(Guard.every().labels)}"))
        return found


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """One kind of tile that the node takes of its own accord: how urgent, how long it may wait, and for which app."""

    name: str = key(text="the class's name")
    priority: int = key(minimum=0, maximum=255, text="0 is the most urgent")
    deadline_s: float = key(minimum=1, maximum=1_000_000, text="from capture to result")
    app: str = key("", text="the worker app that gets the tile; empty: the first")


@dataclass(frozen=True, slots=True)
class EnergyRule:
    """Below `stop_soc_frac` no job that the rule covers starts, until charge is `resume_soc_frac`.

    It covers the priority numbers up to `priority` that are above that of the rule before it.
    """

    priority: int = key(minimum=0, maximum=255, text="highest priority number the rule is for")
    stop_soc_frac: float = key(minimum=0, maximum=1, text="state of charge below which no such job starts")
    resume_soc_frac: float = key(minimum=0, maximum=1, text="state of charge from which they start again")


_APPS = (WorkerAppConfig("screen", "payloads.apps.screen:Screen", "ukis-csmask"),)
_TRAFFIC = (
    TrafficClass("routine", 3, 2400.0),
    TrafficClass("tasked", 2, 1200.0),
    TrafficClass("alert", 0, 300.0),
)
_PATTERN = ("routine", "routine", "tasked", "routine", "routine", "routine", "alert", "routine", "tasked", "routine")
_ENERGY = (EnergyRule(0, 0.62, 0.65), EnergyRule(2, 0.72, 0.75), EnergyRule(255, 0.78, 0.82))


@dataclass(frozen=True, slots=True)
class PayloadConfig:
    """Everything about the payload manager and its workers."""

    worker_app: tuple[WorkerAppConfig, ...] = key(_APPS, text="what workers run, [[payload.worker_app]]")
    workers: int = key(1, minimum=1, maximum=16, text="jobs in work at a time, and worker processes per app")
    nice: int = key(5, minimum=0, maximum=19, text="nice value of workers, so that the flight loop goes first")
    restarts_max: int = key(8, minimum=0, maximum=1000, text="restarts of a worker without a result in between")
    hang_s: float = key(60.0, minimum=1, maximum=3600, text="time after which a job without an answer has failed")
    wall_limit_s: float = key(60.0, minimum=1, maximum=3600, text="virtual time only: wall time granted to a worker")

    bands: int = key(4, minimum=1, maximum=16, text="shape of a tile")
    height: int = key(256, minimum=1, maximum=2048, text="shape of a tile")
    width: int = key(256, minimum=1, maximum=2048, text="shape of a tile")
    capture_period_s: float = key(10.0, minimum=0.01, maximum=86400, text="time from one tile to the next")
    queue_tiles: int = key(24, minimum=1, maximum=500, text="raw tiles held at most, including those in work")
    jobs_max: int = key(64, minimum=32, maximum=1000, text="open jobs asked for by command, at most")
    traffic: tuple[TrafficClass, ...] = key(_TRAFFIC, text="classes of tiles, [[payload.traffic]]")
    pattern: tuple[str, ...] = key(_PATTERN, text="the classes of successive tiles, repeated")

    energy: tuple[EnergyRule, ...] = key(_ENERGY, text="[[payload.energy]], by ascending priority number")
    heat_stop_c: float = key(55.0, minimum=-100, maximum=150, text="board temperature above which no job starts")
    heat_resume_c: float = key(50.0, minimum=-100, maximum=150, text="board temperature from which they start again")
    cloudy_frac: float = key(0.7, minimum=0, maximum=1, text="share of class 1 above which a mask goes without pixels")
    decide_period_s: float = key(1.0, minimum=0.01, maximum=60, text="time between looks at waiting jobs")

    def faults(self) -> list[tuple[str, str]]:
        """Return contradictions between keys, each as a key and what is wrong with it."""
        found = self._app_faults()
        names = [traffic_class.name for traffic_class in self.traffic]
        if len(set(names)) < len(names):
            found.append(("traffic", f"names are {', '.join(names)}, should all differ"))
        unknown = sorted({name for name in self.pattern if name not in names})
        if unknown:
            found.append(("pattern", f"names {', '.join(unknown)}, should be of the classes {', '.join(names)}"))
        if not self.pattern:
            found.append(("pattern", "is empty, at least one class is needed"))
        if self.heat_resume_c >= self.heat_stop_c:
            found.append(
                ("heat_resume_c", f"is {self.heat_resume_c:g}, should be below heat_stop_c {self.heat_stop_c:g}")
            )
        found.extend(self._energy_faults())
        return found

    def app(self, name: str) -> WorkerAppConfig:
        """Return the worker app of that name, which must exist."""
        return next(app for app in self.worker_app if app.name == name)

    @property
    def app_names(self) -> tuple[str, ...]:
        """The names of the worker apps in the mission's order: the number of an app in telemetry is its place here."""
        return tuple(app.name for app in self.worker_app)

    def _app_faults(self) -> list[tuple[str, str]]:
        names = self.app_names
        if not 1 <= len(names) <= APPS_MAX:
            return [("worker_app", f"has {len(names)} entries, should have 1 .. {APPS_MAX}")]
        found = []
        if len(set(names)) < len(names):
            found.append(("worker_app", f"names are {', '.join(names)}, should all differ"))
        known = ", ".join(names)
        found += [
            ("traffic", f"class {traffic.name} is for {traffic.app!r}, should be of {known}")
            for traffic in self.traffic
            if traffic.app and traffic.app not in names
        ]
        return found

    def _energy_faults(self) -> list[tuple[str, str]]:
        found = []
        priorities = [rule.priority for rule in self.energy]
        if priorities != sorted(set(priorities)):
            found.append(("energy", f"priorities are {priorities}, should ascend"))  # the first that fits decides
        for rule in self.energy:
            if rule.resume_soc_frac <= rule.stop_soc_frac:
                text = f"resume_soc_frac {rule.resume_soc_frac:g} should be above stop_soc_frac {rule.stop_soc_frac:g}"
                found.append(("energy", f"priority {rule.priority}: {text}"))
        return found
