-- What the writer and the reader may do, and nothing else. A GRANT on a hypertable visits every chunk, so only
-- what is missing is granted.

do $$
declare
  wanted record;
begin
  for wanted in
    select *
    from (values
      ('millrace_writer', 'schema_migrations', 'select'),
      ('millrace_writer', 'sensor_data', 'insert'),
      ('millrace_writer', 'sensor_data_id_seq', 'select'),
      ('millrace_writer', 'ingest_ledger', 'select'),
      ('millrace_writer', 'ingest_ledger', 'insert'),
      ('millrace_writer', 'ingest_ledger', 'update'),
      ('millrace_writer', 'ingest_ledger', 'delete'),
      ('millrace_writer', 'late_ranges', 'insert'),
      ('millrace_writer', 'ingest_recent', 'select'),
      ('millrace_writer', 'ingest_recent', 'insert'),
      ('millrace_writer', 'ingest_recent', 'delete'),
      ('millrace_reader', 'schema_migrations', 'select'),
      ('millrace_reader', 'sensor_data', 'select'),
      ('millrace_reader', 'ingest_ledger', 'select'),
      ('millrace_reader', 'late_ranges', 'select'),
      ('millrace_reader', 'measurement_hourly', 'select'),
      ('millrace_writer', 'dropped_ranges', 'select'),
      ('millrace_writer', 'known_chunks', 'select'),
      ('millrace_writer', 'deletions', 'select'),
      ('millrace_writer', 'deletions', 'insert'),
      ('millrace_reader', 'dropped_ranges', 'select'),
      ('millrace_reader', 'known_chunks', 'select'),
      ('millrace_reader', 'deletions', 'select'),
      ('millrace_writer', 'sensors', 'select'),
      ('millrace_writer', 'sensors', 'insert'),
      ('millrace_reader', 'sensors', 'select'),
      ('millrace_reader', 'catalogue_filling', 'select'),
      ('millrace_reader', 'sensor_rollup_15m', 'select'),
      ('millrace_reader', 'grafana_readings', 'select'),
      ('millrace_reader', 'grafana_sensors', 'select'),
      ('millrace_reader', 'grafana_latest', 'select'),
      ('millrace_reader', 'tier_policy', 'select'),
      ('millrace_reader', 'tier_chunks', 'select'),
      ('millrace_reader', 'tier_files', 'select'),
      ('millrace_reader', 'tier_sensors', 'select'),
      ('millrace_reader', 'tier_stale', 'select'),
      ('millrace_reader', 'tier_gate', 'select'),
      ('millrace_reader', 'partition_policy', 'select'),
      ('millrace_writer', 'rollup_state', 'select'),
      ('millrace_reader', 'rollup_state', 'select'),
      ('millrace_reader', 'sensor_rollup_1h', 'select')
    ) as rights (role, relation, privilege)
    -- What a pending migration makes gets its rights there first.
    where to_regclass('public.' || relation) is not null
      and not has_table_privilege(role, to_regclass('public.' || relation), privilege)
  loop
    execute format('grant %s on public.%I to %I', wanted.privilege, wanted.relation, wanted.role);
  end loop;

  for wanted in
    select role, relation, attname, privilege
    from (values
      ('millrace_writer', 'sensors', 'name', 'update'),
      ('millrace_writer', 'sensors', 'field', 'update'),
      ('millrace_writer', 'sensors', 'labels', 'update'),
      ('millrace_writer', 'sensors', 'kind', 'update'),
      ('millrace_writer', 'sensors', 'unit', 'update'),
      -- Which readings are there (dedup=natural), and not what they say.
      ('millrace_writer', 'sensor_data', 'id', 'select'),
      ('millrace_writer', 'sensor_data', 'timestamp', 'select'),
      ('millrace_writer', 'sensor_data', 'sensor_id', 'select')
    ) as rights (role, relation, attname, privilege)
    where to_regclass('public.' || relation) is not null
      and not has_column_privilege(role, to_regclass('public.' || relation), attname, privilege)
  loop
    begin
      execute format('grant %s (%I) on public.%I to %I', wanted.privilege, wanted.attname, wanted.relation, wanted.role);
    exception
      -- TimescaleDB before 2.29 hands rights of columns on to the columnstore's own table, which has not all of them.
      when undefined_column then
        execute format('grant %s on public.%I to %I', wanted.privilege, wanted.relation, wanted.role);
    end;
  end loop;

  for wanted in
    select p.oid, p.oid::regprocedure as signature, f.role
    from (values
      ('late_before', 'millrace_writer'),
      ('behind_retention', 'millrace_writer'),
      ('hours_from_rows', 'millrace_reader'),
      ('changed_ranges', 'millrace_reader'),
      ('chunk_ranges', 'millrace_reader'),
      ('rollup_coverage', 'millrace_reader'),
      ('rows_gone', 'millrace_reader'),
      ('retention_age', 'millrace_reader'),
      ('grafana_hourly', 'millrace_reader'),
      ('tiered_ranges', 'millrace_reader'),
      ('tier_stale_hours', 'millrace_reader'),
      ('tier_deleted', 'millrace_reader'),
      ('kept_buckets', null),
      ('note_dropped_ranges', null),
      ('note_changed_readings', null),
      ('forget_rollups', null)
    ) as f (name, role)
    join pg_proc p on p.proname = f.name
    where p.pronamespace = 'public'::regnamespace and p.proowner = 'millrace_owner'::regrole
  loop
    if has_function_privilege('public', wanted.oid, 'execute') then
      execute format('revoke execute on function %s from public', wanted.signature);
    end if;
    if wanted.role is not null and not has_function_privilege(wanted.role, wanted.oid, 'execute') then
      execute format('grant execute on function %s to %I', wanted.signature, wanted.role);
    end if;
  end loop;

  -- A second lock on the reader's door; the rights above are the first.
  if not exists (
    select from pg_roles
    where rolname = 'millrace_reader' and 'default_transaction_read_only=on' = any (rolconfig)
  ) then
    alter role millrace_reader set default_transaction_read_only = on;
  end if;
end
$$;
