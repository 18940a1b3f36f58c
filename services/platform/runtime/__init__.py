"""What every process does: starts, logs, measures, tells its health, and ends its tasks."""
