"""What bounds ingest: the backlog, each caller's rate, what requests hold, and the age of readings."""
