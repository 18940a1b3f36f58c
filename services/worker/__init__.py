"""Turns stream entries into rows: one transaction with the ledger, then acknowledge and delete."""
