-- Agents tell of which kind their series are, and their units: the worker writes both.

comment on column sensors.kind is 'Of a labelled series whose agent told it: gauge, counter, updowncounter, histogram, summary, info or stateset.';
comment on column sensors.unit is 'Of the values of a labelled series, as its agent wrote it.';

grant update (kind, unit) on sensors to millrace_writer;
