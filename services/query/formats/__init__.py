"""Columns to bytes: one module a format, each with an encoder of readings and one of hour buckets."""
