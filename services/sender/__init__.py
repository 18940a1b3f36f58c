"""Readings from files or made ones, sent so that no row is lost or doubled."""
