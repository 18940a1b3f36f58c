"""Entries that somebody put into the stream by hand: each is kept, once, as a dead letter, whatever it holds."""

import random
import secrets
from typing import Any

from services.contract import decode_letter
from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import eventually
from tests.support.readings import add_entry, entry_of, raw_entries, rows_in
from tests.support.worker import Start

NOW = 1_790_000_000_000_000
OURS = {b"letter", b"reason", b"detail", b"origin", b"batch_id", b"fields"}


async def letters_of(stream: Stream) -> list[dict[bytes, bytes]]:
    async def drained() -> bool:
        return (await stream.backlog()).entries == 0

    await eventually(drained)
    return [fields for _, fields in await raw_entries(stream, stream.names.dead)]


async def test_an_entry_of_ten_thousand_fields_is_a_dead_letter_with_all_of_them(
    settings: Settings, stream: Stream, start: Start
) -> None:
    fields: dict[Any, Any] = {b"f%d" % number: b"v%d" % number for number in range(10_000)}
    await stream.ensure_group()
    await stream.client.xadd(stream.names.stream, fields)
    await add_entry(stream, entry_of([("a", NOW, 1.0)]))
    await start()
    [letter] = await letters_of(stream)
    assert letter[b"reason"] == b"damaged"
    assert decode_letter(letter).fields == fields
    assert len(await rows_in(settings.database)) == 1


async def test_random_entries_are_kept_as_they_were_and_their_neighbours_stored(
    settings: Settings, stream: Stream, start: Start
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    names = [b"v", b"n", b"e", b"", b"\0", b"a b\r\n", *OURS]
    values = [b"", b"1", b"0", b"-1", b"9" * 9, b"9" * 400, "\u202e٣".encode(), b"\x1b[2J\r\n", b"\xff\xfe\0"]

    def draw() -> dict[Any, Any]:
        chosen = dice.sample(names, dice.randint(1, len(names)))
        # A newer version would rightly stay pending.
        made = {name: dice.choice([*values, dice.randbytes(dice.randint(0, 300))]) for name in chosen}
        return made | ({b"v": dice.choice([b"1", b"0", b"x"])} if b"v" in made else {})

    hostile = [draw() for _ in range(150)]
    await stream.ensure_group()
    for fields in hostile:
        await stream.client.xadd(stream.names.stream, fields)
        await add_entry(stream, entry_of([("a", NOW, 1.0)]))
    await start()
    letters = await letters_of(stream)
    assert {letter[b"reason"] for letter in letters} == {b"damaged"}
    assert [decode_letter(letter).fields for letter in letters] == hostile
    assert len(await rows_in(settings.database)) == 150
