"""From batches to entries of the stream: those that wait at one moment share an entry and an fsync."""
