"""Change the key of one direction of a link over the air: the sequence of steps, without I/O.

    rotation = KeyRotation(keyring, link, KeyUse.UP, random=os.urandom, created="2026-03-20T10:00:00Z")
    carry_out(rotation, transport, save, show)

`steps` yields what is to be done next and is sent what came of it. `carry_out` does that with a `RotationTransport`.
"""

# A link has two associations in each direction, A and B. One carries, by the key C; the other is idle, and gets the new
# key K. Both ends execute the same procedures of 355.1-B-1, in this order:
#
#   up: go back to C's association        in case that an earlier attempt was cut while it tried K
#   node: inventory                       is it there at all; which ids can a new key have
#   file: K waits                         a key is written down before it is sent
#   node: upload K, activate it           wrapped under the master key
#   node: verify K                        it has the same octets as we
#   own end: upload K, activate it, give it to the idle association, start that
#   node: give K to the idle association
#   node: start it                        down: the node sends by K from here on
#   up: send over it
#   node: verify K                        the proof: to answer takes K, and the question went, or the answer came, by it
#   file: K is active                     from here on there is no way back
#   node: stop C's association, deactivate C, destroy it; own end: the same
#   file: C is deactivated                it stays if it was delivered, since the board's file has it too; else it goes
#
# The file says how far it came: while K waits in it, C carries and is whole at both ends. If K and C are both active, C
# is to be stopped. So a rotation that was cut anywhere is run again and goes on, with the same K. That is safe because
# every procedure is content if all is so already, and a node never begins the numbers of a key again.
#
# The node refuses to stop the last association that took a command, and the ground stops C only after the proof. So
# whatever fails, one association is left over which the node can be commanded. If the proof fails, the ground goes back
# to C and says so. On a way down in clear whoever can forge telemetry can forge every reply but that proof, and so have
# the ground believe that C is destroyed when it is not; he cannot have it throw away a key by which the node listens.
#
# A node may refuse K for what it remembers, after a file came back from a backup: the id is in use, or the key was
# used. Then K is given up and another one is made, KEYS_MAX_TRIED times at most.

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from flight.core.errors import DecodeError, OrbitnodeError
from flight.link.security.associations import End
from flight.link.security.keyring import (
    CREATED_FORMAT,
    KEY_ID_MAX,
    LINKS_MAX,
    MASTER_KEY_ID,
    SPIS_PER_LINK,
    Key,
    Keyring,
    KeyState,
    KeyUse,
    age,
)
from flight.link.security.procedures import (
    CHALLENGE_OCTETS,
    VERIFICATION,
    Pdu,
    Procedure,
    answered_challenge,
    ids_value,
    wrap_keys,
)
from flight.link.security.suites import IV_OCTETS, KEY_OCTETS

KEYS_MAX_TRIED = 3
FRESH_ID_MIN = LINKS_MAX * SPIS_PER_LINK  # ids below are those of delivery, each the number of an association
_PLACES = {KeyUse.UP: (1, 2), KeyUse.DOWN: (3, 4)}  # of A and B among the associations of a link
_GIVEN_UP = ("key used", "key state")  # refusals that are about this key, and not about another one


class RotationFailed(OrbitnodeError):
    """Raised for a rotation that cannot go on. The text says which key carries, and what to do."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Have an end execute the procedure in `pdu`."""

    end: End
    pdu: bytes
    what: str


@dataclass(frozen=True, slots=True)
class Choose:
    """Have the ground send over the association `spi` of the link from now on."""

    spi: int
    what: str


@dataclass(frozen=True, slots=True)
class Save:
    """Write the keyring into the keys file. Whatever comes next relies on it."""

    what: str


Step = Ask | Choose | Save


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a step.

    reply: the reply PDU, empty if the procedure has none. refused: why it was refused, a word of management.REFUSALS,
    or any other if it did not get that far; text: the same for people. silent: nothing is known, no answer came.
    """

    reply: bytes = b""
    refused: str = ""
    text: str = ""
    silent: bool = False


DONE = Answer()
SILENT = Answer(silent=True)
Steps = Generator[Step, Answer, None]


class _Refused(OrbitnodeError):
    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _Silent(OrbitnodeError):
    pass


class _Unproved(OrbitnodeError):
    pass


class KeyRotation:
    """One change of key: of the direction `use`, UP or DOWN, of the mission's link `link`, counted from 0.

    ring: the keys of the file, which is changed; each Save step wants it written. random: returns so many octets that
    nobody can guess. created: UTC as in a keys file.
    """

    def __init__(self, ring: Keyring, link: int, use: KeyUse, *, random: Callable[[int], bytes], created: str) -> None:
        self._ring = ring
        self._random = random
        self._created = created
        self._use = use
        places = [SPIS_PER_LINK * link + place for place in _PLACES[use]]
        active = sorted((key for key in ring if key.spi in places and key.state is KeyState.ACTIVE), key=age)
        if not active or ring.get(MASTER_KEY_ID) is None:
            raise RotationFailed(
                f"there is no active key for link {link} {use.value} to change; see `orbitnode keys show`"
            )
        self._carrying = active[-1]
        self._former = [key for key in active[:-1] if key.spi != self._carrying.spi]
        self._idle = next(spi for spi in places if spi != self._carrying.spi)

    @property
    def changes(self) -> str:
        """What this is going to do, for people."""
        if self._former:
            return f"goes on: key {self._carrying.key_id} carries, key {self._former[0].key_id} is to be taken out"
        return f"changes key {self._carrying.key_id} of SPI {self._carrying.spi} for one of SPI {self._idle}"

    def steps(self) -> Steps:
        """Yield the steps. Raises RotationFailed, after which it can be run again, as a new object."""
        try:
            if not self._former:
                yield from self._put_in()
            yield from self._take_out()
        except _Silent as error:
            raise RotationFailed(f"{error}: no answer came; run it again, it goes on from there") from None
        except _Refused as error:
            raise RotationFailed(f"{error}; nothing that carries was changed") from None
        except _Unproved as error:
            raise RotationFailed(f"{error}; the former one carries") from None

    # The new key.

    def _put_in(self) -> Steps:
        old = self._carrying
        if self._use is KeyUse.UP:
            yield from self._choose(old.spi)
        taken = yield from self._inventory()
        for _ in range(KEYS_MAX_TRIED):
            key = yield from self._waiting_key(taken)
            try:
                yield from self._give(key)
                break
            except _Refused as error:
                if error.reason not in _GIVEN_UP:
                    raise
                taken.add(key.key_id)
                self._forget(key)
                yield Save(f"key {key.key_id} is given up: {error}")
        else:
            raise RotationFailed(f"the node took none of {KEYS_MAX_TRIED} new keys; the former one carries")
        yield from self._try(key)
        self._carrying = key.changed(state=KeyState.ACTIVE)
        self._ring.put(self._carrying)
        self._former = [old]
        yield Save(f"key {key.key_id} is active")

    def _inventory(self) -> Generator[Step, Answer, set[int]]:
        """Return the ids that a new key may not have, for what the node holds."""
        value = ids_value([FRESH_ID_MIN, KEY_ID_MAX])
        reply = yield from self._node(Pdu(Procedure.KEY_INVENTORY, value), "ask the node for its keys")
        octets = _value(reply, Procedure.KEY_INVENTORY)
        rows = [octets[at : at + 3] for at in range(2, len(octets), 3)]
        if len(octets) < 2 or int.from_bytes(octets[:2], "big") != len(rows) or any(len(row) != 3 for row in rows):
            raise RotationFailed(f"the node's list of keys cannot be read: {len(octets)} octets")
        # The id of a destroyed key is free: without that a node would be full of them one day.
        return {int.from_bytes(row[:2], "big") for row in rows if row[2] != KeyState.DESTROYED.value}

    def _waiting_key(self, taken: set[int]) -> Generator[Step, Answer, Key]:
        """Return the key that waits for the idle association, a fresh one if there is none."""
        waiting = [key for key in self._ring if key.spi == self._idle and key.state is KeyState.PRE_ACTIVATION]
        if waiting:
            return waiting[-1]
        ids = (i for i in range(FRESH_ID_MIN, KEY_ID_MAX + 1) if i not in taken and i not in self._ring)
        created = max(self._created, _second_after(max(key.created for key in self._ring)))
        key = Key(next(ids), KeyState.PRE_ACTIVATION, self._random(KEY_OCTETS), spi=self._idle, created=created)
        self._ring.put(key)
        yield Save(f"key {key.key_id} is made")
        return key

    def _forget(self, key: Key) -> None:
        if key.key_id == key.spi:  # delivered: the board's file has it too, and the mission wants it in ours
            self._ring.put(key.changed(state=KeyState.DEACTIVATED))
        else:
            self._ring.drop(key.key_id)

    def _give(self, key: Key) -> Steps:
        """Have both ends hold the key, and give it to the idle association."""
        name, number = f"key {key.key_id}", ids_value([key.key_id])
        spi, rekey = ids_value([self._idle]), ids_value([self._idle, key.key_id])
        upload, activate = self._upload(key), Pdu(Procedure.KEY_ACTIVATION, number)
        yield from self._node(upload, f"upload {name}")
        yield from self._node(activate, f"activate {name}")
        yield from self._verify(key, f"verify {name}")
        yield from self._own(upload, f"take {name} ourselves")
        yield from self._own(activate, f"activate {name} ourselves")
        for ask, where in ((self._own, " ourselves"), (self._node, "")):
            try:
                yield from ask(Pdu(Procedure.REKEY_SA, rekey), f"give {name} to SPI {self._idle}{where}")
            except _Refused as error:
                if error.reason != "association state":
                    raise
                # It carried once, by a key of before.
                yield from ask(Pdu(Procedure.STOP_SA, spi), f"stop SPI {self._idle}{where}")
                yield from ask(Pdu(Procedure.REKEY_SA, rekey), f"give {name} to SPI {self._idle}{where}")
        yield from self._own(Pdu(Procedure.START_SA, spi), f"start SPI {self._idle} ourselves")

    def _upload(self, key: Key) -> Pdu:
        master = self._ring.get(MASTER_KEY_ID)
        assert master is not None, "looked at when this was made"
        keys = [(key.key_id, bytes(key.octets))]
        return Pdu(Procedure.OTAR, wrap_keys(MASTER_KEY_ID, master.octets, keys, self._random(IV_OCTETS)))

    def _verify(self, key: Key, what: str) -> Steps:
        """Prove that the node has the key: nobody else can answer the challenge, and no answer was heard before."""
        challenge = self._random(CHALLENGE_OCTETS)
        asked = Pdu(Procedure.KEY_VERIFICATION, ids_value([key.key_id]) + challenge)
        reply = yield from self._node(asked, what)
        try:
            value = _value(reply, Procedure.KEY_VERIFICATION)
            answered = answered_challenge(key.derived(VERIFICATION), value)
        except (DecodeError, RotationFailed):
            answered = b""
        if answered != challenge:
            raise _Unproved(f"the node has another key {key.key_id} than this ground")

    def _try(self, key: Key) -> Steps:
        """Let the link go by the new key, and prove that it does; go back if it does not."""
        old, spi = self._carrying, ids_value([self._idle])
        try:
            yield from self._node(Pdu(Procedure.START_SA, spi), f"start SPI {self._idle}")
            if self._use is KeyUse.UP:
                yield from self._choose(self._idle)
            yield from self._verify(key, f"ask for an answer by key {key.key_id}")
        except (_Refused, _Silent, _Unproved) as error:
            back = f"go back to key {old.key_id}"
            if self._use is KeyUse.UP:
                yield Choose(old.spi, back)
            else:
                # The node sends over what was started last. Blindly, if need be: the answer may be what is lost.
                yield Ask(End.NODE, Pdu(Procedure.STOP_SA, spi).encode(), back)
            reason = f"no answer came by key {key.key_id}" if isinstance(error, _Silent) else str(error)
            raise RotationFailed(f"{reason}; gone back to key {old.key_id}: run it again when the link is up") from None

    # The former key.

    def _take_out(self) -> Steps:
        if self._use is KeyUse.UP:
            yield from self._choose(self._carrying.spi)
        for key in self._former:
            number = ids_value([key.key_id])
            for procedure, value, what in (
                (Procedure.STOP_SA, ids_value([key.spi]), f"stop SPI {key.spi}"),
                (Procedure.KEY_DEACTIVATION, number, f"deactivate key {key.key_id}"),
                (Procedure.KEY_DESTRUCTION, number, f"destroy key {key.key_id}"),
            ):
                yield from self._settled(self._node(Pdu(procedure, value), what), procedure)
                yield from self._settled(self._own(Pdu(procedure, value), f"{what} ourselves"), procedure)
            self._forget(key)
            yield Save(f"key {key.key_id} is out of use")

    @staticmethod
    def _settled(asking: Generator[Step, Answer, bytes], procedure: Procedure) -> Steps:
        """Take it as done if what is asked for was done before, and went further."""
        try:
            yield from asking
        except _Refused as error:
            # An association without a key; a key that is destroyed already, so that it cannot be deactivated, or that
            # is not even there: once its keys file was exchanged, an end has only a fingerprint of what was destroyed.
            further = {
                Procedure.STOP_SA: ("association state",),
                Procedure.KEY_DEACTIVATION: ("key state", "key"),
                Procedure.KEY_DESTRUCTION: ("key",),
            }
            if error.reason not in further[procedure]:
                raise

    # Asking.

    @staticmethod
    def _choose(spi: int) -> Steps:
        answer = yield Choose(spi, f"send over SPI {spi}")
        if answer.refused:
            raise _Refused(answer.refused, f"send over SPI {spi}: refused: {answer.text or answer.refused}")

    def _node(self, pdu: Pdu, what: str) -> Generator[Step, Answer, bytes]:
        return self._ask(End.NODE, pdu, what)

    def _own(self, pdu: Pdu, what: str) -> Generator[Step, Answer, bytes]:
        return self._ask(End.GROUND, pdu, what)

    @staticmethod
    def _ask(end: End, pdu: Pdu, what: str) -> Generator[Step, Answer, bytes]:
        answer = yield Ask(end, pdu.encode(), what)
        if answer.silent:
            raise _Silent(what)
        if answer.refused:
            raise _Refused(answer.refused, f"{what}: refused: {answer.text or answer.refused}")
        return answer.reply


def _value(reply: bytes, procedure: Procedure) -> bytes:
    """Return what a reply holds. Raises RotationFailed for anything but a reply to this procedure."""
    try:
        pdu = Pdu.decode(reply)
    except DecodeError as error:
        raise RotationFailed(f"the node's reply cannot be read: {error}") from None
    if not pdu.reply or pdu.procedure is not procedure:
        raise RotationFailed(f"the node's reply is to {pdu.procedure.name}, should be to {procedure.name}")
    return pdu.value


def _second_after(created: str) -> str:
    """Return the time after that of a key, "" if that is not known: of two keys the later one must be seen to be so."""
    if not created:
        return ""
    time = dt.datetime.strptime(created, CREATED_FORMAT)
    return (time + dt.timedelta(seconds=1)).strftime(CREATED_FORMAT) if time.year < dt.MAXYEAR else created


class RotationTransport(Protocol):
    """What carries procedures to both ends. Each call returns when the outcome is known, or nothing more is awaited."""

    def exchange(self, pdu: bytes) -> Answer:
        """Send a procedure to the node, and return its answer."""

    def own(self, pdu: bytes) -> Answer:
        """Have the ground execute a procedure on its own keys and associations, and store what changed."""

    def choose(self, spi: int) -> Answer:
        """Have the ground send over this association from now on."""


class Stepwise(Protocol):
    """What `carry_out` does: KeyRotation, or NumbersRecovery."""

    def steps(self) -> Steps:
        """Yield the steps."""


def carry_out(
    rotation: Stepwise, transport: RotationTransport, save: Callable[[], None], show: Callable[[str], None]
) -> None:
    """Do all steps: `save` writes the keyring, `show` is given what each step is for.

    Raises RotationFailed, and whatever these raise.
    """
    steps = rotation.steps()
    answer: Answer | None = None
    while True:
        try:
            step = next(steps) if answer is None else steps.send(answer)
        except StopIteration:
            return
        show(step.what)
        if isinstance(step, Save):
            save()
            answer = DONE
        elif isinstance(step, Choose):
            answer = transport.choose(step.spi)
        else:
            answer = (transport.exchange if step.end is End.NODE else transport.own)(step.pdu)
