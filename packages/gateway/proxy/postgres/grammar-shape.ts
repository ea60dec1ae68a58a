// Trees of earlier grammars in the shape of PostgreSQL 18's, so that what reads them (effects, lineage) is
// written once. Only the shape changes: names of fields and how constants are wrapped; never what the text
// means to the server it is for.

type Fields = Record<string, unknown>;

/** `grammar`: the major version. `tree` is not used any more afterwards. Nesting is bounded by the parser's own limit. */
export function inNewestShape(tree: unknown, grammar: number): unknown {
  return grammar === 18 ? tree : shaped(tree, grammar);
}

function shaped(node: unknown, grammar: number): unknown {
  if (Array.isArray(node)) return node.map((one) => shaped(one, grammar));
  if (!isFields(node)) return node;
  const boolean = grammar < 15 ? booleanOf(node) : undefined;
  if (boolean !== undefined) return boolean;
  const out: Fields = {};
  for (const [key, value] of Object.entries(node)) {
    const rule = grammar < 15 ? VALUES.get(key) : undefined;
    if (rule !== undefined && isFields(value)) out[key] = rule(value);
    else if (key === "returningList") out.returningClause = { exprs: shaped(value, grammar) };
    else if (key === "relkind" && grammar < 14) out.objtype = value;
    else out[key] = shaped(value, grammar);
  }
  return out;
}

/** Until 14 all kinds of values had one field, `str`; 15 gave each its own. */
const VALUES: ReadonlyMap<string, (fields: Fields) => Fields> = new Map([
  ["String", ({ str }) => (str === undefined ? {} : { sval: str })],
  ["Float", ({ str }) => (str === undefined ? {} : { fval: str })],
  ["BitString", ({ str }) => (str === undefined ? {} : { bsval: str })],
  ["A_Const", constant],
]);

/** Until 14 a constant had its value as a node; since 15 the value's kind is the field. */
function constant({ val, ...rest }: Fields): Fields {
  if (!isFields(val)) return { ...rest, val };
  const [[kind, value] = ["", undefined]] = Object.entries(val);
  if (kind === "Null") return { isnull: true, ...rest };
  const field = CONSTANT_FIELDS.get(kind);
  if (field === undefined || !isFields(value)) return { ...rest, val };
  return { [field]: VALUES.get(kind)?.(value) ?? value, ...rest };
}

const CONSTANT_FIELDS: ReadonlyMap<string, string> = new Map([
  ["String", "sval"],
  ["Integer", "ival"],
  ["Float", "fval"],
  ["BitString", "bsval"],
]);

/** Until 14 `true` was the text 't' cast to pg_catalog.bool. */
function booleanOf({ TypeCast: cast }: Fields): Fields | undefined {
  if (!isFields(cast) || !isFields(cast.typeName) || !isFields(cast.arg)) return undefined;
  const { A_Const: inner } = cast.arg;
  const { names, typmods, arrayBounds } = cast.typeName;
  if (!isFields(inner) || !isFields(inner.val) || !isFields(inner.val.String)) return undefined;
  const { str } = inner.val.String;
  if (typmods !== undefined || arrayBounds !== undefined || (str !== "t" && str !== "f"))
    return undefined;
  if (JSON.stringify(names) !== POSTGRES_BOOL) return undefined;
  const { location } = inner;
  const boolval = str === "t" ? { boolval: true } : {};
  return { A_Const: { boolval, ...(location === undefined ? {} : { location }) } };
}

const POSTGRES_BOOL = JSON.stringify([
  { String: { str: "pg_catalog" } },
  { String: { str: "bool" } },
]);

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
