#!lua flags=allow-oom
-- Write nothing: a server refuses to run what may write for the same reasons for which it takes no entry. But for its
-- memory, which is looked at long before it is full, and which drains.
-- KEYS: stream.
return 1
