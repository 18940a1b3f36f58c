"""HTTP as every service of ours speaks it: the protocol, its errors, keys of callers, serving."""
