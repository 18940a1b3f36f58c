"""Readings from files or made ones, sent so that no row is lost or doubled: what `millrace send` and the proofs use.

`readings` makes batches and `files` reads them; `sender` posts them over some `connection`s, each with a key and
`retries` by the rules of the Python client; `progress` counts and shows how it goes, and the `journal` says afterwards
what was promised. `deletions` takes readings back.
"""
