"""From resources to the database and back to their status: one pass after another, each from what is there then."""

from .passes import Reconciler

__all__ = ["Reconciler"]
