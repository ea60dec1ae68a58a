// PostgreSQL's own parser, of the version of the server (grammars.ts), and typed access to its trees, which
// all have the shape of PostgreSQL 18's.
//
// A tree node is an object with one key, the node's type, whose value is the node's fields. Fields
// with their default value (0, false, "", empty list) are absent. Where the grammar fixes the type of
// a field (`relation`, `typeName`, `larg`) the wrapping key is absent too.

import { hasDoubtfulNames } from "./encoded-names.ts";
import { isReadAgainAndAgain } from "./grammar-cost.ts";
import { type Grammar, loadedGrammar, loadGrammar } from "./grammars.ts";
import type { Unclassified } from "./plan.ts";

/** The fields of a node, or a node with its wrapping key. */
export type Tree = Readonly<Record<string, unknown>>;

export interface Statement {
  /** `SelectStmt`, `InsertStmt`, … */
  readonly type: string;
  readonly body: Tree;
}

export interface Parsed {
  readonly statements: readonly Statement[];
}

/** Once a process and grammar, before `parseSql`. */
export async function loadParser(grammar: Grammar): Promise<void> {
  await loadGrammar(grammar);
}

/**
 * Refused with the words and the SQLSTATE PostgreSQL itself would use for a syntax error. `encoding`: the
 * database's, where the text is read by the server as it is.
 */
export function parseSql(
  text: string,
  maxTextBytes: number,
  grammar: Grammar,
  encoding = "UTF8",
): Parsed | Unclassified {
  if (Buffer.byteLength(text) > maxTextBytes)
    return refuse(`statement text is longer than the limit of ${maxTextBytes} bytes`, "54000");
  if (text.includes("\0")) return refuse("statement text contains a NUL character", "22021");
  if (!text.isWellFormed()) return refuse("statement text is not valid UTF-8", "22021");
  if (text.trim() === "") return { statements: [] };
  if (isReadAgainAndAgain(text)) return refuse("the statement is too complex", "54001");
  const parser = loadedGrammar(grammar);
  try {
    const tree = parser.parse(text);
    if (!isTree(tree)) return refuse("the statement could not be parsed", "42601");
    if (hasDoubtfulNames(encoding, text, (other) => parser.parse(other)))
      return refuse(`a name may mean another in a database with the encoding ${encoding}`, "0A000");
    return { statements: list(tree, "stmts").map(rawStatement) };
  } catch (thrown) {
    if (thrown instanceof Unsupported) return refuse(thrown.message, thrown.sqlState);
    const problem = parser.syntaxError(thrown);
    if (problem === undefined) return refuse("the statement could not be parsed", "42601");
    const { message, cursorPosition } = problem;
    return refuse(message, "42601", cursorPosition >= 0 ? cursorPosition + 1 : undefined);
  }
}

export function refuse(message: string, sqlState = "42501", position?: number): Unclassified {
  return { unclassified: true, message, sqlState, position };
}

/**
 * Thrown inside the classifier for whatever it does not know, and turned into Unclassified at its
 * edge (classify.ts); never leaves it.
 */
export class Unsupported extends Error {
  override readonly name = "Unsupported";
  readonly sqlState: string;
  /** Byte offset in the text, as the parse tree has it. */
  readonly location: number | undefined;
  constructor(message: string, sqlState = "42501", location?: number) {
    super(message);
    this.sqlState = sqlState;
    this.location = location;
  }
}

/** The type and fields of a node with its wrapping key. */
export function unwrap(node: unknown): { type: string; body: Tree } {
  if (isTree(node)) {
    for (const type in node) {
      const body = node[type];
      if (isTree(body)) return { type, body };
    }
  }
  throw new Unsupported("the parse tree has an unexpected shape");
}

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function list(body: Tree, field: string): readonly unknown[] {
  const value = body[field];
  return Array.isArray(value) ? value : [];
}

export function child(body: Tree, field: string): Tree | undefined {
  const value = body[field];
  return isTree(value) ? value : undefined;
}

export function text(body: Tree, field: string): string | undefined {
  const value = body[field];
  return typeof value === "string" ? value : undefined;
}

export function flag(body: Tree, field: string): boolean {
  return body[field] === true;
}

export function locationOf(body: Tree): number | undefined {
  const value = body.location;
  return typeof value === "number" && value >= 0 ? value : undefined;
}

/** The string of a `String` node; undefined for any other node, `A_Star` say. */
export function stringOf(node: unknown): string | undefined {
  if (!isTree(node)) return undefined;
  const inner = node.String;
  if (!isTree(inner)) return undefined;
  return text(inner, "sval") ?? "";
}

/** A possibly qualified name (`funcname`, `names`, `objects`): every part must be a string. */
export function nameParts(nodes: readonly unknown[]): string[] {
  return nodes.map((node) => {
    const part = stringOf(node);
    if (part === undefined) throw new Unsupported("a name has an unexpected shape");
    return part;
  });
}

/** The value of a constant as text: what SET and DefElem take. undefined when it is none. */
export function constantText(node: unknown): string | undefined {
  if (!isTree(node)) return undefined;
  const { type, body } = unwrap(node);
  switch (type) {
    case "String":
      return text(body, "sval") ?? "";
    case "Integer":
      return String(body.ival ?? 0);
    case "Float":
      return text(body, "fval");
    case "Boolean":
      return String(body.boolval ?? false);
    case "A_Const":
      return constantField(body);
    case "TypeCast":
      // `'search_path_'::char(11)` is another text.
      return list(child(body, "typeName") ?? {}, "typmods").length > 0 || cutsText(body)
        ? undefined
        : constantText(body.arg);
    default:
      return undefined;
  }
}

/** `"char"` keeps one byte, `name` sixty-three. */
function cutsText(cast: Tree): boolean {
  const last = stringOf(list(child(cast, "typeName") ?? {}, "names").at(-1));
  return last === "char" || last === "name" || last === "bpchar";
}

function constantField(body: Tree): string | undefined {
  const sval = child(body, "sval");
  if (sval !== undefined) return text(sval, "sval") ?? "";
  const ival = child(body, "ival");
  if (ival !== undefined) return String(ival.ival ?? 0);
  const fval = child(body, "fval");
  if (fval !== undefined) return text(fval, "fval");
  const boolval = child(body, "boolval");
  if (boolval !== undefined) return String(boolval.boolval ?? false);
  return undefined;
}

function rawStatement(raw: unknown): Statement {
  const node = isTree(raw) ? child(raw, "stmt") : undefined;
  if (node === undefined) throw new Unsupported("the parse tree has an unexpected shape");
  const { type, body } = unwrap(node);
  return { type, body };
}
