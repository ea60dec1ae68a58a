# psycopg 3 over Debian's libpq, unmodified. Runs one case against the server the environment names
# and prints what came out as one line of JSON.

import json
import sys
import threading
import time

import psycopg


def failing(work):
    try:
        work()
    except psycopg.Error as error:
        diag = error.diag
        if diag.sqlstate == "42501":
            return {"code": "42501"}
        return {
            "code": diag.sqlstate,
            "message": diag.message_primary,
            "detail": diag.message_detail,
            "position": diag.statement_position,
            "constraint": diag.constraint_name,
        }
    return {"code": "it did not fail"}


def ledger(conn):
    return conn.execute("select id, amount from ledger order by id").fetchall()


def transactions():
    with psycopg.connect() as conn:
        with conn.transaction(force_rollback=True):
            conn.execute("insert into ledger values (100, 1)")

            def inner():
                with conn.transaction():
                    conn.execute("insert into ledger values (100, 2)")

            failed = failing(inner)
            inside = ledger(conn)
        status = conn.info.transaction_status.name
        return {"failed": failed, "inside": inside, "after": ledger(conn), "status": status}


def prepared():
    with psycopg.connect(autocommit=True) as conn:
        conn.prepare_threshold = 1
        sql = "select name, price from items where id = %s"
        rows = [conn.execute(sql, (n,)).fetchone() for n in range(1, 20)]
        return [[name, str(price)] for name, price in rows]


def binary():
    with psycopg.connect(autocommit=True) as conn:
        cursor = conn.cursor(binary=True)
        cursor.execute("select id, name, price, made, doc, raw, tags from items where id in (1, 2)")
        types = [[column.name, column.type_code] for column in cursor.description]
        return {"types": types, "rows": [[repr(value) for value in row] for row in cursor]}


def pipelines():
    with psycopg.connect(autocommit=True) as conn:
        with conn.pipeline():
            cursors = [conn.execute("select %s::int * 2 as n", (n,)) for n in range(200)]
        return [cursor.fetchone()[0] for cursor in cursors]


def pipeline_with_an_error(sql):
    with psycopg.connect(autocommit=True) as conn:

        def work():
            with conn.pipeline():
                conn.execute("insert into ledger values (110, 1)")
                conn.execute(sql)
                conn.execute("insert into ledger values (111, 1)")

        failed = failing(work)
        return {"failed": failed, "after": ledger(conn), "status": conn.info.transaction_status.name}


def copy_both_ways():
    with psycopg.connect() as conn:
        cursor = conn.cursor()
        with cursor.copy("copy ledger from stdin") as copy:
            for n in range(1000):
                copy.write_row((1000 + n, n))
        with cursor.copy("copy (select * from ledger order by id) to stdout (format binary)") as copy:
            size = sum(len(bytes(block)) for block in copy)
        conn.rollback()
        return {"size": size, "after": ledger(conn)}


def copy_given_up():
    with psycopg.connect() as conn:

        def work():
            with conn.cursor().copy("copy ledger from stdin") as copy:
                copy.write_row((120, 1))
                raise psycopg.DataError("given up by the client")

        failed = failing(work)
        conn.rollback()
        return {"failed": failed, "after": ledger(conn)}


def server_cursor():
    with psycopg.connect() as conn:
        with conn.cursor("walk") as cursor:
            cursor.itersize = 500
            cursor.execute("select id from many order by id")
            return sum(row[0] for row in cursor)


def cancel():
    with psycopg.connect(autocommit=True) as conn:
        threading.Timer(0.4, conn.cancel).start()
        failed = failing(lambda: conn.execute("select count(*) from many a, many b, many c"))
        time.sleep(0.2)
        return {"failed": failed, "alive": conn.execute("select 1").fetchone()}


def large():
    with psycopg.connect() as conn:
        total = 0
        for row in conn.cursor().stream("select payload from large"):
            total += len(row[0])
        return total


CASES = {
    "transactions and nested ones": transactions,
    "statements prepared on the server": prepared,
    "binary results": binary,
    "a pipeline of 200": pipelines,
    "a pipeline with an error in the middle": lambda: pipeline_with_an_error("select 1/0"),
    "a pipeline with a refused statement in the middle": lambda: pipeline_with_an_error(
        "select * from forbidden"
    ),
    "COPY in by rows and out in binary": copy_both_ways,
    "COPY in given up by the client": copy_given_up,
    "a server-side cursor": server_cursor,
    "cancel of a running query": cancel,
    "100 MB row by row": large,
}

if len(sys.argv) == 1:
    print(json.dumps({"version": psycopg.__version__, "cases": list(CASES)}))
else:
    print(json.dumps(CASES[sys.argv[1]]()))
