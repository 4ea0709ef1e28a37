"""Link security duty: keeps its record on storage, says what was refused, and takes procedures from the ground.

Service type 129 is ours: TC[129,1] carries one extended procedure of CCSDS 355.1-B-1 as it stands there, TM[129,2] its
reply. What the procedures do is in flight/link/security/management.py.
"""

# The record says which numbers were used, and in which state keys and associations are. The stacks ask for it to be
# stored (StoreSecurity), early as a rule, so that nothing waits. What does wait for it goes on when `on_stored` is
# called, whether the store went well or not: without storage the node counts in memory ("volatile"), and says so. It
# then takes only commands that do no harm if they come twice (Command.idempotent), because a reboot makes it forget
# what it has taken.
#
# A procedure is complete when what it changed is durable. If the store fails it is undone, and the command fails.
#
# Refused frames are reported together, once in REFUSED_PERIOD_S at most: whoever forges frames must not be able to fill
# the downlink with reports of it.
#
# A link whose way up is clear is said at every boot: whoever knows the frequency commands this node.

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flight.contract.app import CommandRefused, EventSink, Sample
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.failures import Failure
from flight.contract.fields import Field, Layout, Row
from flight.contract.sections import LinkSection, link_plans
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.errors import SetupError, StorageError
from flight.core.future import Future
from flight.core.task import Task
from flight.link.actions import StoreSecurity
from flight.link.security.associations import End
from flight.link.security.keyring import Keyring
from flight.link.security.link_security import REASONS, LinkSecurity
from flight.link.security.management import Management, ProcedureRefused, is_idempotent
from flight.link.security.numbers import clock_number
from flight.services.reporting.telemetry import Telemetry
from flight.store.generations import Generations, Presence

REFUSED_PERIOD_S = 10.0
_PDU = (Field("pdu", "rows", "", "a procedure data unit of 355.1, octet by octet", fields=(Field("octet", "u8"),)),)


def declare(apid: int) -> Declarations:
    """Return the structure "security", the events, and the command and report of procedures."""
    u32 = "u32"
    return Declarations(
        structures=(
            Structure(
                apid, 13, "security", 60.0,
                (
                    Field("volatile", "u8", "", "numbers are kept in memory alone", labels=("no", "yes")),
                    Field("accepted", u32, "", "protected frames that came and passed"),
                    *(Field(f"refused_{reason}", u32, "", f"frames refused: {text}")
                      for reason, text in _REASON_TEXTS.items()),
                    Field("protected", u32, "", "frames protected on the way down"),
                    Field("stored", u32, "", "records of numbers, keys and associations stored"),
                    Field("store_failures", u32, "", "of them not stored"),
                    Field("procedures", u32, "", "procedures executed"),
                    Field("procedures_refused", u32, "", "procedures refused"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 45, "uplink_clear", "medium",
                "link {link}: uplink_security is clear, whoever knows the frequency commands this node",
                (Field("link", "str"),),
            ),
            EventDefinition(
                apid, 46, "frames_refused", "medium", "{count} protected frames refused, {detail}",
                (Field("count", u32), Field("detail", "str")),
            ),
            EventDefinition(
                apid, 47, "security_volatile", "high",
                "link security is kept in memory, only idempotent commands are taken: {fault}",
                (Field("fault", "str"),),
            ),
            EventDefinition(apid, 48, "security_durable", "info", "link security is kept on storage again"),
            EventDefinition(
                apid, 49, "simulated_keys", "info",
                "the keys of the links are those of a simulation: they protect nothing",
            ),
        ),
        commands=(
            Command("security_procedure", apid, 129, 1, "execute a procedure of key and association management", _PDU,
                    idempotent=True),
        ),
        reports=(Report(apid, 129, 2, "security_reply", _PDU),),
    )  # fmt: skip


_REASON_TEXTS = {
    "length": "too short to be protected",
    "spi": "of an unknown association",
    "association": "of an association that is not in operation, or another link's",
    "key": "of a key that is not active",
    "replay": "with a number that was seen before",
    "mac": "not made with the key, or changed on the way",
}
assert tuple(_REASON_TEXTS) == REASONS, REASONS


class Security(Service):
    """The node's link security. `link_security` is None if every link is clear both ways.

    `on_stored` is called when what the links wait for is stored, or cannot be.
    """

    def __init__(
        self,
        apid: int,
        links: Sequence[LinkSection],
        keys: Keyring | None,
        record: Generations,
        *,
        random: Callable[[int], bytes],
        tai_ns: int,
        telemetry: Telemetry,
        events: EventSink,
    ) -> None:
        """Read the record. `random` returns so many unpredictable octets; `tai_ns`: the clock, ns since 1958.

        Raises SetupError if a link is protected and there are no keys, or not all that it needs.
        """
        self.link_security: LinkSecurity | None = None
        self.on_stored: Callable[[], None] = lambda: None
        self._apid = apid
        self._record = record
        self._telemetry = telemetry
        self._events = events
        self._management: Management | None = None
        self._volatile_said = False
        self._stored = self._store_failures = self._procedures = self._procedures_refused = 0
        protected = [link.name for link in links if link.config.is_protected]
        if protected:
            if keys is None:
                raise SetupError(
                    f"link {protected[0]} is protected and there are no keys: make them with `orbitnode keys new`, "
                    'or fly it with uplink_security = "clear"'
                )
            self.link_security = security = LinkSecurity(
                End.NODE, keys, link_plans(links), stored=record.load(), lost=record.found is Presence.LOST,
                clock_number=clock_number(tai_ns), random=random,
            )  # fmt: skip
            self._begin(security)
            self._management = Management(security)
            if keys.simulated:
                events.emit("simulated_keys")
        for link in links:
            if not link.config.simplex and link.config.up_suite is None:
                events.emit("uplink_clear", link.name)

    def _begin(self, security: LinkSecurity) -> None:
        """Store what is due at boot, and say what of the record could not be used."""
        if self._record.found is Presence.ONE_LOST:
            security.distrust()
        # The first block of numbers is asked for at once, so that the first frame need not wait for it.
        if (content := security.to_store()) is not None:
            self.store(content)
        faults = "; ".join(fault for fault in (*security.faults, self._record.fault) if fault)
        if security.volatile:
            self._say_volatile(self._record.fault or faults or "its record is lost")
        elif faults:
            self._events.emit("record_damaged", "security", faults)

    # The record

    def store(self, content: StoreSecurity) -> None:
        """Store the record. Links that waited go on whether it works or not."""
        self._kept(content)

    def _kept(self, content: StoreSecurity) -> Future[bool]:
        """Store the record; return a future of whether it is durable."""
        done: Future[bool] = Future()

        def saved(future: Future[None]) -> None:
            try:
                future.result()
            except StorageError as error:
                self._failed(content, str(error))
                done.set_result(False)
            else:
                self._durable(content)
                done.set_result(True)
            self.on_stored()

        try:
            self._record.save(content.content).add_callback(saved)
        except StorageError as error:
            self._failed(content, str(error))
            done.set_result(False)
            self.on_stored()
        return done

    def _durable(self, content: StoreSecurity) -> None:
        assert self.link_security is not None
        self._stored += 1
        self.link_security.stored(content.generation)
        if self._volatile_said and not self.link_security.volatile:
            self._volatile_said = False
            self._events.emit("security_durable")

    def _failed(self, content: StoreSecurity, fault: str) -> None:
        assert self.link_security is not None
        self._store_failures += 1
        self.link_security.store_failed(content.generation)
        if self.link_security.volatile:
            self._say_volatile(fault)

    def _say_volatile(self, fault: str) -> None:
        if not self._volatile_said:
            self._volatile_said = True
            self._events.emit("security_volatile", fault)

    @property
    def volatile(self) -> bool:
        """Whether the node may forget with its power which commands it has taken."""
        return self.link_security is not None and self.link_security.volatile

    # Procedures

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handler of `security_procedure`."""
        return (CommandHandler("security_procedure", self._check, self._execute),)

    def _check(self, pdu: tuple[Row, ...]) -> None:
        if self._management is None:
            raise CommandRefused(Failure.REFUSED_IN_MODE, "no link of this node is protected")
        if self.volatile and not is_idempotent(_octets(pdu)):
            raise CommandRefused(Failure.REFUSED_IN_MODE, "link security is not on storage, idempotent procedures only")

    async def _execute(self, pdu: tuple[Row, ...]) -> None:
        """Execute a procedure, make durable what it changed, and send the reply."""
        management = self._management
        assert management is not None
        try:
            executed = management.execute(_octets(pdu))
        except ProcedureRefused as error:
            self._procedures_refused += 1
            raise CommandRefused(Failure.BAD_VALUE, f"{error.reason}: {error}") from None
        if executed.store is not None and not await self._kept(executed.store):
            self._procedures_refused += 1
            raise CommandRefused(Failure.STORAGE, "what it changes cannot be stored, all is as before")
        self._procedures += 1
        if executed.reply:
            rows = tuple((octet,) for octet in executed.reply)
            self._telemetry.send(self._apid, 129, 2, Layout(_PDU).encode((rows,)))

    # What is said of it

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "security"."""
        return (Sampler("security", self._sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that reports refused frames, if any link is protected."""
        return () if self.link_security is None else (ServiceTask("security", self._watch, deadline_s=1.0),)

    async def _watch(self, task: Task) -> None:
        """Report frames that were refused since the last look, and try again to store what could not be stored."""
        assert self.link_security is not None
        known = dict(self.link_security.counters.refused)
        async for _ in task.every(period_s=REFUSED_PERIOD_S, deadline_s=1.0):
            self.link_security.retry()  # what could not be stored, if anything
            if (content := self.link_security.to_store()) is not None:
                self.store(content)
            now = self.link_security.counters.refused
            new = {reason: now[reason] - known[reason] for reason in now if now[reason] != known[reason]}
            known = dict(now)
            if new:
                detail = ", ".join(f"{reason} {count}" for reason, count in new.items())
                self._events.emit("frames_refused", sum(new.values()), detail)

    def _sample(self) -> Sample:
        security = self.link_security
        counters = None if security is None else security.counters
        refused = dict.fromkeys(REASONS, 0) if counters is None else counters.refused
        return {
            "volatile": int(self.volatile),
            "accepted": 0 if counters is None else counters.accepted,
            **{f"refused_{reason}": count for reason, count in refused.items()},
            "protected": 0 if counters is None else counters.protected,
            "stored": self._stored,
            "store_failures": self._store_failures,
            "procedures": self._procedures,
            "procedures_refused": self._procedures_refused,
        }


def _octets(pdu: tuple[Row, ...]) -> bytes:
    return bytes(octet for (octet,) in pdu if isinstance(octet, int))
