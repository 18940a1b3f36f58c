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
      ('millrace_writer', 'ingest_ledger', 'select'),
      ('millrace_writer', 'ingest_ledger', 'insert'),
      ('millrace_writer', 'ingest_ledger', 'update'),
      ('millrace_writer', 'ingest_ledger', 'delete'),
      ('millrace_writer', 'late_ranges', 'insert'),
      ('millrace_reader', 'schema_migrations', 'select'),
      ('millrace_reader', 'sensor_data', 'select'),
      ('millrace_reader', 'ingest_ledger', 'select'),
      ('millrace_reader', 'late_ranges', 'select'),
      ('millrace_reader', 'measurement_hourly', 'select')
    ) as rights (role, relation, privilege)
    where not has_table_privilege(role, 'public.' || relation, privilege)
  loop
    execute format('grant %s on public.%I to %I', wanted.privilege, wanted.relation, wanted.role);
  end loop;

  if has_function_privilege('public', 'public.late_before()', 'execute') then
    revoke execute on function late_before() from public;
  end if;
  if not has_function_privilege('millrace_writer', 'public.late_before()', 'execute') then
    grant execute on function late_before() to millrace_writer;
  end if;

  -- A second lock on the reader's door; the rights above are the first.
  if not exists (
    select from pg_roles
    where rolname = 'millrace_reader' and 'default_transaction_read_only=on' = any (rolconfig)
  ) then
    alter role millrace_reader set default_transaction_read_only = on;
  end if;
end
$$;
