"""The query service: readings, aggregates and hour buckets over HTTP, as columns from the database to the wire."""
