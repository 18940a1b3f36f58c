"""Proofs: a load, faults, a journal, and the verdict that nothing was lost or doubled."""
