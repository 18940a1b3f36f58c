"""`/series`: readings or buckets of one or many sensors, by any length of time in any zone.

* `aggregates` knows what may be asked for, `groups` which sensors are aggregated together, `chosen` asks for these;
* `question` reads the parameters and lays the grid; `plan` makes the statement, which groups by a fixed grain, or takes
  a rollup's buckets as `routed` has it, or as `ordered` has it gives readings in their order and percentiles;
* `merge` puts what comes onto the grid, `steps` what needs each reading and the one before it, and fills gaps;
  `points` thins readings out for plots;
* `form` says what the answer looks like, `cursor` cuts pages, `wide` lays a column a sensor, `answer` does all;
* `routes` serves it, by GET and, read by `body`, by POST.
"""
