// The closed list of what an effect can be: how grants and classifiers spell it, the Cedar action it
// is in policies, and the groups it belongs to. policy/custody.cedarschema declares exactly these; a
// test holds the two together.
//
// `sql:unknown` is deliberately not here: what cannot be classified is denied whatever a policy or a
// grant says (I2), so nothing may be written about it that would never match.

export interface ActionSpec {
  /** As effects and grants spell it. */
  readonly name: string;
  readonly cedar: { readonly type: string; readonly id: string };
  /** The groups it is in, as grants spell them; in Cedar the part after the colon. */
  readonly groups: readonly string[];
  /**
   * Part of having a session at all: any grant for the target and account carries it. Policies judge
   * it like everything else.
   */
  readonly session: boolean;
}

export const ACTIONS: readonly ActionSpec[] = [
  {
    name: "connect",
    cedar: { type: "Custody::Action", id: "connect" },
    groups: [],
    session: true,
  },
  sql("select", ["read", "data"]),
  sql("copy_out", ["read", "data"]),
  sql("insert", ["write", "data"]),
  sql("update", ["write", "data"]),
  sql("delete", ["write", "data"]),
  sql("copy_in", ["write", "data"]),
  // Locks and notifications change what others can do or see, so a reader has neither.
  sql("lock", ["write", "data"]),
  sql("notify", ["write", "data"]),
  sql("execute", ["data"]),
  // Truncate is a definition statement in most databases: no row trigger sees it.
  sql("truncate", ["schema"]),
  sql("create", ["schema"]),
  sql("alter", ["schema"]),
  sql("drop", ["schema"]),
  sql("maintain", ["schema"]),
  sql("grant", ["privilege"]),
  // The server's own files, programs and connections: with the server's rights, not the role's.
  sql("unsafe_io", ["privilege"]),
  // All of a database or server as a stream, past what is decided of statements: in no group. The second one
  // where columns are classified, whose values go through as they are.
  sql("replicate", []),
  sql("replicate_past_masks", []),
  ssh("exec", ["data"]),
  ssh("sftp_list", ["read", "data"]),
  ssh("sftp_read", ["read", "data"]),
  ssh("sftp_write", ["write", "data"]),
  ssh("sftp_remove", ["write", "data"]),
  // What the gateway cannot look into, and ways to elsewhere: nobody has them by way of a group.
  ssh("exec_code", []),
  ssh("shell", []),
  ssh("setenv", []),
  ssh("forward_local", []),
  ssh("forward_remote", []),
  ssh("forward_agent", []),
  ssh("forward_x11", []),
  k8s("get", ["read", "data"]),
  k8s("list", ["read", "data"]),
  k8s("watch", ["read", "data"]),
  k8s("log", ["read", "data"]),
  k8s("create", ["write", "data"]),
  k8s("update", ["write", "data"]),
  k8s("patch", ["write", "data"]),
  k8s("delete", ["write", "data"]),
  k8s("deletecollection", ["write", "data"]),
  k8s("exec", ["data"]),
  // As with SSH: what the gateway cannot look into is in no group.
  k8s("exec_code", []),
  k8s("attach", []),
  k8s("portforward", []),
  // Ways to more than the chain was given: another's identity or rights, or past the API server.
  k8s("proxy", ["privilege"]),
  k8s("token", ["privilege"]),
  k8s("bind", ["privilege"]),
  k8s("escalate", ["privilege"]),
  k8s("certify", ["privilege"]),
];

const BY_NAME: ReadonlyMap<string, ActionSpec> = new Map(
  ACTIONS.map((action) => [action.name, action]),
);

export const ACTION_GROUPS: ReadonlySet<string> = new Set(
  ACTIONS.flatMap((action) => action.groups),
);

/** undefined: no such action, so nothing permits it. */
export function actionNamed(name: string): ActionSpec | undefined {
  return BY_NAME.get(name);
}

/**
 * The actions a pattern of a grant stands for: a name, a group, or a prefix of names with "*" at the
 * end. Empty when it stands for none, which is an error wherever a pattern is accepted.
 */
export function expandAction(pattern: string): readonly ActionSpec[] {
  return ACTIONS.filter((action) => namesAction(pattern, action));
}

/** Whether the pattern stands for the action: it is among what `expandAction` gives. */
export function namesAction(pattern: string, { name, groups }: ActionSpec): boolean {
  return pattern.endsWith("*")
    ? name.startsWith(pattern.slice(0, -1))
    : name === pattern || groups.includes(pattern);
}

function sql(id: string, groups: readonly string[]): ActionSpec {
  return action("sql", "SQL::Action", id, groups);
}

function ssh(id: string, groups: readonly string[]): ActionSpec {
  return action("ssh", "SSH::Action", id, groups);
}

function k8s(id: string, groups: readonly string[]): ActionSpec {
  return action("k8s", "K8s::Action", id, groups);
}

function action(prefix: string, type: string, id: string, groups: readonly string[]): ActionSpec {
  return {
    name: `${prefix}:${id}`,
    cedar: { type, id },
    groups: groups.map((group) => `${prefix}:${group}`),
    session: false,
  };
}
