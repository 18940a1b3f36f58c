"""How fast Millrace is: `make bench` runs it as real processes, beside what a user would do without it."""
