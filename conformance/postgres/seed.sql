-- What the driver suite works on. Run as the superuser in the database test.

create table items (
  id    int primary key,
  name  text not null unique,
  price numeric(8, 2) check (price >= 0),
  made  timestamptz,
  tags  text[],
  doc   jsonb,
  raw   bytea
);
create table ledger (id int primary key, amount int not null);
create table forbidden (id int primary key, note text);
create table many (id int primary key, word text not null);
create table large (id int primary key, payload text not null);

insert into items
select n, 'item ' || n, n * 1.5, timestamptz '2024-02-29 12:00:00+00' + n * interval '1 day',
       array['a', 'b' || n], jsonb_build_object('n', n), decode(lpad(to_hex(n), 4, '0'), 'hex')
from generate_series(1, 50) as n;
insert into forbidden values (1, 'nobody may see this');
insert into many select n, md5(n::text) from generate_series(1, 20000) as n;
-- 100 MB on the wire, from text that is stored as it is.
alter table large alter payload set storage external;
insert into large select n, repeat(md5(n::text), 32) from generate_series(1, 100000) as n;

create role suite nologin;
grant connect on database test to suite;
grant usage on schema public to suite;
grant select, insert, update, delete on items, ledger, many, large to suite;

create role custody_admin login createrole password :admin_password;
grant suite to custody_admin with admin option;
grant pg_signal_backend to custody_admin;

-- The same rights without the gateway, for the comparison.
create role direct login password :direct_password;
grant suite to direct;
alter role direct set role suite;
analyze;
