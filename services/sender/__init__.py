"""Readings that are made, sent so that no row is lost or doubled: what `millrace send` and the proofs use.

`readings` makes batches and `sender` posts them, each with a key, by `posting`: over a `connection` that is kept, with
`retries` by the rules of the Python client, as others do who bring readings. `progress` counts and shows how it goes,
and the `journal` says afterwards what was promised. `deletions` takes readings back.
"""
