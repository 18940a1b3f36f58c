"""What a journal says was sent and promised."""

import orjson

from services.sender.journal import in_doubt, promised


def test_a_journal_is_read_by_what_was_acknowledged() -> None:
    lines = [
        {"state": "sent", "first_row": 0, "rows": 10},
        {"state": "sent", "first_row": 10, "rows": 10},
        {"state": "acked", "first_row": 10, "rows": 10},
        {"state": "unknown", "first_row": 0, "rows": 10},
    ]
    assert promised(map(orjson.dumps, lines)) == (20, [(10, 20)])
    assert in_doubt(map(orjson.dumps, lines)) == 10
