-- What the attacks are made on. Run as the superuser in the database shop; :canary_<name> are made at
-- run time and are in nothing else.

create domain codeword as text check (length(value) < 100);
create type contact as (email text, phone text);
create table customers (
  id int primary key, name text not null, email text unique, phone varchar(40), ssn int, profile jsonb,
  tags text[], code codeword, salary numeric, note text,
  remark text check (length(remark) < 50),
  check (note is distinct from email)
);
create table measured (
  id int, mail text, mail_length int generated always as (length(mail)) stored,
  mail_again text generated always as (mail || '') virtual
);
create table "Customers" (id int, email text);
create table orders (
  id int primary key, customer_id int references customers(id), total numeric, status text, due text
);
create table held (id int primary key, at text);
create table forbidden (id int);
create table visits (id int, visitor text) partition by range (id);
create table visits_low partition of visits for values from (0) to (100);
create table visits_high partition of visits for values from (100) to (1000);
create table people (id int, secret text);
create table staff (room text) inherits (people);
create table ledger (id int, what text) partition by range (id);
create table ledger_open partition of ledger for values from (0) to (100);
create table ledger_closed partition of ledger for values from (100) to (1000);
create table notes (id int, what text);
create table notes_secret (room text) inherits (notes);
create table holders (id int, contact contact);
create table pairs (
  id int, token text, other int, unique (id, token) deferrable initially deferred,
  unique (other) deferrable initially deferred
);
create table mentions (id int, mail text references customers (email), room int);
create table logins (id int primary key, secret text);
create table devices (id int, login text unique);
create table uses (id int, device text references devices (login));
create unique index on measured (lower(mail), id);
create table lowered (
  id int, mail text, other int, small text generated always as (lower(mail)) stored unique,
  size int generated always as (length(mail)) stored, unique (other, size), check (other <> size)
);
create table lapsed (id int, mail text);
create unique index on lapsed (id) where mail > 'm';
create table jobs (id int, word text);
create table scratch (id int, word text);
create unique index on visits_low (visitor);
create table parents (id int primary key);
create table kids (id int references parents on update cascade check (id < 50), token text);
create table bands (id int, band int) partition by range (band);
create table bands_low partition of bands for values from (0) to (100);
create table bands_high partition of bands for values from (100) to (1000);
create table coupled (id int, name text);
create view addresses as select id, email as address, upper(email) as loud, name from customers;
create view noted as select id, note from customers;
create view nested_addresses as select id, address from addresses;
create view barrier with (security_barrier) as select id, email, name from customers where id > 0;
create view named_like as select id, name from customers where email like 'a%';
create materialized view mailing as select id, email from customers with no data;
create view swapped as select id, name as label from customers;

create function first_mail() returns text language sql as 'select email from customers where id = 1';
create function first_mail_pl() returns text language plpgsql as 'begin return (select email from customers where id = 1); end';
create function all_customers() returns setof customers language sql security definer as 'select * from customers';
create function mail_of(orders) returns text language sql as 'select email from customers where id = 1';
create function tell() returns void language plpgsql as
  $$begin raise notice '%', (select email from customers where id = 1); end$$;
create function gather(text, int) returns text language sql as 'select email from customers where id = 1';
create aggregate gathered(int) (sfunc = gather, stype = text);
create function same_mail(int, int) returns bool language sql as 'select exists(select from customers where email > ''m'')';
create operator === (leftarg = int, rightarg = int, function = same_mail);
create procedure hand_out(inout mail text) language plpgsql as 'begin select email into mail from customers where id = 1; end';
create function with_path() returns text language sql set search_path = 'pg_catalog' as 'select ''x''::text';
create function moves_path() returns text language sql as
  'select pg_catalog.set_config(''search_path'', ''elsewhere'', false)';
create function signs_up(mail text) returns void language sql as
  'insert into customers (id, name, email) values (90, ''x'', mail)';
create function what_of(int) returns text language sql as 'select what from ledger where id = $1';
create function counts_scratch() returns bigint language sql stable as 'select count(*) from scratch';
create function counts_as_owner() returns bigint language sql security definer as 'select count(*) from scratch';
create function writes_down() returns void language sql as 'insert into scratch values (1)';
create function greets(name text) returns text language sql immutable as 'select ''hello '' || name';
create function with_default(mail text default first_mail()) returns int language sql as 'select length(mail)';
create function atomic_mail() returns text language sql begin atomic select email from customers where id = 1; end;
create function returned_mail() returns bool language sql return exists (select from customers where email > 'm');
create function guesses(guess text) returns bool language sql as 'select exists (select from customers where email = guess)';
create function calls_first() returns text language sql as 'select upper(first_mail())';
create schema elsewhere;
create table elsewhere.orders (id int, status text);
create function blurt() returns trigger language plpgsql as
  $$begin
    raise notice 'mail %', (select email from customers where id = 1);
    if new.id = 666 then raise exception 'mail %', (select email from customers where id = 1); end if;
    perform pg_notify('jobs', (select email from customers where id = 1));
    return new;
  end$$;
create trigger blurting before insert on jobs for each row execute function blurt();

-- Code that runs by itself.
create function noisy(x text) returns bool language plpgsql as
  $$begin raise notice 'mail %', (select email from customers where id = 1); return true; end$$;
create table guarded (id int, word text check (noisy(word)));
create table defaulted (id int, word bool default noisy('x'));
create domain guard as text check (noisy(value));
create table domained (id int, word guard, words guard[]);
create table secured (id int, word text);
alter table secured enable row level security;
create policy seen on secured using (noisy(word));
create view job_view as select id, word from jobs;
create materialized view named as select name, email from customers with no data;
create unique index on named (name);

insert into customers (id, name, email, phone, ssn, profile, tags, code, salary, note) values
  (1, 'one', :canary_email, :canary_phone, :canary_ssn, jsonb_build_object('mail', :canary_json),
   array[:canary_tag], :canary_code, :canary_salary, 'first'),
  (2, 'two', 'b@example.com', '2', 2, '{}', '{}', 'two', 2, 'second');
insert into measured values (1, :canary_email);
insert into "Customers" values (1, :canary_email);
insert into orders values (1, 1, 10, 'open', '01/02/2024'), (2, 2, 20, 'open', '02/01/2024');
insert into held select n, '03/04/2024' from generate_series(1, 5) n;
insert into forbidden values (1);
insert into visits values (1, :canary_visit), (200, :canary_visit);
insert into people values (1, :canary_secret);
insert into staff values (2, :canary_secret, 'room');
insert into ledger values (1, 'one'), (200, 'two');
insert into notes_secret values (2, 'two', 'room');
insert into holders values (1, row(:canary_contact, 'x'));
insert into pairs values (1, :canary_token, 1), (2, :canary_token, 2);
insert into devices values (1, 'one'), (2, 'two');
insert into uses values (1, 'one');
insert into lowered (id, mail, other) values (1, :canary_email, 1);
insert into lapsed values (1, :canary_email), (2, null);
insert into parents values (1);
insert into kids values (1, :canary_token);
insert into bands values (1, 50), (2, 500);
insert into secured values (1, 'x');
alter table coupled add column later text default :canary_stored;
alter table coupled alter later drop default;
refresh materialized view mailing;
refresh materialized view named;
select lo_from_bytea(4711, convert_to(:canary_email, 'UTF8'));
grant select on large object 4711 to public;

create role attacked nologin;
grant connect on database shop to attacked;
grant usage, create on schema public to attacked;
grant usage on schema elsewhere to attacked;
grant all on all tables in schema public, elsewhere to attacked;
grant execute on all functions in schema public to attacked;
grant pg_read_all_data, pg_monitor to attacked;
create role feeder login replication in role attacked password :admin_password;
create role custody_admin login createrole password :admin_password;
grant attacked to custody_admin with admin option;
grant pg_signal_backend to custody_admin;
alter database shop set app.secret = :canary_guc;
alter role attacked set app.secret = :canary_role;
alter materialized view named owner to attacked;
alter domain codeword owner to attacked;
create extension postgres_fdw;
create server far foreign data wrapper postgres_fdw options (host 'far.example');
grant usage on foreign server far to attacked;
create user mapping for attacked server far options (user 'u', password :canary_far);
-- What replication is tried on. Nothing of it has to be a key where others are written to.
create table marks (mark text);
create table feed_people (id int primary key, name text, email text not null unique);
create table feed_parts (id int, what text) partition by range (id);
create table feed_parts_low partition of feed_parts for values from (0) to (100);
create table feed_parts_high partition of feed_parts for values from (100) to (1000);
grant all on marks, feed_people, feed_parts, feed_parts_low, feed_parts_high to attacked;
insert into feed_people values (1, 'one', :canary_email);
create publication marked for table marks;
create publication clear for table feed_people (id, name) with (publish = 'insert');
create publication whole for table feed_people;
create publication emptied for table feed_people with (publish = 'truncate');
create publication filtered for table feed_people (id, name) where (email > 'm') with (publish = 'insert');
create publication parts for table feed_parts with (publish = 'insert', publish_via_partition_root = true);
create publication leaf for table feed_parts_low with (publish = 'insert');
create publication root for table visits with (publish = 'insert', publish_via_partition_root = true);
create publication root_parts for table visits with (publish = 'insert');
create publication child for table staff with (publish = 'insert');
create publication made for table measured (id, mail_length) with (publish = 'insert');
create publication root_filtered for table visits where (visitor > 'm')
  with (publish = 'insert', publish_via_partition_root = true);
create publication out_of_reach for table forbidden with (publish = 'insert');
create publication ledger for table ledger with (publish = 'insert', publish_via_partition_root = true);
create publication everything for all tables with (publish = 'insert');
create publication changing for table marks with (publish = 'insert');
create publication "schema" for tables in schema public with (publish = 'insert');
analyze;
