"""The statements that pgAdmin's own SQL templates make when it browses, with sample names and ids.

    render-pgadmin.py WHEEL      prints them, "-- next" between two

pgAdmin chooses the folder of templates that fits the server's version best, and gives each template what the
page at hand knows; here everything is asked about things that every database has. What it asks older servers
is asked of this one too: with or without Custody it must come to the same.
"""

import re
import sys
import zipfile

import jinja2

SERVERS = (13, 14, 15, 16, 18)
BROWSES = re.compile(
    r"/(get_\w+|properties|nodes?|count|acl|\w*stats|variables|backend_support|view_id|is_catalog"
    r"|activity|locks|prepared|config|dashboard_stats|session_stats|functions|dependents|dependencies|depend|defacl|oid)\.sql$"
)
SAMPLES = {
    **{name: 2200 for name in ("scid", "schema_id", "nspoid", "parent_id", "conn_scid")},
    **{name: 1259 for name in ("tid", "vid", "relid", "seid", "foid", "table_id")},
    **{name: 1 for name in ("did", "oid", "cid", "idx", "trid", "rid", "fid", "fsid", "umid", "lid", "etid")},
    **{name: 1 for name in ("exid", "pbid", "subid", "coid", "syid", "tsid", "fnid", "typid", "doid", "pid")},
    **{name: "public" for name in ("schema", "schema_name", "nspname", "schemaname")},
    **{name: "items" for name in ("name", "table", "table_name", "relname", "tname", "conname", "obj_name")},
    "last_system_oid": 16383,
    "datlastsysoid": 16383,
    "show_sysobj": True,
    "show_system_objects": True,
    "show_internal": True,
}


def version_of(path, server):
    """The version a template is for, or None when it is not for this server."""
    if "/ppas/" in path or "gpdb" in path or "/tests/" in path:
        return None
    for part in path.split("/"):
        found = re.fullmatch(r"(\d+)_plus", part)
        if found:
            return int(found[1]) if int(found[1]) <= server else None
    return 0


def best(paths, server):
    """Of the templates that differ in their version alone, the newest that fits."""
    chosen = {}
    for path in paths:
        version = version_of(path, server)
        if version is None or not BROWSES.search(path):
            continue
        key = re.sub(r"/(\d+_plus|default)/", "/*/", path)
        if key not in chosen or version > chosen[key][0]:
            chosen[key] = (version, path)
    return [path for _, path in sorted(chosen.values(), key=lambda one: one[1])]


def literal(value, *_):
    if isinstance(value, jinja2.Undefined) or value is None:
        return "NULL"
    if isinstance(value, (int, bool)):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def ident(_conn, *names):
    return ".".join('"' + str(name).replace('"', '""') + '"' for name in names)


def main(wheel):
    archive = zipfile.ZipFile(wheel)
    paths = [path for path in archive.namelist() if path.endswith((".sql", ".macros"))]
    templates = {}
    for path in paths:
        _, _, name = path.rpartition("/templates/")
        templates[name] = path
    loader = jinja2.FunctionLoader(
        lambda name: archive.read(templates[name]).decode() if name in templates else None
    )
    environment = jinja2.Environment(loader=loader, undefined=jinja2.ChainableUndefined)
    environment.filters.update(
        qtLiteral=literal, qtIdent=lambda name, *rest: ident(None, name), qtTypeIdent=lambda name, *_: str(name)
    )
    environment.globals.update(conn=None, _=lambda text: text)
    statements = {}
    wanted = [path for server in SERVERS for path in best(paths, server)]
    for path in dict.fromkeys(wanted):
        try:
            text = environment.get_template(path.rpartition("/templates/")[2]).render(**SAMPLES)
        except (jinja2.TemplateError, TypeError, ValueError):
            continue
        text = re.sub(r"\n\s*\n", "\n", text).strip()
        if re.match(r"(--[^\n]*\n|/\*.*?\*/|\s)*(select|with|show)\b", text, re.I | re.S):
            statements[text] = path
    print("\n-- next\n".join(statements))


main(sys.argv[1])
