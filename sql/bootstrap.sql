-- What a superuser runs once in a new database, before init.sql. Everything after it is the owner's work.
--
--     createdb sensors && psql -d sensors -v ON_ERROR_STOP=1 -1 -f sql/bootstrap.sql
--
-- It has no psql commands, so images that run SQL in the new database (docker-entrypoint-initdb.d,
-- CloudNativePG's postInitApplicationSQL) take it as it is. The owner gets no password here: set it afterwards.

do $$
begin
  if to_regrole('millrace_owner') is null then
    create role millrace_owner login createrole nosuperuser;
  end if;
exception
  -- Roles belong to the whole server: another database's bootstrap was faster.
  when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
  -- Both want the same hooks of PostgreSQL, so a database of a Citus cluster stays without.
  if exists (select from pg_available_extensions where name = 'timescaledb')
    and not exists (select from pg_extension where extname = 'citus') then
    create extension if not exists timescaledb with schema public;
  end if;
end
$$;

do $$
begin
  execute format('alter database %I owner to millrace_owner', current_database());
end
$$;
