"""`python -m services.cli` is `millrace`."""

from . import main

main()
