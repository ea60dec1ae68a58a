// PostgreSQL's own parsers (libpg-query), one a major version: a text is read by the grammar of the server that
// will run it. The same text can be two things: `SELECT 0x1F` is a number since 16, and was a zero called x1f. What
// a parser takes that its server does not (letters right behind a number, since 15) the server refuses. ADR 0030.
//
// Owns the parsers, loaded when a server of their version is first met, one each for all sessions: a megabyte
// or two of memory.

import { GatewayError } from "../../base/errors.ts";
import { inNewestShape } from "./grammar-shape.ts";

/** Major versions whose grammar is here. */
export type Grammar = 13 | 14 | 15 | 16 | 17 | 18;

export const GRAMMARS: readonly Grammar[] = [13, 14, 15, 16, 17, 18];
export const NEWEST_GRAMMAR: Grammar = 18;

/** The tree as JSON; in the shape of 18's, whichever grammar it is of. */
export interface SqlParser {
  parse(text: string): unknown;
  /** What a syntax error says and where (bytes from 0, negative: nowhere); undefined: it is another error. */
  syntaxError(thrown: unknown): SyntaxProblem | undefined;
}

export interface SyntaxProblem {
  readonly message: string;
  readonly cursorPosition: number;
}

/**
 * The grammar for a server (`server_version_num`). A newer server is read by the newest one: what that cannot
 * read is denied. Throws GatewayError "configuration" for an older one, which no parser here would read right.
 */
export function grammarOf(serverVersion: number): Grammar {
  const major = Math.floor(serverVersion / 10_000);
  if (major > NEWEST_GRAMMAR) return NEWEST_GRAMMAR;
  const grammar = GRAMMARS.find((one) => one === major);
  if (grammar !== undefined) return grammar;
  throw new GatewayError("configuration", `a target runs PostgreSQL ${major}, which is too old`, {
    hint: `statements are read by the server's own grammar, and those of ${GRAMMARS[0]} and later are here`,
  });
}

/** Loaded once, for whoever asks. */
export async function loadGrammar(grammar: Grammar): Promise<void> {
  if (loaded.has(grammar)) return;
  const { hasSqlDetails, loadModule, parseSync } = await IMPORTS[grammar]();
  await loadModule();
  loaded.set(grammar, {
    parse: (text) => inNewestShape(parseSync(text), grammar),
    syntaxError: (thrown) => (hasSqlDetails(thrown) ? thrown.sqlDetails : undefined),
  });
}

/** @throws GatewayError "internal" unless `loadGrammar` has settled. */
export function loadedGrammar(grammar: Grammar): SqlParser {
  const parser = loaded.get(grammar);
  if (parser !== undefined) return parser;
  throw new GatewayError("internal", `the grammar of PostgreSQL ${grammar} was not loaded`);
}

const loaded = new Map<Grammar, SqlParser>();

interface ParserModule {
  loadModule(): Promise<void>;
  parseSync(text: string): unknown;
  hasSqlDetails(thrown: unknown): thrown is { readonly sqlDetails?: SyntaxProblem };
}

const IMPORTS: Readonly<Record<Grammar, () => Promise<ParserModule>>> = {
  13: () => import("libpg-query-13"),
  14: () => import("libpg-query-14"),
  15: () => import("libpg-query-15"),
  16: () => import("libpg-query-16"),
  17: () => import("libpg-query-17"),
  18: () => import("libpg-query"),
};
