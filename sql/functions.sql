-- Functions, replaced at each apply. They are PL/pgSQL, which looks names up when it runs: so they can be
-- created before a migration that they need, and on a PostgreSQL without TimescaleDB.

-- Rows in an hour that starts before this instant need a note in late_ranges: an aggregate may have read that
-- hour already. No policy materialises an hour within a minute of its end (end_offset), and the worker's
-- transaction is over by then, so hours younger than 59 minutes need none, unless somebody refreshed further by
-- hand, which the watermarks tell. Aggregates of less than an hour are left to their policies, whose windows
-- cover those hours: their watermarks run through the current hour and would make every row late.
--
-- Where the repair loop keeps rollups, rollup_state tells it: before an hour is computed that was closed, the loop waits
-- for all who may have written without a note.
create or replace function late_before() returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  aggregates int;
  watermark bigint;
begin
  if to_regclass('public.rollup_state') is not null then
    return coalesce((select s.closed_until from public.rollup_state s), 'infinity');
  end if;
  if to_regclass('_timescaledb_catalog.continuous_aggs_watermark') is null then
    return '-infinity';
  end if;
  select count(*), max(w.watermark) filter (where b.bucket_width::interval >= interval '1 hour')
  into aggregates, watermark
  from _timescaledb_catalog.hypertable h
  join _timescaledb_catalog.continuous_agg a on a.raw_hypertable_id = h.id
  join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where h.schema_name = 'public' and h.table_name = 'sensor_data';
  if aggregates = 0 then
    return '-infinity';
  end if;
  return greatest(now() - interval '59 minutes', _timescaledb_functions.to_timestamp(watermark));
end
$$;
comment on function late_before() is 'Rows in an hour that starts before this need a note in late_ranges.';

-- The ranges of a hypertable's chunks inside a span.
create or replace function chunk_ranges(hypertable int, span tstzrange) returns tstzmultirange
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce((
    select range_agg(tstzrange(
      _timescaledb_functions.to_timestamp(s.range_start), _timescaledb_functions.to_timestamp(s.range_end)))
    from _timescaledb_catalog.dimension d
    join _timescaledb_catalog.dimension_slice s on s.dimension_id = d.id
    where d.hypertable_id = hypertable
      and d.interval_length is not null
      and s.range_start < _timescaledb_functions.to_unix_microseconds(upper(span))
      and s.range_end > _timescaledb_functions.to_unix_microseconds(lower(span))
  ), '{}');
end
$$;

-- The parts of a span whose readings are in the tier; with an aggregate, those that it had computed before.
create or replace function tiered_ranges(span tstzrange, computed_by int default null) returns tstzmultirange
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  if to_regclass('public.tier_chunks') is null then
    return '{}';
  end if;
  return coalesce((
    select span::tstzmultirange * range_agg(tstzrange(c.range_start, c.range_end))
    from public.tier_chunks c
    where c.range_start < coalesce(upper(span), 'infinity') and c.range_end > coalesce(lower(span), '-infinity')
      and (computed_by is null or computed_by = any (c.aggregates))
  ), '{}');
end
$$;
comment on function tiered_ranges(tstzrange, int) is 'Parts of a span whose readings are in the tier.';

-- The hours of the tier that late readings touched.
create or replace function tier_stale_hours(span tstzrange) returns tstzmultirange
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  if to_regclass('public.tier_stale') is null then
    return '{}';
  end if;
  return coalesce((
    select span::tstzmultirange * range_agg(tstzrange(t.range_start, t.range_end))
    from public.tier_stale t
    where t.range_start < upper(span) and t.range_end > lower(span)
  ), '{}');
end
$$;
comment on function tier_stale_hours(tstzrange) is 'Hours of the tier in which aggregates are behind.';

-- The hours of the tier in which aggregates still have readings of sensors that were deleted since.
create or replace function tier_deleted(sensors text[], span tstzrange) returns tstzmultirange
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  if to_regclass('public.tier_chunks') is null then
    return '{}';
  end if;
  return coalesce((
    select range_agg(tstzrange(
      date_bin('1 hour', greatest(d.range_start, c.range_start), '2000-01-03 00:00:00+00'),
      date_bin('1 hour', least(d.range_end, c.range_end) + interval '1 hour - 1 microsecond', '2000-01-03 00:00:00+00')))
    from public.tier_chunks c
    join public.deletions d on d.number > c.deletions and d.range_start < c.range_end and d.range_end > c.range_start
    where c.range_start < upper(span) and c.range_end > lower(span)
      and d.range_start < upper(span) and d.range_end > lower(span)
      and d.sensor_ids && sensors
  ), '{}');
end
$$;
comment on function tier_deleted(text[], tstzrange) is 'Hours of the tier in which aggregates have readings that were deleted.';

-- Where the rows of a hypertable are gone: chunks that are noted as dropped, those that were known and are no more, and
-- what went to the tier, where questions find it and no refresh does.
create or replace function rows_gone(hypertable int, span tstzrange) returns tstzmultirange
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  return span::tstzmultirange * (
    coalesce((
      select range_agg(tstzrange(r.range_start, r.range_end))
      from public.dropped_ranges r where r.hypertable_id = hypertable
    ), '{}')
    + coalesce((
      select k.ranges * span::tstzmultirange - public.chunk_ranges(hypertable, span)
      from public.known_chunks k where k.hypertable_id = hypertable
    ), '{}')
    + case when exists (
      select from _timescaledb_catalog.hypertable h
      where h.id = hypertable and h.schema_name = 'public' and h.table_name = 'sensor_data'
    ) then public.tiered_ranges(span) else '{}' end);
end
$$;
comment on function rows_gone(int, tstzrange) is 'Parts of a span from which a hypertable''s rows were dropped.';

-- What an aggregate has not computed since its rows changed, whoever changed them, before its watermark: what stands in
-- TimescaleDB's own logs of invalidations. A transaction of a worker may log a wide range for a few late rows; it notes
-- their hours in late_ranges, and is found there by its xmin, so what it logged counts for nothing here as long as it
-- stands in the hypertable's log, which a refresh hands on to the aggregates'. Hours younger than 59 minutes it did not
-- need to note, and there the log of an aggregate of less than an hour counts.
create or replace function changed_ranges(aggregate int, span tstzrange) returns tstzmultirange
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  source int;
  width interval;
  low bigint := _timescaledb_functions.to_unix_microseconds(lower(span));
  high bigint;
  found tstzmultirange;
begin
  select a.raw_hypertable_id, b.bucket_width::interval,
    least(w.watermark, _timescaledb_functions.to_unix_microseconds(upper(span)))
  into source, width, high
  from _timescaledb_catalog.continuous_agg a
  join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where a.mat_hypertable_id = aggregate;
  if high is null or low >= high then
    return '{}';
  end if;
  select range_agg(tstzrange(
    _timescaledb_functions.to_timestamp(greatest(l.first, low)),
    _timescaledb_functions.to_timestamp(least(l.last, high - 1) + 1)))
  into found
  from (
    select m.lowest_modified_value, m.greatest_modified_value
    from _timescaledb_catalog.continuous_aggs_materialization_invalidation_log m
    where m.materialization_id = aggregate
    union all
    select r.lowest_modified_value, r.greatest_modified_value
    from _timescaledb_catalog.continuous_aggs_materialization_ranges r
    where r.materialization_id = aggregate
    union all
    select
      case when n.noted_at is null then h.lowest_modified_value
        else greatest(h.lowest_modified_value, _timescaledb_functions.to_unix_microseconds(
          date_bin('1 hour', n.noted_at + interval '1 minute - 1 microsecond', '2000-01-03 00:00:00+00'))) end,
      h.greatest_modified_value
    from _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log h
    -- Hashed: one look at the notes for all of the log. A transaction notes everything at one instant.
    left join (select r.xmin, min(r.noted_at) as noted_at from public.late_ranges r group by r.xmin) n (xmin_, noted_at)
      on n.xmin_ = h.xmin
    where h.hypertable_id = source and (n.noted_at is null or width < interval '1 hour')
  ) l (first, last)
  -- Of a transaction whose readings are all older than that, nothing is left.
  where l.first <= l.last and l.first < high and l.last >= low;
  return coalesce(found, '{}');
end
$$;
comment on function changed_ranges(int, tstzrange) is 'Parts of a span in which an aggregate is behind its rows.';

-- The hours that queries answer from the rows: those that late rows or anybody's SQL touched and no refresh has computed
-- since, as far as there are rows. Hours whose rows are gone stay the aggregate's. Where the repair loop keeps rollups, also
-- all that these do not reach.
create or replace function hours_from_rows(span tstzrange) returns tstzmultirange
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  hourly record;
  ranges tstzmultirange;
  tiered tstzmultirange;
begin
  if to_regclass('public.rollup_state') is not null then
    return span::tstzmultirange * (
      coalesce((
        -- One that begins before the year 10 may begin anywhere.
        select range_agg(tstzrange(
          case when r.range_start >= '0010-01-01Z' then date_bin('1 hour', r.range_start, '2000-01-03 00:00:00+00') end,
          date_bin('1 hour', r.range_end + interval '1 hour - 1 microsecond', '2000-01-03 00:00:00+00')))
        from public.late_ranges r
        where (r.range_start < coalesce(upper(span), 'infinity') and r.range_end > coalesce(lower(span), '-infinity'))
          or r.range_start < '0010-01-01Z'
      ), '{}')
      + coalesce((
        select tstzmultirange(
          case when s.computed_from > '-infinity' then tstzrange(null, s.computed_from) else 'empty' end,
          tstzrange(s.computed_until, null))
        from public.rollup_state s
      ), '{(,)}'));
  end if;
  -- Where there are no aggregates, rows answer everything; and a node of Citus has none of the tables that follow.
  if to_regclass('_timescaledb_catalog.continuous_agg') is null then
    return '{}';
  end if;
  select span::tstzmultirange * range_agg(tstzrange(r.range_start, r.range_end)) into ranges
  from public.late_ranges r
  where r.range_start < upper(span) and r.range_end > lower(span);
  ranges := coalesce(ranges, '{}');
  select a.mat_hypertable_id as id, a.raw_hypertable_id as source, a.materialized_only,
    _timescaledb_functions.to_timestamp(w.watermark) as watermark
  into hourly
  from _timescaledb_catalog.continuous_agg a
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where a.user_view_schema = 'public' and a.user_view_name = 'measurement_hourly';
  if not found then
    return ranges;
  end if;
  tiered := public.tiered_ranges(span);
  -- What it had computed before the rows went to the tier is right but where late readings came since.
  ranges := ranges + (public.changed_ranges(hourly.id, span) + tiered - public.tiered_ranges(span, hourly.id))
    + public.tier_stale_hours(span);
  if hourly.materialized_only then
    ranges := ranges + span::tstzmultirange * tstzrange(hourly.watermark, null)::tstzmultirange;
  end if;
  if isempty(ranges) then
    return ranges;
  end if;
  ranges := ranges * (public.chunk_ranges(hourly.source, range_merge(ranges)) + tiered)
    - (public.rows_gone(hourly.source, range_merge(ranges)) - tiered);
  return coalesce((
    select range_agg(tstzrange(
      date_bin('1 hour', lower(r), '2000-01-03 00:00:00+00'),
      date_bin('1 hour', upper(r) + interval '1 hour - 1 microsecond', '2000-01-03 00:00:00+00')))
    from unnest(ranges) r), '{}');
end
$$;
comment on function hours_from_rows(tstzrange) is 'The hours of a span that are answered from rows.';

-- Hour buckets of sensors that start in a half-open range, as `/hourly` answers them, for Grafana: hours that late rows or
-- anybody's SQL touched come from the rows. It is no view, which the aggregate could not be made anew under. Outside of
-- repeatable read the aggregate is planned by a newer watermark than the snapshot's where a refresh has just moved it;
-- what it computed is not in the snapshot, so that hours from the snapshot's watermark on come from the rows too.
create or replace function grafana_hourly(sensors text[], since timestamptz, until timestamptz)
  returns table ("time" timestamptz, sensor_id text, avg float8, min float8, max float8, samples bigint)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  first constant timestamptz := date_bin('1 hour',
    greatest(since, '0001-01-01Z') + interval '1 hour - 1 microsecond', '2000-01-03 00:00:00+00');
  past constant timestamptz := date_bin('1 hour',
    least(until, '9999-12-31Z') + interval '1 hour - 1 microsecond', '2000-01-03 00:00:00+00');
  -- Where the repair loop keeps hours, `measurement_hourly` is a view of all that is right.
  kept constant text := case when to_regclass('public.rollup_state') is null
    then 'public.measurement_hourly' else 'public.sensor_rollup_1h' end;
  computed timestamptz := past;
  changed tstzmultirange;
begin
  if first >= past then
    return;
  end if;
  if to_regclass('_timescaledb_catalog.continuous_agg') is not null then
    select least(past, _timescaledb_functions.to_timestamp(min(w.watermark))) into computed
    from _timescaledb_catalog.continuous_agg a
    join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
    where a.user_view_schema = 'public' and a.user_view_name = 'measurement_hourly';
  end if;
  -- SQL has no rows of the tier: there the aggregate is all it can tell.
  changed := public.hours_from_rows(tstzrange(first, past)) - public.tiered_ranges(tstzrange(first, past))
    + tstzrange(greatest(first, computed), past)::tstzmultirange;
  return query execute format(
    $query$
      -- A sum of floats is rounded, and that of equal values may lie beside them.
      select h.bucket, h.sensor_id, least(greatest(h.avg, h.min), h.max), h.min, h.max, h.samples
      from (
        select m.bucket, m.sensor_id, m.avg, m.min, m.max, m.samples
        from %s m
        where m.sensor_id = any ($1) and m.bucket >= $2 and m.bucket < $4 and not $5 @> m.bucket
        union all
        select r.bucket, r.sensor_id, r.avg, r.min, r.max, r.samples
        from unnest($5) as range
        cross join lateral (
          select public.time_bucket(interval '1 hour', d.timestamp) as bucket, d.sensor_id,
            avg(d.value) as avg, min(d.value) as min, max(d.value) as max, count(*) as samples
          from public.sensor_data d
          where d.sensor_id = any ($1)
            and d.timestamp >= $2 and d.timestamp < $3
            and d.timestamp >= lower(range) and d.timestamp < upper(range)
          group by 1, 2
        ) r
      ) h
      order by 1, 2
    $query$, kept)
  using sensors, first, past, computed, changed;
end
$$;
comment on function grafana_hourly(text[], timestamptz, timestamptz) is
  'Hour buckets of sensors that start in a half-open range, late readings among them.';

-- How far aggregates over the readings may be trusted in a span, in the snapshot of whoever asks: `behind` is where each
-- one is behind its rows, or has never been refreshed; `gone` is where the rows are gone, so that what an aggregate has
-- is all there is. Where it is behind and the rows are gone, `kept` tells from where to where it has buckets. An
-- aggregate that is not there any more is left out. Rollups that the repair loop keeps are behind together, and their rows
-- are never gone.
create or replace function rollup_coverage(aggregates int[], span tstzrange)
  returns table (aggregate int, behind tstzmultirange, gone tstzmultirange, kept tstzrange)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  found record;
  notes tstzmultirange;
  tiered constant tstzmultirange := public.tiered_ranges(span);
begin
  if to_regclass('public.rollup_state') is not null then
    return query
    select rollup, public.hours_from_rows(span), '{}'::tstzmultirange, null::tstzrange from unnest(aggregates) as rollup;
    return;
  end if;
  select coalesce(span::tstzmultirange * range_agg(tstzrange(r.range_start, r.range_end)), '{}') into notes
  from public.late_ranges r
  where r.range_start < upper(span) and r.range_end > lower(span);
  notes := notes + public.tier_stale_hours(span);
  for found in
    select a.mat_hypertable_id as id, a.raw_hypertable_id as source, a.user_view_schema, a.user_view_name,
      d.column_name, greatest(_timescaledb_functions.to_timestamp(w.watermark), lower(span)) as watermark
    from _timescaledb_catalog.continuous_agg a
    join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
    join _timescaledb_catalog.dimension d on d.hypertable_id = a.mat_hypertable_id and d.interval_length is not null
    where a.mat_hypertable_id = any (aggregates)
  loop
    aggregate := found.id;
    behind := notes + (public.changed_ranges(found.id, span) + tiered - public.tiered_ranges(span, found.id))
      + span::tstzmultirange * tstzrange(found.watermark, null)::tstzmultirange;
    gone := public.rows_gone(found.source, span) - tiered;
    kept := null;
    if not isempty(behind * gone) then
      execute format(
        'select tstzrange(min(%1$I), max(%1$I), ''[]'') from %2$I.%3$I where %1$I >= $1 and %1$I < $2',
        found.column_name, found.user_view_schema, found.user_view_name)
      into kept using lower(behind * gone), upper(behind * gone);
      if lower(kept) is null then
        kept := null;
      end if;
    end if;
    return next;
  end loop;
end
$$;
comment on function rollup_coverage(int[], tstzrange) is 'Where aggregates are behind their rows, and where these are gone.';

-- From the first to the last bucket that the aggregates over a hypertable hold in a span, null where they hold none;
-- of buckets that reach out of it only those where `whole` is not asked.
create or replace function kept_buckets(hypertable int, span tstzrange, whole boolean) returns tstzrange
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  aggregate record;
  found tstzrange;
  kept tstzrange;
begin
  for aggregate in
    select h.schema_name, h.table_name, d.column_name, b.bucket_width::interval as width
    from _timescaledb_catalog.continuous_agg a
    join _timescaledb_catalog.hypertable h on h.id = a.mat_hypertable_id
    join _timescaledb_catalog.dimension d on d.hypertable_id = h.id and d.interval_length is not null
    join _timescaledb_catalog.continuous_aggs_bucket_function b on b.mat_hypertable_id = h.id
    where a.raw_hypertable_id = hypertable
      and has_table_privilege(format('%I.%I', h.schema_name, h.table_name), 'select')
  loop
    execute format(
      'select tstzrange(min(%1$I), max(%1$I) + $3) from %2$I.%3$I where %1$I %4$s and %1$I %5$s',
      aggregate.column_name, aggregate.schema_name, aggregate.table_name,
      case when whole then '>= $1' else '> $1 - $3' end, case when whole then '<= $2 - $3' else '< $2' end)
    into found using lower(span), upper(span), aggregate.width;
    if lower(found) is not null then
      kept := range_merge(coalesce(kept, found), found);
    end if;
  end loop;
  return kept * span;
end
$$;
comment on function kept_buckets(int, tstzrange, boolean) is 'Span of the buckets that aggregates over a hypertable hold.';

-- Bring known_chunks and dropped_ranges up to date: the rows of a chunk that was known and is no more are gone, as far as
-- an aggregate keeps buckets there. Of a hypertable that is looked at for the first time, they are gone where a whole
-- bucket lies beside all chunks. Tells what came and what went: buckets go when somebody refreshes or deletes them.
create or replace function note_dropped_ranges()
  returns table (hypertable text, range_start timestamptz, range_end timestamptz, gone boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  source record;
  ever constant tstzrange := '[0001-01-01 00:00:00+00,9999-12-31 00:00:00+00)';
  first_look boolean;
  suspected tstzmultirange;
  kept tstzrange[];
begin
  if to_regclass('_timescaledb_catalog.continuous_agg') is null then
    return;
  end if;
  for source in
    select distinct h.id, format('%I.%I', h.schema_name, h.table_name) as name
    from _timescaledb_catalog.continuous_agg a
    join _timescaledb_catalog.hypertable h on h.id = a.raw_hypertable_id
  loop
    first_look := not exists (select from public.known_chunks k where k.hypertable_id = source.id);
    suspected := case when first_look
      then ever::tstzmultirange - public.chunk_ranges(source.id, ever)
      else public.rows_gone(source.id, ever) end;
    select coalesce(array_agg(buckets), '{}') into kept
    from unnest(suspected) gap, public.kept_buckets(source.id, gap, first_look) buckets
    where buckets is not null;
    -- What has grown, as retention goes on, has lost nothing.
    return query
    with left_off as (
      delete from public.dropped_ranges r
      where r.hypertable_id = source.id and tstzrange(r.range_start, r.range_end) <> all (kept)
      returning tstzrange(r.range_start, r.range_end) as range
    )
    select source.name, lower(l.range), upper(l.range), true from left_off l where not l.range <@ any (kept);
    return query
    insert into public.dropped_ranges as r (hypertable_id, range_start, range_end)
    select source.id, lower(buckets), upper(buckets) from unnest(kept) buckets
    on conflict do nothing
    returning source.name, r.range_start, r.range_end, false;
    insert into public.known_chunks as k (hypertable_id, ranges)
    values (source.id, public.chunk_ranges(source.id, ever))
    on conflict (hypertable_id) do update set ranges = excluded.ranges where k.ranges <> excluded.ranges;
  end loop;
end
$$;
comment on function note_dropped_ranges() is 'Bring dropped_ranges up to date; tells what came and what went.';

-- Of the hours of a worker's late rows, those that must not be stored, because retention took the rows there and an
-- aggregate keeps their buckets. Asked behind the COPY, which makes a chunk where there is none: a chunk that is not
-- older than this transaction holds nothing else.
create or replace function behind_retention(hours tstzmultirange) returns tstzmultirange
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  source int;
  made tstzmultirange;
begin
  if isempty(hours) or to_regclass('_timescaledb_catalog.continuous_agg') is null then
    return '{}';
  end if;
  select h.id into source
  from _timescaledb_catalog.hypertable h
  where h.schema_name = 'public' and h.table_name = 'sensor_data';
  select range_agg(tstzrange(
    _timescaledb_functions.to_timestamp(s.range_start), _timescaledb_functions.to_timestamp(s.range_end)))
  into made
  from _timescaledb_catalog.dimension d
  join _timescaledb_catalog.dimension_slice s on s.dimension_id = d.id
  where d.hypertable_id = source
    and d.interval_length is not null
    and s.range_start < _timescaledb_functions.to_unix_microseconds(upper(hours))
    and s.range_end > _timescaledb_functions.to_unix_microseconds(lower(hours))
    and age(s.xmin) <= age(pg_current_xact_id()::xid);
  return hours * (
    public.rows_gone(source, range_merge(hours))
    + coalesce((select k.ranges * made from public.known_chunks k where k.hypertable_id = source), '{}')
    - public.tiered_ranges(range_merge(hours)));
end
$$;
comment on function behind_retention(tstzmultirange) is 'Of the hours of late rows, those whose rows retention took.';

-- The age at which a retention policy takes readings, null where none does.
create or replace function retention_age() returns interval
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if to_regclass('timescaledb_information.jobs') is null then
    -- Where they lie in partitions of ours.
    if to_regclass('public.partition_policy') is null or not exists (
      select from pg_partitioned_table where partrelid = to_regclass('public.sensor_data')
    ) then
      return null;
    end if;
    return (select now() - (now() - drop_after) from public.partition_policy);
  end if;
  -- In days and less: a month would have no fixed length.
  return (
    select min(now() - (now() - (j.config ->> 'drop_after')::interval))
    from timescaledb_information.jobs j
    where j.proc_name = 'policy_retention' and j.scheduled
      and j.hypertable_schema = 'public' and j.hypertable_name = 'sensor_data'
  );
end
$$;
comment on function retention_age() is 'The age at which a retention policy takes readings, null where none does.';

-- What a TRUNCATE of readings means for their hours: they are gone as well. Without this it would look like retention,
-- which takes the rows of closed chunks and leaves the hours. A truncated aggregate tells its readers' to follow.
create or replace function readings_truncated() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  aggregate record;
begin
  if to_regclass('public.rollup_state') is not null then
    update public.rollup_state set computed_from = computed_until;
  end if;
  if to_regclass('_timescaledb_catalog.continuous_agg') is null then
    return null;
  end if;
  for aggregate in
    with recursive found as (
      select a.*, 1 as level
      from _timescaledb_catalog.hypertable h
      join _timescaledb_catalog.continuous_agg a on a.raw_hypertable_id = h.id
      where h.schema_name = tg_table_schema and h.table_name = tg_table_name
      union all
      select a.*, found.level + 1
      from found
      join _timescaledb_catalog.continuous_agg a on a.raw_hypertable_id = found.mat_hypertable_id
    )
    select format('%I.%I', user_view_schema, user_view_name) as name, raw_hypertable_id as source from found order by level
  loop
    execute format('truncate %s', aggregate.name);
    delete from public.dropped_ranges where hypertable_id = aggregate.source;
    update public.known_chunks set ranges = '{}' where hypertable_id = aggregate.source;
  end loop;
  -- What is in the tier stays there, and has no hours any more: its files answer.
  if to_regclass('public.tier_chunks') is not null then
    update public.tier_chunks set aggregates = '{}';
  end if;
  return null;
end
$$;
comment on function readings_truncated() is 'Take the hours of readings that a TRUNCATE took.';

-- Where the repair loop keeps rollups: hours in which somebody's SQL changes readings are noted like late ones. Which rows
-- it inserts is not handed over, so that all hours are noted. Whatever its snapshot is: no look at what is computed.
create or replace function note_changed_readings() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'INSERT' then
    -- One of a transaction is enough.
    insert into public.late_ranges (range_start, range_end)
    select '0001-01-01Z', '9999-12-31Z'
    where not exists (
      select from public.late_ranges r
      where r.xmin = pg_current_xact_id()::xid and r.range_start = '0001-01-01Z' and r.range_end = '9999-12-31Z'
    );
  elsif tg_op = 'DELETE' then
    insert into public.late_ranges (range_start, range_end)
    select lower(hours), upper(hours)
    from (
      select unnest(range_agg(tstzrange(hour, hour + interval '1 hour'))) as hours
      from (
        select distinct greatest(least(
          date_bin('1 hour', o.timestamp, '2000-01-03 00:00:00+00'), '9999-12-31Z'), '0001-01-01Z') as hour
        from old_rows o
      ) as touched
    ) as noted;
  else
    insert into public.late_ranges (range_start, range_end)
    select lower(hours), upper(hours)
    from (
      select unnest(range_agg(tstzrange(hour, hour + interval '1 hour'))) as hours
      from (
        select distinct greatest(least(
          date_bin('1 hour', r.timestamp, '2000-01-03 00:00:00+00'), '9999-12-31Z'), '0001-01-01Z') as hour
        from (select o.timestamp from old_rows o union all select n.timestamp from new_rows n) r
      ) as touched
    ) as noted;
  end if;
  return null;
end
$$;
comment on function note_changed_readings() is 'Note the hours of readings that SQL changes.';

-- Who strikes notes off without computing their hours leaves rollups that nobody may trust.
create or replace function forget_rollups() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- Also where nothing is computed yet: a step that is under way would else be taken for right.
  update public.rollup_state set computed_from = computed_until;
  return null;
end
$$;
comment on function forget_rollups() is 'Have the repair loop compute all hours anew.';
