"""What a PDU of 355.1-B-1 does to one end: the node executes what the ground sends, and the ground the same on its own.

`execute` returns the reply, and what must be stored if something changed. A change counts at once and is taken back if
its write fails (`LinkSecurity.store_failed`), so that a command is reported as done when `LinkSecurity.stored` was
told. A command that cannot be done raises ProcedureRefused, with a reason, and has changed nothing.
"""

# Never locked out. A change of state or of a key is refused if it takes away an association that frames may go over,
# and leaves none behind that serves:
#
#     up      one that took a frame since it was started ("proven"): that its key is right at both ends is known from
#             nothing else. On the ground itself this is not asked: the node has judged before.
#     down    any that is operational with an active key, and the volatile one by itself
#
# So a change of key is: upload the key, activate it, rekey B, start B, send something over B, stop A. Wherever this is
# cut, A is as it was until B has taken a frame. As each of these commands is content if all is so already, the ground
# begins again from the top. For the way down the node sends over what was started last, and the ground takes both.
#
# Who goes first. Up: the node, and the ground does the same when it has the reply; if that is lost it asks again. Down:
# the ground, so that it has the key before the node sends with it. "Set ARSN" up: the ground lets its own numbers
# follow as soon as the command has left, whatever comes back. To be ahead costs nothing, to be behind is to be refused.
#
# A key is given to one association, once. To give it to a second one, or to the same again with numbers from 1, would
# use numbers with it twice, and with GCM that gives the key away. So an upload under an id that was used is refused
# unless that key was destroyed, and so is an upload of octets that this end knows under any id, used up or not.
#
# Deactivation and destruction of a key of delivery hold by the record: the keys file is not written by the node, and
# keeps its octets until somebody takes them out.

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from flight.core.errors import DecodeError, OrbitnodeError
from flight.link.actions import StoreSecurity
from flight.link.security.associations import Association, Direction, End, SaRole, SaState
from flight.link.security.boot_keys import Upload
from flight.link.security.keyring import KEYS_MAX, MASTER_KEY_ID, Key, KeyState
from flight.link.security.link_security import Busy, LinkSecurity
from flight.link.security.numbers import NUMBER_SET_MAX, NUMBER_STEP_MAX, SendNumbers
from flight.link.security.procedures import (
    ANSWERED,
    IDEMPOTENT,
    SELF_TEST_FAILED,
    SELF_TEST_PASSED,
    VALUE_OCTETS_MAX,
    VERIFICATION,
    Pdu,
    Procedure,
    answer_challenge,
    challenges,
    fields,
    master_of,
    two_octet_ids,
    unwrap_keys,
)
from flight.link.security.record import UPLOADS_MAX
from flight.link.security.self_test import self_test
from flight.link.security.state import SecurityState
from flight.link.security.suites import IV_OCTETS, MacError

REFUSALS: tuple[str, ...] = (
    "pdu", "key", "key state", "key used", "keys full", "mac", "association", "association state", "backwards", "range",
    "locked out", "busy",
)  # fmt: skip
"""Why a procedure is refused: its octets; no such key; a wrong state of it; used or known before; no room; an upload
that another key wrapped; no such association; a wrong state of it; a number that goes back; a number too far ahead;
nothing would be left to command or to send over; another change waits for storage."""


class ProcedureRefused(OrbitnodeError):
    """Raised for a procedure that cannot be executed; `reason` is one of REFUSALS. Nothing has changed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Executed:
    """`reply` is a PDU, empty if the procedure has none; `store` what must be durable before it is reported as done."""

    procedure: Procedure
    reply: bytes = b""
    store: StoreSecurity | None = None


class _AlreadySo(OrbitnodeError):
    """Raised inside a change that would change nothing."""


@contextmanager
def _well_formed() -> Iterator[None]:
    try:
        yield
    except DecodeError as error:
        raise ProcedureRefused("pdu", str(error)) from None


def is_idempotent(raw: bytes) -> bool:
    """Return whether these octets are a procedure that a node may execute while it is volatile."""
    try:
        return Pdu.decode(raw).procedure in IDEMPOTENT
    except DecodeError:
        return False


class Management:
    """Executes procedures on one end."""

    def __init__(self, security: LinkSecurity) -> None:
        self._security = security
        self._changes: dict[Procedure, Callable[[SecurityState, bytes], None]] = {
            Procedure.OTAR: self._upload,
            Procedure.KEY_ACTIVATION: self._activate,
            Procedure.KEY_DEACTIVATION: self._deactivate,
            Procedure.KEY_DESTRUCTION: self._destroy,
            Procedure.REKEY_SA: self._rekey,
            Procedure.START_SA: self._start,
            Procedure.STOP_SA: self._stop,
            Procedure.EXPIRE_SA: self._expire,
            Procedure.SET_ARSN: self._set_number,
        }
        self._questions: dict[Procedure, Callable[[bytes], bytes]] = {
            Procedure.KEY_VERIFICATION: self._verify,
            Procedure.KEY_INVENTORY: self._inventory,
            Procedure.READ_ARSN: self._read_number,
            Procedure.SA_STATUS: self._status,
            Procedure.PING: self._ping,
            Procedure.SELF_TEST: self._self_test,
            Procedure.ALARM_FLAG_RESET: self._reset_alarm,
        }
        assert {*self._changes, *self._questions} == {*Procedure}

    def execute(self, raw: bytes) -> Executed:
        """Execute one command; raises ProcedureRefused."""
        with _well_formed():
            pdu = Pdu.decode(raw)
        if pdu.reply:
            raise ProcedureRefused("pdu", "a reply is not executed, it answers a command")
        if pdu.procedure in self._questions:
            value = self._questions[pdu.procedure](pdu.value)
            has_reply = pdu.procedure in ANSWERED
            return Executed(pdu.procedure, Pdu(pdu.procedure, value, reply=True).encode() if has_reply else b"")
        change = self._changes[pdu.procedure]

        def make(state: SecurityState) -> None:
            before = _serving(state)
            change(state, pdu.value)
            _hold_open(state, before)

        try:
            return Executed(pdu.procedure, store=self._security.change(make))
        except _AlreadySo:
            return Executed(pdu.procedure)
        except Busy as error:
            raise ProcedureRefused("busy", str(error)) from None

    # Keys. Each of these raises before it changes anything, or leaves it to `change` to go back.

    def _upload(self, state: SecurityState, value: bytes) -> None:
        with _well_formed():
            master_id = master_of(value)
        master = state.keyring.get(master_id)
        if master_id != MASTER_KEY_ID or master is None:
            raise ProcedureRefused("key", f"key {master_id} wraps no keys, {MASTER_KEY_ID} is the master key")
        try:
            bare = unwrap_keys(master.octets, value)
        except MacError:
            raise ProcedureRefused("mac", "the keys were not wrapped under this master key, or were altered") from None
        uploaded = [Key(key_id, KeyState.PRE_ACTIVATION, octets) for key_id, octets in bare]
        ids, prints = {key.key_id for key in uploaded}, {key.fingerprint for key in uploaded}
        if min(len(ids), len(prints)) < len(uploaded):
            raise ProcedureRefused("pdu", "the same key id or the same key stands twice in the upload")
        if all(self._is_there(state, key) for key in uploaded):
            raise _AlreadySo
        for key in uploaded:
            self._take(state, key)
        if len(state.uploads) >= UPLOADS_MAX:
            # Those of a keys file of before, under another master key, are kept as long as there is room: it may come
            # back, and nothing else has the keys in them.
            strange = next((upload for upload in state.uploads if not upload.fingerprints), None)
            if strange is None:
                raise ProcedureRefused("keys full", f"{UPLOADS_MAX} uploads are kept; destroy keys first")
            state.uploads.remove(strange)
        state.uploads.append(Upload(value, frozenset(key.fingerprint for key in uploaded)))

    @staticmethod
    def _is_there(state: SecurityState, key: Key) -> bool:
        known = state.knows(key.fingerprint)
        return known is not None and known.key_id == key.key_id and known.state is not KeyState.DESTROYED

    @staticmethod
    def _take(state: SecurityState, key: Key) -> None:
        if key.key_id == MASTER_KEY_ID:
            raise ProcedureRefused("key", "the master key is not sent up, it is delivered")
        known = state.knows(key.fingerprint)
        if known is not None:
            raise ProcedureRefused("key used", f"the key for id {key.key_id} is known already; each id needs a new one")
        present = state.keyring.get(key.key_id)
        if present is None:
            if len(state.keyring) >= KEYS_MAX:
                raise ProcedureRefused("keys full", f"{KEYS_MAX} keys are there; use the id of one that was destroyed")
        elif present.state is not KeyState.DESTROYED:
            raise ProcedureRefused("key used", f"key {key.key_id} is {_word(present.state)}; destroy it first")
        else:
            state.retire(present.fingerprint)
        state.keyring.put(key)

    def _activate(self, state: SecurityState, value: bytes) -> None:
        self._step_keys(state, value, KeyState.ACTIVE, {KeyState.PRE_ACTIVATION})

    def _deactivate(self, state: SecurityState, value: bytes) -> None:
        self._step_keys(state, value, KeyState.DEACTIVATED, {KeyState.ACTIVE})

    def _destroy(self, state: SecurityState, value: bytes) -> None:
        self._step_keys(state, value, KeyState.DESTROYED, {KeyState.PRE_ACTIVATION, KeyState.DEACTIVATED})

    def _step_keys(self, state: SecurityState, value: bytes, to: KeyState, before: set[KeyState]) -> None:
        with _well_formed():
            ids = two_octet_ids(value)
        changed = False
        for key_id in ids:
            key = _session_key(state, key_id)
            if key.state is to:
                continue
            if key.state not in before:
                wanted = " or ".join(sorted(map(_word, before)))
                raise ProcedureRefused("key state", f"key {key_id} is {_word(key.state)}, should be {wanted}")
            destroyed = to is KeyState.DESTROYED
            state.keyring.put(Key.destroyed(key_id, key.fingerprint, key.bound) if destroyed else key.changed(state=to))
            changed = True
        if not changed:
            raise _AlreadySo

    def _verify(self, value: bytes) -> bytes:
        with _well_formed():
            asked = challenges(value)
        answers = []
        for key_id, challenge in asked:
            key = _session_key(self._security.state, key_id)
            if key.state is KeyState.DESTROYED:
                raise ProcedureRefused("key state", f"key {key_id} is destroyed, nothing is left to verify")
            iv = self._security.random(IV_OCTETS)
            answers.append(answer_challenge(key_id, key.derived(VERIFICATION), challenge, iv))
        return b"".join(answers)

    def _inventory(self, value: bytes) -> bytes:
        with _well_formed():
            first, last = fields(value, 2, 2)
        if first > last:
            raise ProcedureRefused("range", f"key ids {first} to {last}: the first should not be above the last")
        keys = [key for key in self._security.state.keyring if first <= key.key_id <= last]
        octets = b"".join(key.key_id.to_bytes(2, "big") + bytes((key.state.value,)) for key in keys)
        assert len(octets) + 2 <= VALUE_OCTETS_MAX
        return len(keys).to_bytes(2, "big") + octets

    # Associations.

    def _rekey(self, state: SecurityState, value: bytes) -> None:
        with _well_formed():
            spi, key_id = fields(value, 2, 2)
        association = _association(state, spi)
        key = _session_key(state, key_id)
        if association.state is not SaState.UNKEYED and key is state.key_of(association):
            raise _AlreadySo
        if association.state is SaState.OPERATIONAL and association.role is not SaRole.VOLATILE:
            raise ProcedureRefused("association state", f"SPI {spi} is operational; stop it first")
        _want_active(key)
        if key.bound:
            raise ProcedureRefused("key used", f"key {key_id} was given to SPI {key.bound}; each rekey needs a new key")
        state.keyring.put(key.changed(bound=spi))
        keyed = association.state if association.state is SaState.OPERATIONAL else SaState.KEYED
        state.associations[spi] = replace(
            association, state=keyed, key_id=key_id, procedure=_pid(Procedure.REKEY_SA), lost=False
        )
        state.proven.discard(spi)
        state.renumber(spi, 0)

    def _start(self, state: SecurityState, value: bytes) -> None:
        with _well_formed():
            (spi,) = fields(value, 2)
        association = _association(state, spi)
        if association.state is SaState.OPERATIONAL:
            raise _AlreadySo
        key = state.key_of(association)
        if association.state is not SaState.KEYED or key is None:
            raise ProcedureRefused("association state", f"SPI {spi} has no key; rekey it first")
        _want_active(key)
        started = 1 + max(other.started for other in state.associations.values())
        state.proven.discard(spi)
        state.associations[spi] = replace(
            association, state=SaState.OPERATIONAL, procedure=_pid(Procedure.START_SA), started=started
        )

    def _stop(self, state: SecurityState, value: bytes) -> None:
        with _well_formed():
            (spi,) = fields(value, 2)
        association = _association(state, spi)
        if association.state is SaState.KEYED:
            raise _AlreadySo
        if association.state is SaState.UNKEYED:
            raise ProcedureRefused("association state", f"SPI {spi} is unkeyed, nothing to stop")
        state.associations[spi] = replace(association, state=SaState.KEYED, procedure=_pid(Procedure.STOP_SA))

    def _expire(self, state: SecurityState, value: bytes) -> None:
        with _well_formed():
            (spi,) = fields(value, 2)
        association = _association(state, spi)
        if association.state is SaState.UNKEYED:
            raise _AlreadySo
        if association.state is SaState.OPERATIONAL:
            raise ProcedureRefused("association state", f"SPI {spi} is operational; stop it first")
        state.associations[spi] = replace(
            association, state=SaState.UNKEYED, key_id=0, procedure=_pid(Procedure.EXPIRE_SA), lost=False
        )

    def _set_number(self, state: SecurityState, value: bytes) -> None:
        with _well_formed():
            (spi,) = fields(value[:2], 2)
            association = _association(state, spi)
            _, number = fields(value, 2, association.suite.number_octets)
        numbers = state.numbers.get(spi)
        if numbers is None:
            raise ProcedureRefused("association", f"SPI {spi} has random numbers, there is none to set")
        if number < numbers.last:
            raise ProcedureRefused("backwards", f"SPI {spi}: {number} is below {numbers.last}, numbers only rise")
        most = max(NUMBER_SET_MAX, numbers.last + NUMBER_STEP_MAX)
        if number > most:
            # Beyond what clocks stand for, nobody would find the number again; a slip of the pen must not lead there.
            raise ProcedureRefused("range", f"SPI {spi}: {number} is too far ahead, most is {most}")
        if number == numbers.last and not association.lost:
            raise _AlreadySo
        numbers.advance(number + 1 if isinstance(numbers, SendNumbers) else number)
        state.associations[spi] = replace(association, lost=False)

    def _read_number(self, value: bytes) -> bytes:
        with _well_formed():
            (spi,) = fields(value, 2)
        association = _association(self._security.state, spi)
        numbers = self._security.state.numbers.get(spi)
        last = numbers.last if numbers else 0
        return value + last.to_bytes(association.suite.number_octets, "big")

    def _status(self, value: bytes) -> bytes:
        with _well_formed():
            (spi,) = fields(value, 2)
        return value + bytes((_association(self._security.state, spi).procedure,))

    # Monitoring.

    def _ping(self, value: bytes) -> bytes:
        with _well_formed():
            fields(value)
        return b""

    def _self_test(self, value: bytes) -> bytes:
        with _well_formed():
            fields(value)
        return SELF_TEST_PASSED if self_test() else SELF_TEST_FAILED

    def _reset_alarm(self, value: bytes) -> bytes:
        with _well_formed():
            fields(value)
        for link in range(len(self._security.state.links)):
            self._security.reset_alarm(link)
        return b""


def _pid(procedure: Procedure) -> int:
    return procedure.value & 0x0F


def _word(state: KeyState) -> str:
    return {KeyState.PRE_ACTIVATION: "not active yet"}.get(state, state.name.lower())


def _session_key(state: SecurityState, key_id: int) -> Key:
    if key_id == MASTER_KEY_ID:
        raise ProcedureRefused("key", f"key {MASTER_KEY_ID} is the master key, its state does not change")
    key = state.keyring.get(key_id)
    if key is None:
        raise ProcedureRefused("key", f"key {key_id} is not there; upload it first")
    return key


def _want_active(key: Key) -> None:
    if key.state is not KeyState.ACTIVE:
        raise ProcedureRefused("key state", f"key {key.key_id} is {_word(key.state)}, should be active")


def _association(state: SecurityState, spi: int) -> Association:
    association = state.associations.get(spi)
    if association is None:
        raise ProcedureRefused("association", f"SPI {spi} is none of this mission's")
    return association


def _serving(state: SecurityState) -> set[int]:
    return {association.spi for association in state.associations.values() if state.usable(association)}


def _hold_open(state: SecurityState, before: set[int]) -> None:
    """Refuse a change that takes away an association and leaves nothing that serves in its place."""
    if state.end is End.GROUND:
        return
    after = _serving(state)
    for spi in sorted(before - after):
        gone = state.associations[spi]
        serving = {other for other in after if _alike(state.associations[other], gone)}
        name = state.links[gone.link].name
        if gone.direction is Direction.UP and not serving & state.proven:
            raise ProcedureRefused(
                "locked out", f"link {name}: without SPI {spi} no association is left that has taken a command"
            )
        if gone.direction is Direction.DOWN and not serving:
            raise ProcedureRefused("locked out", f"link {name}: without SPI {spi} nothing is left to send over")


def _alike(association: Association, gone: Association) -> bool:
    """Return whether one serves in place of the other: the volatile association stands for itself."""
    same = association.link == gone.link and association.direction is gone.direction
    return same and (association.role is SaRole.VOLATILE) == (gone.role is SaRole.VOLATILE)
