"""What every process stands on: settings, logs, telemetry, the stream, PostgreSQL, health, errors."""
