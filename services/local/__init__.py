"""The one-machine stack: embedded Valkey and PostgreSQL, and every service, under one command.

Modules are imported one by one: `demo` works where the servers' wheels are not installed.
"""
