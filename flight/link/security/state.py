"""What one end holds: keys, associations and numbers, and what they are after a boot, by the record of before."""

# What comes from where, at boot:
#
#     keys            boot_keys.py: octets from the keys file, or from uploads in the record
#     associations    from the record if the key that they had is there; else as the keys file has them: at delivery,
#                     and after changes of key by which state each of its keys is in
#     numbers         from the record's limits
#
# A key is known by its fingerprint, not by its id: keys files may be exchanged while a record stays, and the id of a
# key that was destroyed is free for another one. So the key of an association is the one that was given to it
# (`bound`), and never just the one that has its key id. A key that the record does not know is new: its numbers begin
# at 1, and the association that the file has it for goes by it. A key that the record knows, and whose numbers it does
# not have, has lost numbers; so has one that was absent and comes back with its file, so have all if the record itself
# is lost, and those of the node if its record may be one write behind. What lost numbers mean:
#
#     node sends        nothing over this association, the volatile one serves: a number used twice would cost the key
#     node receives     what is above the clock's number, and says `volatile`: what came before may come again, so that
#                       only commands that may be repeated are taken
#     ground sends      on from the clock's number, beyond all that were used (65,536 numbers a second are not); nothing
#                       if it has no clock
#     ground receives   everything that is above what it hears first
#
# On the ground the file is ahead of the record if that is from a backup, or was lost meanwhile. So whatever the record
# says, the ground goes by the newest key that the file has active, and hears on the way down the one that waits: the
# node may send by it already. It does not go by a key that it has stopped itself, nor back from a key that the record
# has and that is newer: then the file is the older one. What it sends over is the newest active key of the file, and
# not one that waits, although it came back active with its file: the node may not have started it.
#
# What is sent begins at every boot at the number of the clock, unless that of the record is higher. So a record from
# a backup, storage that was wiped, and a second ground with a copy of the keys use no number again, as long as
# clocks are right; if one is not, the record alone serves.
#
# The node's loss ends for an association by "set ARSN", which the ground sends, or by a change of its key. To store
# the record again does not end it: frames of before the loss are still to be refused. A node whose clock is not set
# either cannot tell old from new by itself: until its keys are changed, a recorded "set ARSN" would be believed.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flight.link.security.associations import (
    Association,
    Direction,
    End,
    LinkPlan,
    SaRole,
    SaState,
    plan_associations,
)
from flight.link.security.boot_keys import BootKeys, Upload, retire
from flight.link.security.keyring import MASTER_KEY_ID, Key, Keyring, KeyState, KeyUse, age
from flight.link.security.numbers import (
    BLOCKS_OF_A_WRITE,
    DOWN_RECEIVE_BLOCK,
    DOWN_RECEIVE_BLOCK_MAX,
    DOWN_SEND_BLOCK,
    NUMBER_SET_MAX,
    UP_BLOCK,
    Numbers,
    ReceiveNumbers,
    SendNumbers,
)
from flight.link.security.procedures import Procedure
from flight.link.security.record import (
    COUNT_MAX,
    STARTED_MAX,
    Record,
    StoredAssociation,
    StoredKey,
)


@dataclass(frozen=True, slots=True)
class Saved:
    """A state to go back to."""

    keyring: Keyring
    associations: dict[int, Association]
    numbers: dict[int, Numbers]
    retired: list[bytes]
    uploads: list[Upload]


class SecurityState:
    """One end's keys, associations and numbers.

    `chosen` has per link the SPI that the ground sends over. `proven` has the up associations that took a frame since
    they were started. `faults` says what of the record or of the keys could not be used.
    """

    def __init__(
        self,
        end: End,
        keyring: Keyring,
        links: Sequence[LinkPlan],
        record: Record | None,
        lost: bool,
        clock_number: int,
    ) -> None:
        self.end = end
        self.links = tuple(links)
        self.faults: list[str] = []
        self.proven: set[int] = set()
        self.chosen = [0] * len(links)
        self.associations: dict[int, Association] = {}
        self.numbers: dict[int, Numbers] = {}
        self._keys = keys = BootKeys(end, keyring, record)
        self.keyring, self.retired, self.absent, self.uploads = keys.keyring, keys.retired, keys.absent, keys.uploads
        self.faults += keys.faults
        self._has_past = lost or record is not None
        self._foreign: list[StoredAssociation] = []
        self._clock_number = clock_number
        if record:
            self._load_associations(record)
        else:
            for association in plan_associations(links):
                self._deliver(association, lost, None)
            if lost:
                for link in range(len(links)):
                    self._choose(link, True)
        self._report_keyless()

    # Boot.

    def _load_associations(self, record: Record) -> None:
        by_spi = {stored.spi: stored for stored in record.associations}
        replaced: set[int] = set()
        for planned in plan_associations(self.links):
            stored = by_spi.pop(planned.spi, None)
            if stored is None or self._is_as_delivered(planned, stored):
                self._deliver(planned, False, stored)
                if planned.direction is Direction.UP and self.usable(self.associations[planned.spi]):
                    replaced.add(planned.link)
                continue
            # The ground's loss ends as soon as it has a clock.
            mended = stored.lost and self.end is End.GROUND and self._clock_number > 0
            self.associations[planned.spi] = replace(
                planned, state=stored.state, key_id=stored.key_id, procedure=stored.procedure,
                started=min(stored.started, STARTED_MAX),
                lost=stored.lost and not mended,
            )  # fmt: skip
            self.renumber(planned.spi, stored.limit)
            if stored.proven:
                self.proven.add(planned.spi)
        # Of a link that the mission no longer has, or has in clear: its numbers are kept for when it comes back.
        self._foreign = list(by_spi.values())[: COUNT_MAX - len(self.associations)]
        ours = [spi if spi in self.associations else 0 for spi in record.chosen[: len(self.links)]]
        self.chosen[: len(ours)] = ours
        if self.end is End.GROUND:
            for link in range(len(self.links)):
                self._choose(link, link in replaced)

    def _is_as_delivered(self, planned: Association, stored: StoredAssociation) -> bool:
        """Return whether an association is as the keys file has it, whatever the record says of it.

        So it is if its key is gone; if the newest key that the file has for it is one that the record does not know:
        then the file was exchanged; and on the ground if the file is ahead of the record.
        """
        key = self._key_of_record(stored)
        if stored.state is not SaState.UNKEYED and key is None:
            return True
        in_file = self._file_key(planned)
        if in_file is None:
            return False
        return in_file.key_id in self._keys.fresh or (self.end is End.GROUND and self._is_behind(stored, in_file))

    def _is_behind(self, stored: StoredAssociation, in_file: Key) -> bool:
        """Return whether the record does not have in operation what carries by the file, or what may carry already."""
        key = self._key_of_record(stored)
        if key is not None and key.key_id == in_file.key_id:
            stopped = stored.state is SaState.KEYED and stored.procedure == Procedure.STOP_SA.value & 15
            if stored.state is SaState.OPERATIONAL or stopped:
                return False
        return self._keys.carries(in_file) or (self._keys.waits(in_file) and in_file.use is KeyUse.DOWN)

    def _key_of_record(self, stored: StoredAssociation) -> Key | None:
        """Return the key that an association had by the record, None if that is not there."""
        key = self.key_of(stored)
        return None if key is None or key.key_id in self._keys.fresh else key

    def _deliver(self, planned: Association, lost: bool, stored: StoredAssociation | None) -> None:
        """Take an association as the keys file has it; `lost` if there were numbers and they are gone."""
        spi = planned.spi
        self.associations[spi] = planned
        self.renumber(spi, 0)
        key = self._file_key(planned)
        if key is None:
            return
        known = None if stored is None else self._key_of_record(stored)
        if stored is not None and known is not None and known.key_id == key.key_id:
            self.renumber(spi, stored.limit)
        elif key.bound == spi:
            lost = True  # it was given to it before, in a record that no longer says with which numbers
        self.keyring.put(key.changed(bound=spi))
        numbers = self.numbers.get(spi)
        sends = isinstance(numbers, SendNumbers)
        lost = lost and numbers is not None and (self.end is End.NODE or sends)
        if lost:
            self.renumber(spi, self._clock_number)
        lost = lost and (self.end is End.NODE or not self._clock_number)
        self.associations[spi] = replace(
            planned, state=SaState.OPERATIONAL, key_id=key.key_id, procedure=Procedure.START_SA.value & 15, started=1,
            lost=lost,
        )  # fmt: skip

    def _file_key(self, planned: Association) -> Key | None:
        """Return the key that the file has for an association, or that came back for it; None if it carries nothing."""
        spi = planned.spi
        mine = [key for key in self.keyring if (key.bound or key.spi or key.key_id) == spi]
        active = [key for key in mine if key.state is KeyState.ACTIVE]
        if planned.role is SaRole.B:  # it waits, unless something says that its key was used
            active = [key for key in active if key.bound or key.spi]
        if active:
            return max(active, key=age)
        waiting = [key for key in mine if key.spi and key.state is KeyState.PRE_ACTIVATION]
        if self._has_past and waiting and self.end is End.GROUND and planned.direction is Direction.DOWN:
            # A change of key that was cut, after which the node may send by it already. To hear it does no harm.
            return max(waiting, key=age).changed(state=KeyState.ACTIVE)
        return None

    def _report_keyless(self) -> None:
        """Add a fault for each direction of a link, and each volatile association, that nothing can go over."""
        places = {(each.link, each.direction, each.role is SaRole.VOLATILE): each.spi for each in self._usable()}
        for each in self.associations.values():
            place = (each.link, each.direction, each.role is SaRole.VOLATILE)
            if place not in places and each.state is SaState.UNKEYED and each.role is not SaRole.B:
                name = self.links[each.link].name
                self.faults.append(f"link {name}: no active key {each.spi} for its association SPI {each.spi}")

    def _usable(self) -> Iterator[Association]:
        return (association for association in self.associations.values() if self.usable(association))

    def _choose(self, link: int, is_replaced: bool) -> None:
        """Send over the association that the keys file has the newest active key for: a change of key goes that way.

        What the record says stands if it is ahead of that: a newer key, or one that the file lacks and that was started
        later. But not if an association was replaced.
        """
        up = [each for each in self._usable() if each.link == link and each.direction is Direction.UP]
        keys = {each.spi: key for each in up if (key := self.key_of(each))}
        if not keys:
            return
        active = [spi for spi, key in keys.items() if self._keys.is_active(key)]
        newest, before = max(active or keys, key=lambda spi: age(keys[spi])), self.chosen[link]
        if before not in keys or is_replaced:
            is_ahead = False
        elif keys[before] in self._keys:
            is_ahead = age(keys[before]) > age(keys[newest])
        else:
            is_ahead = self.associations[before].started > self.associations[newest].started
        if not is_ahead:
            self.chosen[link] = newest

    # Changes.

    def renumber(self, spi: int, limit: int) -> None:
        """Begin the numbers of an association at a limit, 0 for a new key. The volatile one has none.

        Those that are sent begin at the clock's number at least.
        """
        association = self.associations[spi]
        if association.role is SaRole.VOLATILE:
            return
        end = association.suite.numbers_end
        if association.direction is Direction.UP:
            if self.end is End.NODE:
                self.numbers[spi] = ReceiveNumbers(UP_BLOCK, end, limit)
            else:
                self.numbers[spi] = SendNumbers(UP_BLOCK, end, max(limit, self._clock_number, self._ahead_of(spi)))
        elif self.end is End.NODE:
            self.numbers[spi] = SendNumbers(DOWN_SEND_BLOCK, end, max(limit, self._clock_number))
        else:
            self.numbers[spi] = ReceiveNumbers(DOWN_RECEIVE_BLOCK, end, limit, DOWN_RECEIVE_BLOCK_MAX)

    def _ahead_of(self, spi: int) -> int:
        """Return the next number of the ground for an association, 0 if no clock leads there.

        The node's may be as high, by "set ARSN", also with a key that the ground gives to the association only now.
        """
        numbers = self.numbers.get(spi)
        return numbers.last + 1 if numbers is not None and numbers.last < NUMBER_SET_MAX else 0

    def distrust(self) -> None:
        """Count further numbers as used: the record may be the last but one, and what was written last is gone.

        A write moves a limit by two blocks at most if numbers come one after the other, but they jump as well: at each
        start of the ground, and by "set ARSN". What the clock stands for is above all of them.
        """
        for spi, numbers in self.numbers.items():
            further = numbers.last + BLOCKS_OF_A_WRITE * numbers.block
            numbers.advance(max(further, self._clock_number))
            if self.end is End.NODE and (isinstance(numbers, ReceiveNumbers) or not self._clock_number):
                self.associations[spi] = replace(self.associations[spi], lost=True)

    def retire(self, fingerprint: bytes) -> None:
        """Remember a key whose id gets another one."""
        retire(self.retired, fingerprint, self._keys.by_file)

    def knows(self, fingerprint: bytes) -> Key | None:
        """Return the key with this fingerprint, or None; of a replaced key what is left of it."""
        if fingerprint in self.retired or fingerprint in self.absent:
            return Key.destroyed(MASTER_KEY_ID, fingerprint, 0)
        return next((key for key in self.keyring if key.fingerprint == fingerprint), None)

    def save(self) -> Saved:
        """Return what `restore` goes back to. Numbers that go on meanwhile are not taken back: they never are."""
        return Saved(
            self.keyring.copy(), dict(self.associations), dict(self.numbers), list(self.retired), list(self.uploads)
        )

    def restore(self, saved: Saved) -> None:
        """Go back to `saved`."""
        self.keyring, self.associations, self.numbers = saved.keyring, saved.associations, saved.numbers
        self.retired, self.uploads = saved.retired, saved.uploads

    def wipe_what_went(self, saved: Saved) -> None:
        """Overwrite the keys of `saved` that are no longer there."""
        live = {id(key.octets) for key in self.keyring}
        for key in saved.keyring:
            if id(key.octets) not in live:
                key.wipe()

    # What follows from the state.

    def key_of(self, association: Association | StoredAssociation) -> Key | None:
        """Return the key that was given to an association, None if it has none or another key has got its id since."""
        key = self.keyring.get(association.key_id)
        return key if key is not None and key.bound == association.spi else None

    def usable(self, association: Association) -> bool:
        """Return whether frames may go over an association: operational, and its key active."""
        key = self.key_of(association)
        return association.state is SaState.OPERATIONAL and key is not None and key.state is KeyState.ACTIVE

    def of_link(self, link: int, direction: Direction) -> Iterator[Association]:
        """Yield the associations of one direction of a link."""
        for association in self.associations.values():
            if association.link == link and association.direction is direction:
                yield association

    def record(self, *, exact: bool = False) -> Record:
        """Return what to store. Uploads of which no key is left are dropped. `exact`: limits are where numbers are."""
        live = {key.fingerprint for key in self.keyring if key.state is not KeyState.DESTROYED}
        self.uploads = [upload for upload in self.uploads if upload.fingerprints & live or not upload.fingerprints]
        associations = [
            StoredAssociation(
                each.spi, each.state, each.key_id, each.procedure, each.started,
                self._limit_of(each.spi, exact), each.spi in self.proven, each.lost,
            )
            for each in self.associations.values()
        ]  # fmt: skip
        keys = [StoredKey(key.key_id, key.state, key.bound, key.fingerprint) for key in self.keyring]
        return Record(
            tuple(self.chosen), (*associations, *self._foreign), tuple(keys), tuple(self.retired),
            tuple(self.absent.values()), tuple(upload.value for upload in self.uploads),
        )  # fmt: skip

    def _limit_of(self, spi: int, exact: bool) -> int:
        numbers = self.numbers.get(spi)
        if numbers is None:
            return 0
        return numbers.last + 1 if exact else numbers.wanted
