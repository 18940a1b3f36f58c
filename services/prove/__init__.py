"""Proofs: a load, faults, a journal, and the verdict that nothing was lost or doubled.

A proof goes so:

1. `millrace prove` makes a stack of its own (`local`); `millrace prove-cluster` takes a release in a cluster
   (`cluster`, which finds its way by `release`); `millrace prove-client` (`client`) kills a Python writer with a spool
   (`writing`), which is the load then. Each begins with an empty table and prints the seed of its faults.
2. `harness.loaded` starts `millrace send` beside it. Each reading's value is the number of its row, each batch has a
   key, and the sender's journal notes what it sent and what ingest acknowledged, before and after each request. With
   `--door` it is `agents` in its place, which know no keys and send again what has no answer.
3. Parts, or pods, are killed and paused at random until the time is over. Meanwhile, on one machine, `hourly` changes
   rows of other sensors by SQL, deletions and retention, and `leaks` watches memory and descriptors.
4. The sender ends, and the stream drains. What has not drained in time counts as lost.
5. `verdict` holds the journal against the table: what was acknowledged must be there, and nothing twice. `hourly` holds
   each hour that is answered against its rows. `leaks` counts what is left over and what grew.

The command's exit code tells whether all of it was kept.
"""
