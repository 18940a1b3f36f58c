"""`/series`: readings or buckets of one or many sensors, by any length of time in any zone.

* `question` reads the parameters and lays the grid; `plan` makes the statement, which groups by a fixed grain;
* `merge` puts what comes onto the grid and fills gaps, `points` thins readings out for plots;
* `form` says what the answer looks like, `cursor` cuts pages, `wide` lays a column a sensor, `answer` does all;
* `routes` serves it, by GET and, read by `body`, by POST.
"""
