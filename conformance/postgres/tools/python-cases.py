# SQLAlchemy and Django, unmodified: what they ask when they look at a database and work with it. The first
# argument says which; without a second, its version and the names of its cases.

import os
import sys


def sqlalchemy_cases():
    import sqlalchemy as sa
    from sqlalchemy.orm import Session, declarative_base

    engine = sa.create_engine("postgresql+psycopg2://", pool_size=1)

    def reflection():
        look = sa.inspect(engine)
        print(look.get_schema_names(), look.get_table_names(), look.get_view_names(), look.default_schema_name)
        for table in sorted(look.get_table_names()):
            print(table, [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(table)])
            print(look.get_pk_constraint(table), look.get_foreign_keys(table), look.get_unique_constraints(table))
            print(look.get_check_constraints(table), look.get_indexes(table), look.get_table_comment(table))
        print(look.get_view_definition("cheap"), look.get_enums(), look.has_table("nothing"), look.get_sequence_names())

    def metadata():
        found = sa.MetaData()
        found.reflect(engine, views=True)
        for name in sorted(found.tables):
            print(name, [str(column.type) for column in found.tables[name].columns])

    def core():
        found = sa.MetaData()
        items = sa.Table("items", found, autoload_with=engine)
        with engine.connect() as connection:
            print(connection.execute(sa.select(items.c.id, items.c.name, items.c.tags, items.c.doc).where(items.c.price < 9)).all())
            print(connection.execute(sa.select(sa.func.count()).select_from(items)).scalar())
            print(connection.execute(sa.text("select version() is not null, current_schema()")).one())

    def orm():
        base = declarative_base()

        class Entry(base):
            __tablename__ = "ledger"
            id = sa.Column(sa.Integer, primary_key=True)
            amount = sa.Column(sa.Integer)

        with Session(engine) as session:
            session.add_all([Entry(id=7200 + n, amount=n) for n in range(5)])
            session.flush()
            with session.begin_nested() as savepoint:
                # Deletes wait for somebody who approves, under the policies as shipped.
                session.query(Entry).filter(Entry.id > 7202).update({"amount": 0})
                savepoint.rollback()
            print([(one.id, one.amount) for one in session.query(Entry).filter(Entry.id >= 7200).order_by(Entry.id)])
            session.rollback()
            print(session.query(Entry).filter(Entry.id >= 7200).count())

    return sa.__version__, {
        "what its inspector sees": reflection,
        "all tables and views reflected": metadata,
        "selects over a reflected table": core,
        "units of work with savepoints": orm,
    }


def django_cases():
    import django
    from django.conf import settings

    value = os.environ.get
    options = {"sslmode": value("PGSSLMODE"), "sslrootcert": value("PGSSLROOTCERT"), "hostaddr": value("PGHOSTADDR")}
    database = {
        "ENGINE": "django.db.backends.postgresql",
        **{"NAME": value("PGDATABASE"), "USER": value("PGUSER"), "PASSWORD": value("PGPASSWORD")},
        **{"HOST": value("PGHOST"), "PORT": value("PGPORT"), "OPTIONS": options},
    }
    settings.configure(DATABASES={"default": database}, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
    django.setup()
    from django.core.management import call_command
    from django.db import connection, models, transaction

    class Entry(models.Model):
        id = models.IntegerField(primary_key=True)
        amount = models.IntegerField()

        class Meta:
            app_label = "cases"
            db_table = "ledger"
            managed = False

    def inspectdb():
        call_command("inspectdb", "items", "ledger", "child", "many", "--include-views")

    def introspection():
        with connection.cursor() as cursor:
            look = connection.introspection
            print(sorted(look.get_table_list(cursor), key=lambda one: one.name))
            for table in ["child", "items", "ledger", "many"]:
                print(look.get_table_description(cursor, table))
                print(look.get_constraints(cursor, table), look.get_relations(cursor, table))
                print(look.get_sequences(cursor, table))

    def work():
        try:
            with transaction.atomic():
                Entry.objects.bulk_create([Entry(id=7300 + n, amount=n) for n in range(5)])
                with transaction.atomic():
                    print(Entry.objects.filter(id__gte=7300).update(amount=models.F("amount") + 1))
                print(list(Entry.objects.filter(id__gte=7300).order_by("id").values_list("id", "amount")))
                print(list(Entry.objects.filter(id__gte=7300).iterator(chunk_size=2))[0].amount)
                print(Entry.objects.select_for_update().get(pk=7301).amount, Entry.objects.aggregate(models.Max("id")))
                raise InterruptedError
        except InterruptedError:
            print(Entry.objects.filter(id__gte=7300).count())

    return django.get_version(), {
        "inspectdb": inspectdb,
        "introspection": introspection,
        "rows in transactions, with server-side cursors": work,
    }


version, cases = {"sqlalchemy": sqlalchemy_cases, "django": django_cases}[sys.argv[1]]()
if len(sys.argv) == 2:
    print(version, *cases, sep="\n")
else:
    cases[sys.argv[2]]()
