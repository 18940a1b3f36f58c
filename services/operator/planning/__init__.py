"""Planning, purely: what stands and what is wanted become ordered steps, or refusals that say why."""
