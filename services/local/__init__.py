"""The one-machine stack: embedded Valkey and PostgreSQL, and every service, under one command."""
