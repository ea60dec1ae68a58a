-- A small shop: what people buy (schema public) and what is nobody's business (schema internal).
-- Run as the superuser in the database shop; :admin_password is put in by demo/stage.ts.

create schema internal;

create table customers (
  id         int generated always as identity primary key,
  name       text not null,
  email      text not null unique,
  city       text not null,
  created_at timestamptz not null default now()
);

create table products (
  id    int generated always as identity primary key,
  name  text not null,
  price numeric(8, 2) not null
);

create table orders (
  id          int generated always as identity primary key,
  customer_id int not null references customers,
  status      text not null check (status in ('open', 'paid', 'shipped', 'cancelled')),
  placed_at   timestamptz not null
);

create table order_items (
  order_id   int not null references orders on delete cascade,
  product_id int not null references products,
  quantity   int not null check (quantity > 0),
  primary key (order_id, product_id)
);

create table internal.margins (
  product_id int primary key references products,
  cost       numeric(8, 2) not null
);

insert into products (name, price)
values ('Teapot', 34.90), ('Kettle', 59.00), ('Cup', 8.50), ('Strainer', 6.20), ('Green tea', 12.80);

insert into internal.margins (product_id, cost)
select id, round(price * 0.4, 2) from products;

insert into customers (name, email, city)
select given || ' ' || family,
       lower(given) || '.' || lower(family) || '@' || (array['example.com', 'example.org', 'example.net'])[1 + (g * 7 + f) % 3],
       (array['Lyon', 'Porto', 'Graz', 'Turku', 'Brno'])[1 + (g + f) % 5]
from unnest(array['Ada', 'Bruno', 'Clara', 'Dario', 'Elif', 'Finn', 'Greta', 'Hugo']) with ordinality as a (given, g),
     unnest(array['Abel', 'Brandt', 'Costa', 'Dvorak', 'Eriksen']) with ordinality as b (family, f);

insert into orders (customer_id, status, placed_at)
select 1 + n % 40, (array['open', 'paid', 'shipped', 'cancelled'])[1 + (n * 3) % 4], now() - n * interval '5 hours'
from generate_series(1, 400) as n;

insert into order_items (order_id, product_id, quantity)
select o.id, p.id, 1 + (o.id + p.id) % 3
from orders o join products p on (o.id + p.id) % 3 = 0;

-- The standing role that holds what the account `app` needs. Nobody logs in as it.
create role shop_app nologin;
grant connect on database shop to shop_app;
grant usage on schema public to shop_app;
grant select, insert, update, delete on all tables in schema public to shop_app;
grant usage, select on all sequences in schema public to shop_app;

-- The gateway's own login: makes one role a session, and reads nothing but the catalogue.
create role custody_admin login createrole password :admin_password;
grant shop_app to custody_admin with admin option;
grant pg_signal_backend to custody_admin;

analyze;
