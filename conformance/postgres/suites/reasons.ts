// Why a test of PostgreSQL's own comes out otherwise where the gateway decides: by kind, from the first error
// that was not expected. An error that is of no kind here is a difference nobody has explained.

interface Kind {
  readonly said: RegExp;
  readonly reason: string;
}

const KINDS: readonly Kind[] = [
  { said: /may only be selected as it is|use of .* is not/, reason: "uses a classified column" },
  {
    said: /Custody denied (create|alter|drop|truncate|maintain|lock) on/,
    reason: "policy: schemas are changed by migrations (no-schema-changes)",
  },
  { said: /Custody denied grant on/, reason: "policy: rights are not granted through Custody" },
  { said: /Custody denied unsafe_io/, reason: "reaches files, other servers or the server itself" },
  {
    said: /Custody denied unknown/,
    reason: "cannot be understood: what it does is in another language",
  },
  {
    said: /Custody denied (execute|notify|copy_in|copy_out|delete) on/,
    reason: "policy: not permitted",
  },
  { said: /Custody denied use of/, reason: "uses a classified column" },
  {
    said: /use SET for parameter/,
    reason: "a setting that is set by SET only, not by set_config()",
  },
  { said: /is fixed by the gateway/, reason: "a pinned setting" },
  {
    said: /may not be changed through the gateway|may only be lowered|may not be switched off/,
    reason: "a setting that is not on the list",
  },
  { said: /may not be shown/, reason: "a setting that may be a secret" },
  {
    said: /has rewrite rules/,
    reason:
      "a table with rewrite rules (CREATE RULE): what a statement on it does is not in its text",
  },
  { said: /temporary .* not supported/, reason: "temporary objects come before all others" },
  {
    said: /(are|is) not supported( through the gateway)?|not supported through|is used before it is defined/,
    reason: "a form of statement that is not supported",
  },
  {
    said: /that follows a definition|this transaction defines objects/,
    reason: "a definition and what follows it in one message or transaction",
  },
  {
    said: /missing FROM-clause entry|is not allowed here|syntax error at|^[+-]HINT: {2}Perhaps|^[+-](LINE \d|\s*\^)/,
    reason:
      "an error that is found before the server is asked: in other words, at another place, without a hint",
  },
  {
    said: /does not exist/,
    reason: "follows: what an earlier test or step would have made is not there",
  },
  {
    said: /already exists|because (some|other) objects depend on it|does not have a replica identity and publishes/,
    reason: "follows: what an earlier test or step would have dropped is still there",
  },
  {
    said: /from PID \d|canceling statement due to user request/,
    reason: "a client's process id is the gateway's own: it is a part of its cancel key",
  },
  { said: /text is withheld/, reason: "the text of an error is withheld" },
  { said: /nested too deeply|too long|too large/, reason: "a limit of the gateway's" },
  { said: /Custody denied/, reason: "policy: not permitted" },
];

/** undefined: nobody knows. */
export function reasonFor(said: string): string | undefined {
  return KINDS.find((kind) => kind.said.test(said))?.reason;
}
