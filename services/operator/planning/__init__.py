"""Planning, purely: what is observed and what is desired become ordered steps, or refusals that say why."""
