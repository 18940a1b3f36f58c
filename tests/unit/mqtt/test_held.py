"""Messages in hand: acknowledged in the order of their arrival, and each on the connection that brought it."""

import asyncio

from services.mqtt.broker import Message
from services.mqtt.held import Held, InHand

READINGS = [{"name": "n", "value": 1.0}]


def held(number: int, connection: int = 1, qos: int = 1, *, empty: bool = False) -> Held:
    message = Message(connection, number, qos, "a", b"1", retained=False)
    return Held(message, [] if empty else READINGS)


async def test_acknowledgements_keep_the_order_of_arrival() -> None:
    acknowledged: list[int] = []
    hand = InHand(lambda message: acknowledged.append(message.mid))
    for number in range(6):
        hand.take(held(number, empty=number == 2, qos=0 if number == 4 else 1))
    first, second, third = [await hand.batch(2) for _ in range(3)]
    assert [one.message.mid for one in (*first, *second, *third)] == [0, 1, 3, 4, 5]
    hand.done(second)
    hand.done(third)
    assert not acknowledged
    hand.done(first)
    assert acknowledged == [0, 1, 2, 3, 5]
    assert not len(hand)


async def test_a_batch_waits_for_a_message() -> None:
    hand = InHand(lambda _: None)
    waiting = asyncio.create_task(hand.batch(5))
    await asyncio.sleep(0)
    assert not waiting.done()
    hand.take(held(1))
    assert [one.message.mid for one in await waiting] == [1]


async def test_what_comes_again_on_a_new_connection_does_not_wait_twice() -> None:
    acknowledged: list[tuple[int, int]] = []
    hand = InHand(lambda message: acknowledged.append((message.connection, message.mid)))
    for number in range(4):
        hand.take(held(number, qos=0 if number == 3 else 1))
    under_way = await hand.batch(1)
    hand.resumed(2)
    for number in range(3):
        hand.take(held(number, connection=2))
    waiting = await hand.batch(10)
    assert [(one.message.connection, one.message.mid) for one in waiting] == [(1, 3), (2, 0), (2, 1), (2, 2)]
    hand.done(under_way)
    hand.done(waiting)
    assert acknowledged[-3:] == [(2, 0), (2, 1), (2, 2)]
