"""The SQL file and its loader."""

from services.query.statements import statements


def test_every_named_block_is_a_statement_without_its_comments() -> None:
    found = statements("services.query", "queries.sql")
    assert list(found) == ["readings", "minimum", "hours"]
    for statement in found.values():
        assert statement.startswith(("select", "with"))
        assert "--" not in statement
