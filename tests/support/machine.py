"""The way of a batch as hypothesis walks it: real stream, workers and ledger beside a model that is a dictionary.

A worker here is the process's own loop, moved step by step, so that each can die at each failpoint or sleep on what
it has read while another takes it over. What the model knows is little: which readings were accepted under which
ledger id, and which letters somebody deleted. `drained` says what must then be true of the table.
"""

import functools
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, get_args

import hypothesis.strategies as st
from hypothesis import HealthCheck
from hypothesis import settings as budget
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from services.contract import GROUP, Entry, EntryError, decode, keyed_id
from services.platform.runtime import failpoints
from services.platform.settings import Settings

from .readings import Row, entry_of, raw_entries
from .walk import NAMES, Walk, World, mended, world

__all__ = ["walked"]

DEATHS = st.none() | st.sampled_from([place for place in get_args(failpoints.Place) if place.startswith("worker.")])
WORKERS = st.sampled_from(NAMES[:3])
SIZES = st.integers(1, 4)

Variant = frozenset[float]
"""A batch by its values, each of which was never used before."""


@dataclass(slots=True)
class Model:
    """What was promised: by ledger id, each body that was accepted under it; and what people gave up."""

    accepted: dict[uuid.UUID, set[Variant]] = field(default_factory=dict)
    poisoned: set[Variant] = field(default_factory=set)
    deleted: set[tuple[uuid.UUID, Variant]] = field(default_factory=set)
    damaged: int = 0

    def accept(self, batch_id: uuid.UUID, variant: Variant) -> None:
        self.accepted.setdefault(batch_id, set()).add(variant)

    def drained(self, table: Counter[float], letters: set[tuple[uuid.UUID, Variant]]) -> None:
        """Hold the table and the letters against what was promised."""
        assert set(table.values()) <= {1}, "a reading is stored twice"
        for batch_id, variants in self.accepted.items():
            stored = [variant for variant in variants if variant & table.keys()]
            assert all(variant <= table.keys() for variant in stored), "half a batch is stored"
            assert len(stored) <= 1, "two bodies are stored under one key"
            for variant in variants.difference(stored):
                assert {(batch_id, variant)} & (letters | self.deleted), "a batch is neither stored nor a dead letter"
            if not variants & self.poisoned:
                assert stored, "nothing is stored of a batch that nobody refuses"
        assert len(table) == sum(len(v) for vs in self.accepted.values() for v in vs if v & table.keys())


class Machine(RuleBasedStateMachine):
    """One walk on a stream of its own."""

    keys = Bundle("keys")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.walk = Walk(world)
        self.model = Model()
        self.numbers = world.numbers
        self.first = next(self.numbers)

    @initialize()
    def begin(self) -> None:
        self._run(self.walk.begin())

    @rule(target=keys, size=SIZES, poison=st.booleans())
    def accept_keyed(self, size: int, poison: bool) -> Any:
        key = keyed_id("walk", str(next(self.numbers)))
        rows = self._rows(size, poison=poison and size > 2)
        assert self._add_keyed(key, rows)
        return key, rows

    @rule(sent=keys)
    def repeat_a_key(self, sent: tuple[uuid.UUID, list[Row]]) -> None:
        self._add_keyed(*sent)

    @rule(sent=keys, size=SIZES)
    def use_a_key_for_another_body(self, sent: tuple[uuid.UUID, list[Row]], size: int) -> None:
        self._add_keyed(sent[0], self._rows(size))

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=3), poison=st.booleans(), twice=st.booleans())
    def accept_in_a_shared_entry(self, sizes: list[int], poison: bool, twice: bool) -> None:
        batches = [self._rows(size, poison=poison and number == 1) for number, size in enumerate(sizes)]
        entry = entry_of(*batches)
        for batch, rows in zip(entry.batches, batches, strict=True):
            self.model.accept(batch.batch_id, _variant(rows))
        # A client library that lost the answer writes the very entry again.
        for _ in range(1 + twice):
            self._run(self.walk.add(entry))

    @rule(fields=st.sampled_from([{"v": "1", "n": "3", "e": b"\0garbage"}, {"hello": "world"}, {"v": "x"}]))
    def put_in_a_damaged_entry(self, fields: Any) -> None:
        self.model.damaged += 1
        self._run(self.world.client.xadd(self.walk.names.stream, fields))

    @rule(worker=WORKERS, most=st.integers(1, 4))
    def read(self, worker: str, most: int) -> None:
        self._run(self.walk.read(worker, most))

    @rule(worker=WORKERS)
    def start_again(self, worker: str) -> None:
        self._run(self.walk.start_again(worker))

    @rule(worker=WORKERS)
    def take_over(self, worker: str) -> None:
        self._run(self.walk.take_over(worker))

    @rule(worker=WORKERS, death=DEATHS)
    def write_and_settle(self, worker: str, death: str | None) -> None:
        self._run(self.walk.work(worker, death))

    @rule(worker=WORKERS, most=st.integers(1, 4), death=DEATHS)
    def serve(self, worker: str, most: int, death: str | None) -> None:
        self.read(worker, most)
        self.write_and_settle(worker, death)

    @rule()
    def lose_the_group(self) -> None:
        self._run(self.world.client.xgroup_destroy(self.walk.names.stream, GROUP))
        self._run(self.walk.stream.ensure_group())

    @rule(worker=WORKERS)
    def remove_a_consumer(self, worker: str) -> None:
        self._run(self.world.client.xgroup_delconsumer(self.walk.names.stream, GROUP, worker))

    @rule()
    def keep_house(self) -> None:
        self._run(self.walk.stream.keep_group(0))

    @rule(which=st.integers(0, 3), mend=st.booleans(), twice=st.booleans())
    def replay_a_letter(self, which: int, mend: bool, twice: bool) -> None:
        for letter_id, entry in self._letters()[which : which + 1]:
            for _ in range(1 + twice):
                self._run(self.walk.replay(letter_id, mended(entry) if mend and entry else None))

    @rule(which=st.integers(0, 3))
    def delete_a_letter(self, which: int) -> None:
        for letter_id, entry in self._letters()[which : which + 1]:
            self._run(self.walk.letters.delete([letter_id]))
            if entry is None:
                self.model.damaged -= 1
            else:
                self.model.deleted.add(_identity(entry))

    def teardown(self) -> None:
        try:
            self._run(self.walk.drain())
            letters = self._letters()
            entries = [entry for _, entry in letters if entry]
            assert len(letters) - len(entries) == self.model.damaged, "a damaged entry is lost, or a dead letter twice"
            table = self._run(self.walk.values(self.first))
            self.model.drained(table, set(map(_identity, entries)))
        finally:
            self._run(self.walk.forget())

    def _rows(self, size: int, *, poison: bool = False) -> list[Row]:
        values = [next(self.numbers) for _ in range(size)]
        sensors = ["poison" if poison and not at else f"s{at}" for at in range(size)]
        rows = [(sensor, self.world.now, float(value)) for sensor, value in zip(sensors, values, strict=True)]
        if poison:
            self.model.poisoned.add(_variant(rows))
        return rows

    def _add_keyed(self, key: uuid.UUID, rows: list[Row]) -> bool:
        entry = entry_of(rows, keys=[key], digest=repr(rows).encode())
        added = self._run(self.walk.add(entry))
        if added:
            self.model.accept(key, _variant(rows))
        return bool(added)

    def _letters(self) -> list[tuple[str, Entry | None]]:
        found = self._run(raw_entries(self.walk.stream, self.walk.names.dead))
        return [(letter_id.decode(), _entry(fields)) for letter_id, fields in found]

    def _run(self, work: Any) -> Any:
        return self.world.runner.run(work)


def _variant(rows: list[Row]) -> Variant:
    return frozenset(value for _, _, value in rows)


def _entry(fields: dict[bytes, bytes]) -> Entry | None:
    try:
        return decode(fields)
    except EntryError:
        return None


def _identity(entry: Entry) -> tuple[uuid.UUID, Variant]:
    return entry.batches[0].batch_id, frozenset(entry.columns.values.tolist())


def walked(settings: Settings, examples: int, steps: int, **more: Any) -> None:
    """Walk `examples` times `steps` steps.

    Raises:
        AssertionError: a walk broke the promise; hypothesis prints it, as short as it could make it.
    """
    how = budget(max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck), **more)
    with world(settings) as made:
        run_state_machine_as_test(functools.partial(Machine, made), settings=how)  # type: ignore[arg-type]
