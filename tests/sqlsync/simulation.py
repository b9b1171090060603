"""A document's whole world in one thread, driven by one seed: clients, coordinators, and everything that goes wrong.

Messages to coordinators are dropped, repeated, delayed and overtaken, their answers get lost; requests to the store
fail before or after they were carried out; anybody is cut off for a while, closes and opens again, or dies at a named
point. In the end everything is mended, and what `Simulation.check` says must hold.
"""

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field

from graft.errors import GraftError
from pagestore.runtime import Runtime
from pagestore.stores.memory import MemoryStore
from pagestore.testing import FaultyStore, lost_after, lost_before
from sqlsync import failpoints
from sqlsync.coordination.coordinator import Coordinator
from sqlsync.documents.document import Document
from sqlsync.errors import CoordinatorUnavailable, MutationRejected, SqlSyncError
from tests.graft.support import Killed, small_settings
from tests.sqlsync.support import Notes, failpoint_hook, kill_coordinator, kill_document

KEYS = ("a", "b", "c", "d")
INNOCENT = {"put", "append"}


class LoggingNotes(Notes):
    """Writes down, in the volume, which mutations took effect and in what order."""

    def migrate(self, context, version):
        super().migrate(context, version)
        context.execute("CREATE TABLE applied (place INTEGER PRIMARY KEY, uid TEXT NOT NULL) STRICT")

    def apply(self, context):
        body = context.mutation.body
        arguments = {name: value for name, value in body.arguments.items() if name != "uid"}
        getattr(self, f"_{body.name}")(context, **arguments)
        context.execute("INSERT INTO applied (uid) VALUES (?)", (body.arguments["uid"],))


@dataclass(slots=True)
class Call:
    """A mutation that was called, and what the caller was told."""

    uid: str
    client: str
    name: str
    arguments: dict[str, str]
    sure: bool
    """Whether the caller got an answer; it did not if the process died meanwhile."""


class ChaosStore(FaultyStore):
    """A store as one party reaches it: at random, requests or their replies get lost."""

    parallelism = 1

    def __init__(self, inner, rng):
        super().__init__(inner)
        self.fault_rate = 0.0
        self._rng = rng
        self.always = self._at_random

    def close(self):
        """Leave the store open for the others."""

    def _at_random(self, method, *arguments, **options):
        lost = self._rng.random() < self.fault_rate and self._rng.choice((lost_before, lost_after))
        return lost(method, *arguments, **options) if lost else method(*arguments, **options)


@dataclass(slots=True)
class Party:
    """A client or a coordinator, open or not."""

    name: str
    store: ChaosStore
    open: object = None
    cut_off: bool = False
    direct: bool = False
    told: list[str] = field(default_factory=list)
    """Of its own mutations, those that it was told were rejected."""


class ChaosLink:
    """A client's way to the coordinators."""

    def __init__(self, simulation, party):
        self.simulation, self.party = simulation, party
        self.late = []

    def submit(self, timeline, mutations, **said):
        rng, message = self.simulation.rng, (timeline, list(mutations), said)
        coordinator = self._coordinator()
        if self.simulation.wild and rng.random() < 0.2:
            self.late.append(message)  # a copy that arrives some time later, at anybody
        if self.simulation.wild and rng.random() < 0.1:
            raise CoordinatorUnavailable("the message was lost")
        if self.simulation.wild and self.late and rng.random() < 0.3:
            self._deliver(coordinator, self.late.pop(rng.randrange(len(self.late))))
        answer = coordinator.submit(timeline, mutations, **said)
        if self.simulation.wild and rng.random() < 0.1:
            raise CoordinatorUnavailable("the answer was lost")
        return answer

    def wait(self, timeline, lsn, *, timeout_s):
        return self._coordinator().wait(timeline, lsn, timeout_s=0)

    def close(self):
        pass

    def _coordinator(self):
        there = [party for party in self.simulation.coordinators if party.open and not party.cut_off]
        if self.party.cut_off or not there:
            raise CoordinatorUnavailable("nobody answers")
        return self.simulation.rng.choice(there).open

    @staticmethod
    def _deliver(coordinator, message):
        timeline, mutations, said = message
        with contextlib.suppress(SqlSyncError):
            coordinator.submit(timeline, mutations, **said)


class Simulation:
    """One run."""

    def __init__(self, seed, directory):
        self.rng = random.Random(seed)
        self.directory = directory
        self.now_s = 1_700_000_000.0
        self.runtime = Runtime(self._now, self._now, self._sleep, self.rng.randbytes)
        self.inner = MemoryStore(f"simulation-{seed}-{directory.name}", runtime=self.runtime)
        self.wild = True
        self.calls = []
        self.coordinators = [self._party(f"coordinator-{n}") for n in range(self.rng.randint(1, 2))]
        self.clients = [self._party(f"client-{n}") for n in range(self.rng.randint(2, 5))]
        for client in self.clients:
            client.direct = self.rng.random() < 0.3
        self.fault_rate = self.rng.choice([0.0, 0.02, 0.1])
        self.settings = small_settings(
            cache_bytes_max=1 << 20, cache_file_bytes=1 << 18, journal_file_bytes=1 << 18, spill_bytes=1 << 20,
            inline_bytes_max=self.rng.choice([0, 2048, 32768]),
        )  # fmt: skip

    def run(self, steps=60):
        """Live through ``steps`` random steps, then mend everything."""
        for _ in range(steps):
            self.now_s += self.rng.expovariate(1.0)
            self._step()
        self._mend()

    def close(self):
        for party in self.parties:
            if party.open:
                party.open.close()

    @property
    def parties(self):
        return [*self.clients, *self.coordinators]

    def check(self):
        """All are alike; every mutation took effect once or was rejected once; and a model in Python agrees."""
        views = [self._contents(client.open) for client in self.clients]
        assert all(view == views[0] for view in views), "the clients did not converge"
        assert not any(client.open.pending() for client in self.clients)
        notes, applied = views[0]
        times, rejected = Counter(applied), Counter(uid for client in self.clients for uid in client.told)
        by_uid = {call.uid: call for call in self.calls}
        assert set(times) | set(rejected) <= set(by_uid)
        for call in self.calls:
            fate = (times[call.uid], rejected[call.uid])
            assert fate in {(1, 0), (0, 1)} or (fate == (0, 0) and not call.sure), (
                f"{call} was (applied, rejected) {fate}"
            )
            assert not (rejected[call.uid] and call.name in INNOCENT), f"{call} was lost"
        for client in self.clients:
            mine = [uid for uid in applied if by_uid[uid].client == client.name]
            called = [call.uid for call in self.calls if call.client == client.name]
            assert mine == [uid for uid in called if uid in times], f"{client.name}'s mutations changed places"
        assert notes == _serially([by_uid[uid] for uid in applied])

    def _step(self):
        client, coordinator = self.rng.choice(self.clients), self.rng.choice(self.coordinators)
        action, party = self.rng.choices(
            [
                (self._mutate, client), (self._sync, client), (self._apply, coordinator), (self._close, client),
                (self._close, coordinator), (self._cut, client), (self._cut, coordinator),
                (self._lose_disk, coordinator),
            ],
            weights=[30, 25, 20, 3, 3, 4, 4, 1],
        )[0]  # fmt: skip
        point = self.rng.choice(failpoints.FAILPOINTS) if self.rng.random() < 0.15 else None
        victim = []

        def die(name):
            if name == point and not victim:
                victim.append(name)
                raise Killed(name)

        with failpoint_hook(die):
            try:
                self._opened(party)
                action(party)
            except Killed:
                dead = self._dead(party, victim[0])
                (kill_document if dead in self.clients else kill_coordinator)(dead.open) if dead.open else None
                dead.open = None
            except (GraftError, SqlSyncError):
                pass  # out of reach; tried again later

    def _dead(self, party, point):
        """Who died: a client that talks to a coordinator may have been answered by its death."""
        if point.startswith("coordinator") and party in self.clients:
            return next(other for other in self.coordinators if other.open and not other.cut_off)
        return party

    def _mutate(self, party):
        uid = f"{party.name}/{len(self.calls)}"
        name = self.rng.choice(["put", "append", "append", "take", "remove"])
        arguments = {"key": self.rng.choice(KEYS)} | ({} if name == "remove" else {"value": f"<{uid}>"})
        call = Call(uid, party.name, name, arguments, sure=False)
        self.calls.append(call)
        try:
            party.open.mutate(name, **arguments, uid=uid)
            call.sure = True
        except (MutationRejected, GraftError):
            self.calls.remove(call)

    @staticmethod
    def _sync(party):
        party.open.sync()

    @staticmethod
    def _apply(party):
        party.open.step()

    @staticmethod
    def _close(party):
        party.open.close()
        party.open = None

    def _cut(self, party):
        party.cut_off = party.store.down = not party.cut_off

    def _lose_disk(self, party):
        """A coordinator burns down; a new one takes its place elsewhere."""
        kill_coordinator(party.open)
        party.open = None
        party.name += "'"

    def _opened(self, party):
        if party.open is None:
            party.store.fault_rate = 0.0 if not self.wild else self.fault_rate
            path, remote = self.directory / party.name, f"{self.inner.url}#doc"
            options = {"settings": self.settings, "store": party.store, "runtime": self.runtime}
            if party in self.coordinators:
                party.open = Coordinator(
                    path, remote, LoggingNotes(), batch_mutations_max=self.rng.choice([1, 3, 100]), **options
                )
            else:
                link = None if party.direct else ChaosLink(self, party)
                party.open = Document.open(
                    path, remote, LoggingNotes(), link=link, actor=party.name,
                    on_rejected=lambda refusal: party.told.append(refusal.mutation.body.arguments["uid"]), **options,
                )  # fmt: skip

    def _mend(self):
        self.wild = False
        for party in self.parties:
            party.cut_off = party.store.down = False
            party.store.fault_rate = 0.0
            self._opened(party)
        for _ in range(4):
            for client in self.clients:
                client.open.sync()
            for coordinator in self.coordinators:
                while coordinator.open.step():
                    pass

    def _contents(self, document):
        if not document.query("SELECT 1 FROM sqlite_schema WHERE name = 'applied'"):
            return {}, []
        applied = [uid for (uid,) in document.query("SELECT uid FROM applied ORDER BY place")]
        return dict(document.query("SELECT key, value FROM notes")), applied

    def _party(self, name):
        return Party(name, ChaosStore(self.inner, self.rng))

    def _now(self):
        return self.now_s

    def _sleep(self, seconds):
        self.now_s += seconds


def _serially(calls):
    """What the notes are after these calls; every one of them succeeded."""
    notes = {}
    for call in calls:
        key, value = call.arguments["key"], call.arguments.get("value")
        match call.name:
            case "put":
                notes[key] = value
            case "append":
                notes[key] = notes.get(key, "") + value
            case "take":
                assert key not in notes, f"{call} should have been rejected"
                notes[key] = value
            case "remove":
                assert key in notes, f"{call} should have been rejected"
                del notes[key]
    return notes
