// What the classifier makes of one command text: everything the session needs to decide, forward,
// mask and keep its books, independent of the chain. Interned per exact text and catalogue epoch.

import type { Operation } from "../../access/operation.ts";

/** One column of a result, as predicted from the parse tree and the catalogue. */
export interface OutputColumn {
  /**
   * The base column whose bare value this is; undefined when it is computed. Compared with what the
   * server's RowDescription says before a row is released.
   */
  readonly origin: ColumnOrigin | undefined;
  /** Set when the origin is classified: the class whose mask applies. */
  readonly class: string | undefined;
}

export interface ColumnOrigin {
  /** OIDs the server may name for it: the table, and views it passed through. */
  readonly tableOids: readonly number[];
  readonly attribute: number;
}

/** What a statement does to the session, so that the books stay right. */
export type StatementKind =
  | { readonly kind: "query" }
  | {
      readonly kind: "transaction";
      readonly step: "begin" | "commit" | "rollback" | "savepoint" | "other";
    }
  /** SET/RESET of a free or tighten-only setting. */
  | { readonly kind: "set"; readonly name: string }
  /** SET custody.…: answered by the gateway, never forwarded. */
  | { readonly kind: "custody"; readonly name: string; readonly value: string | undefined }
  | { readonly kind: "prepare"; readonly name: string; readonly inner: StatementPlan }
  /** Needs what `name` stands for: see `QueryPlan.refers`. */
  | { readonly kind: "execute"; readonly name: string }
  | { readonly kind: "deallocate"; readonly name: string | undefined }
  | { readonly kind: "declare"; readonly name: string; readonly inner: StatementPlan }
  | { readonly kind: "fetch"; readonly name: string }
  | { readonly kind: "close"; readonly name: string | undefined }
  | { readonly kind: "copy"; readonly direction: "in" | "out" }
  /** DISCARD ALL/PLANS/TEMP/SEQUENCES. */
  | { readonly kind: "discard"; readonly what: string }
  /** CREATE, ALTER, DROP…: the catalogue is read again after it. */
  | { readonly kind: "definition" };

/** What is sent for a statement about application_name, and what the client is told when it is done. */
export interface RenamedStatement {
  readonly text: string;
  /** undefined: nothing is reported; "start": what the session began with. */
  readonly reports: { readonly value: string } | "start" | undefined;
}

/** Where a text names application_name: the constant of set_config() or current_setting(). */
export interface OwnName {
  /** In bytes, from the beginning of the text. */
  readonly location: number;
  readonly sets: boolean;
}

export interface NullStore {
  readonly class: string;
  /** 1-based; undefined: NULL itself. */
  readonly parameter: number | undefined;
}

/** Views and functions a statement goes through, as they were when it was judged. */
export interface Definitions {
  readonly views: readonly number[];
  readonly functions: readonly number[];
  /** catalogue.ts, `marksOf`. */
  readonly marks: string;
}

export interface StatementPlan {
  readonly kind: StatementKind;
  readonly operation: Operation;
  /**
   * Columns of the rows it returns, in order. undefined: returns no rows, or their lineage is unknown;
   * in the second case `operation.touches` says whether a class could be in them, and it was denied.
   */
  readonly columns: readonly OutputColumn[] | undefined;
  /** True for a plain read that touches no class: its intent may be "ordered" (journal.ts). */
  readonly plainRead: boolean;
  /**
   * True when a relation with classified columns is read or written, whatever is done with them: errors
   * and notices keep their SQLSTATE and lose their text ("Failing row contains …"). Absent counts as
   * true.
   */
  readonly reachesClassified?: boolean;
  /** SET, RESET and SHOW of application_name: forwarded as this, and alone in its text. */
  readonly renamed?: RenamedStatement;
  /** Classified columns that an UPDATE sets to NULL, or to a parameter, which may be NULL. */
  readonly nulls?: readonly NullStore[];
  /**
   * Looked at again when the first row comes: rows of a view or function that was replaced since are not
   * released. Absent: it goes through none, or nothing is classified.
   */
  readonly definitions?: Definitions;
  /** It may change settings by another way than SET: set_config(), code we do not see into. */
  readonly changesSettings?: boolean;
}

export interface QueryPlan {
  readonly text: string;
  /** Catalogue epoch it was resolved in. */
  readonly epoch: number;
  /** Several in a simple Query; one in a Parse. */
  readonly statements: readonly StatementPlan[];
  /** All statements' effects and touches in one operation: a Query is decided as a whole. */
  readonly operation: Operation;
  readonly plainRead: boolean;
  /** Of any statement. Absent counts as true. */
  readonly reachesClassified?: boolean;
  /** SQL-level names (EXECUTE, FETCH, CLOSE, DEALLOCATE) whose meaning depends on the session. */
  readonly refers: readonly { readonly space: "prepared" | "cursor"; readonly name: string }[];
}

/** Not classifiable: denied, with the reason to show. `sqlState` is what PostgreSQL would have said. */
export interface Unclassified {
  readonly unclassified: true;
  readonly message: string;
  /** 42601 for a syntax error, 42P01 for an unknown relation, 42501 otherwise. */
  readonly sqlState: string;
  /** 1-based character position in the text, where known. */
  readonly position: number | undefined;
}

/** Names a session gave a meaning to: prepared statements and cursors, by SQL or by message. */
export interface SessionNames {
  prepared(name: string): StatementPlan | undefined;
  cursor(name: string): StatementPlan | undefined;
}

export interface ReplicationFacts {
  /** How a statement names this relation; undefined: it is not known. */
  nameOf(oid: number): string | undefined;
  /** Classes that say which rows of a relation are sent: of filters of these publications; undefined: of any. */
  filterClasses(
    oid: number,
    publications: readonly string[] | undefined,
  ): Promise<readonly string[]>;
  /** "": of the whole server; undefined: there is no such slot. */
  slotDatabase(name: string): Promise<string | undefined>;
}

/** One per (target, database): parser, catalogue snapshot and cache of plans. */
export interface Classifier {
  /** Synchronous; a map look-up for a text seen before in this epoch. */
  classify(text: string, names: SessionNames): QueryPlan | Unclassified;
  /**
   * Parses a large text ahead of `classify`, without holding up anybody else; undefined when there is
   * nothing to wait for. Absent: there never is.
   */
  readonly prepare?: (text: string) => Promise<void> | undefined;
  /** `server_version_num` of the server whose grammar texts are read by. Absent: any. */
  readonly serverVersion?: number;
  /** The snapshot's epoch; plans of another are not used. */
  readonly epoch: number;
  /** OIDs of types whose values run code of somebody's: no parameter is declared to be of one. Absent: none. */
  readonly codeTypes?: ReadonlySet<number>;
  /** What settings of a session begin with that may only be tightened. Absent: none is bound. */
  readonly settingBounds?: ReadonlyMap<string, number>;
  /**
   * True when others may have changed the catalogue since it was looked at: `verify` comes before
   * anything is judged by it. Absent: never.
   */
  readonly due?: () => boolean;
  /** Looks whether anything changed and reads the catalogue again if so; callers share it. */
  readonly verify?: () => Promise<void>;
  /** Classes of these columns of a relation; undefined: it, or one of them, is not known. Absent: there are none. */
  readonly classesOf?: (oid: number, columns: readonly string[]) => readonly string[] | undefined;
  /** What a replication asks beside statements. Absent: nothing is known of it. */
  readonly replication?: ReplicationFacts;
  /** False: a view or function was replaced since. Absent: nobody looks. */
  readonly confirm?: (definitions: Definitions) => Promise<boolean>;
  /** Reads the catalogue again; at most one read runs at a time, callers share it. */
  refresh(): Promise<void>;
}
