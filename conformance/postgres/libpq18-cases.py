# PostgreSQL 18's libpq, which psycopg-binary 3.3 brings, unmodified: OAUTHBEARER with the token given by the
# application's own hook (PQsetAuthDataHook), where the server is the gateway, a password, where it is not; TLS from
# the first byte; protocol 3.2 with its long cancel keys, and 3.0; SCRAM bound to the channel.

import ctypes
import glob
import json
import os
import sys
import threading

import psycopg

if psycopg.pq.version() < 180000:
    sys.exit(f"libpq {psycopg.pq.version()} knows no OAUTHBEARER")
if len(sys.argv) == 1:
    print(json.dumps(psycopg.pq.version()))
    sys.exit(0)


class Request(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h"""

    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("asynchronous", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


HOOK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
PQAUTHDATA_OAUTH_BEARER_TOKEN = 1
asked = []
token = b""


def answer(kind, _conn, data):
    if kind != PQAUTHDATA_OAUTH_BEARER_TOKEN:
        return 0
    request = ctypes.cast(data, ctypes.POINTER(Request)).contents
    asked.append(request.openid_configuration.decode())
    request.token = token
    return 1


def through_gateway(issuer):
    global token
    folder = os.path.join(os.path.dirname(psycopg.__file__), "..", "psycopg_binary.libs")
    [library] = glob.glob(os.path.join(folder, "libpq-*.so*"))
    hook = HOOK(answer)
    ctypes.CDLL(library).PQsetAuthDataHook(hook)
    oauth = f"oauth_issuer={issuer} oauth_client_id=conformance require_auth=oauth"
    oauth += " options='-c custody.sign_in=oauth'"
    handle = os.environ.pop("PGPASSWORD")
    token = handle.encode()[:-4] + b"zzzz"
    try:
        psycopg.connect(oauth)
        raise SystemExit("a wrong token signed in")
    except psycopg.OperationalError as error:
        assert "not one of this gateway's" in str(error), error
    assert len(asked) == 1 and asked[0].startswith(issuer + "/.well-known/"), asked
    token = handle.encode()
    return psycopg.connect(oauth)


def oauth():
    issuer = os.environ.get("CUSTODY_ISSUER", "")
    with through_gateway(issuer) if issuer else psycopg.connect() as connection:
        return rows(connection)


def rows(connection):
    return connection.execute("select id, name from items order by id limit 2").fetchall()


def cancelled(options):
    with psycopg.connect(options, autocommit=True) as connection:
        ended = threading.Event()

        # Again until it is: the first may come before the statement is under way.
        def cancel():
            while not ended.wait(0.3):
                connection.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            connection.execute("select count(*) from many a, many b, many c")
        except psycopg.errors.QueryCanceled as error:
            return error.sqlstate
        finally:
            ended.set()
            thread.join()
        return "it was not cancelled"


def direct_tls():
    with psycopg.connect("sslnegotiation=direct") as connection:
        return [connection.pgconn.ssl_in_use, rows(connection)]


def scram():
    with psycopg.connect("require_auth=scram-sha-256 channel_binding=require") as connection:
        return rows(connection)


CASES = {
    "oauth": oauth,
    "direct-tls": direct_tls,
    "protocol-3.2": lambda: cancelled("min_protocol_version=3.2 max_protocol_version=latest"),
    "protocol-3.0": lambda: cancelled("min_protocol_version=3.0 max_protocol_version=3.0"),
    "scram": scram,
}
print(json.dumps(CASES[sys.argv[1]]()))
