-- Who may do what: millrace_owner owns every object, millrace_writer is the worker, millrace_reader asks.
-- A superuser who runs this by hand becomes the owner first, so that nothing belongs to him.

do $$
begin
  if to_regrole('millrace_owner') is null then
    raise exception 'the role millrace_owner is absent'
      using hint = 'Let a superuser run bootstrap.sql in this database first.';
  end if;
end
$$;

set role millrace_owner;
set client_min_messages = warning;

do $$
declare
  name text;
begin
  foreach name in array array['millrace_writer', 'millrace_reader'] loop
    if to_regrole(name) is null then
      begin
        execute format('create role %I nologin', name);
      exception
        -- Roles belong to the whole server: another database's init.sql was faster.
        when duplicate_object or unique_violation then null;
      end;
    end if;
  end loop;
end
$$;

-- Temporary tables would let a reader write, and stand first in everybody's search path.
do $$
begin
  if has_database_privilege('public', current_database(), 'temporary') then
    execute format('revoke temporary on database %I from public', current_database());
  end if;
end
$$;
