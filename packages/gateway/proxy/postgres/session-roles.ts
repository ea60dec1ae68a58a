// Credentials of PostgreSQL targets: a login role made for one session and dropped with it, or the
// sealed password of a fixed one. Session roles have no rights of their own: they are members of the
// account's profile and take its role at login, so what they make outlives them and belongs to it.
//
// Who owns the state: the broker owns the roles it made. Statements on roles of one target run one after
// another on one standing connection, since concurrent ones collide in pg_auth_members.

import { scramVerifier } from "@custody/wire/postgres/scram.ts";
import type { Clock } from "../../base/clock.ts";
import { base32, type RandomBytes } from "../../base/ids.ts";
import { Secret } from "../../base/secret.ts";
import type { ResolveSecret } from "../../credential/secrets.ts";
import type { StandingConnections } from "../../credential/standing.ts";
import type { CredentialBroker, Lease, LeaseRequest } from "../../session/broker.ts";
import type { AccountCredential, PostgresTarget, StandingLogin } from "../../target/target.ts";
import { quoteIdentifier } from "./session-settings.ts";

export interface SessionRoleDeps {
  readonly standing: StandingConnections;
  readonly resolveSecret: ResolveSecret;
  readonly random: RandomBytes;
  readonly clock: Clock;
  /** Of this gateway: another one on the same target must not take our roles for leftovers. */
  readonly instance: string;
  readonly log: (message: string, error?: unknown) => void;
}

export interface PostgresBroker extends CredentialBroker<PostgresTarget> {
  /**
   * Drops roles that an earlier run of this gateway left behind; of a target that cannot be reached, when
   * a session of it begins.
   */
  clearLeftovers(targets: Iterable<PostgresTarget>): Promise<void>;
}

interface Leased {
  readonly target: PostgresTarget;
  readonly login: StandingLogin;
  readonly user: string;
  processId: number | undefined;
  /** Its backend is being ended: it is known by its role, which is dropped after that. */
  ending: Promise<void> | undefined;
}

interface RoleMaker extends SessionRoleDeps {
  /** Roles of sessions of this run, from before they are made until they are dropped. */
  readonly inUse: Set<string>;
  /** Where a role may have been left behind: `placeOf`. */
  readonly uncleared: Set<string>;
}

type SessionRole = Extract<AccountCredential, { kind: "session-role" }>;

const PASSWORD_BYTES = 24;
const SALT_BYTES = 16;
/** The least a client must accept (RFC 7677); more protects guessable passwords, which these are not. */
const ITERATIONS = 4096;
const MAX_DROPPED_AT_ONCE = 200;

export function createPostgresBroker(deps: SessionRoleDeps): PostgresBroker {
  const leased = new Map<string, Leased>();
  const maker: RoleMaker = { ...deps, inUse: new Set(), uncleared: new Set() };
  const drop = createDropper(maker);
  return {
    async lease(request) {
      const { target, sessionId } = request;
      const account = target.accounts.find(({ name }) => name === request.account);
      if (account === undefined) throw new RangeError(`no account ${request.account}`);
      const { credential } = account;
      const ender = credential.kind === "fixed-role" ? target.catalogue : credential.admin;
      // A revocation must not wait for a connection to be opened, nor behind roles that are made.
      deps.standing.prepareUrgent(target, ender, ender.database);
      if (credential.kind === "fixed-role") {
        const password = await deps.resolveSecret(credential.password);
        const { user } = credential;
        const login = target.catalogue;
        leased.set(sessionId, leasedOf(target, login, user));
        return lease(leased, sessionId, user, password, async () => undefined);
      }
      const user = await createRole(maker, request, credential);
      if (maker.uncleared.has(placeOf(target, credential)))
        void clearLeftovers(maker, target, credential);
      leased.set(sessionId, leasedOf(target, credential.admin, user.name));
      return lease(leased, sessionId, user.name, user.password, () =>
        drop(target, credential, user.name),
      );
    },
    async endBackends(sessionIds) {
      const byTarget = new Map<string, Leased[]>();
      for (const sessionId of sessionIds) {
        const one = leased.get(sessionId);
        if (one?.processId === undefined) continue;
        const list = byTarget.get(one.target.name);
        if (list === undefined) byTarget.set(one.target.name, [one]);
        else list.push(one);
      }
      const endings = [...byTarget.values()].map((batch) => {
        const ending = terminate(deps, batch);
        for (const one of batch) one.ending = ending;
        return ending;
      });
      await Promise.all(endings);
    },
    async clearLeftovers(targets) {
      for (const target of targets)
        for (const { credential } of target.accounts)
          if (credential.kind === "session-role") await clearLeftovers(maker, target, credential);
    },
  };
}

function leasedOf(target: PostgresTarget, login: StandingLogin, user: string): Leased {
  return { target, login, user, processId: undefined, ending: undefined };
}

function lease(
  leased: Map<string, Leased>,
  sessionId: string,
  user: string,
  password: Secret,
  release: () => Promise<void>,
): Lease {
  let released: Promise<void> | undefined;
  return {
    credential: { kind: "password", user, password },
    attach(processId) {
      const one = leased.get(sessionId);
      if (one !== undefined) one.processId = processId;
    },
    release() {
      const ending = leased.get(sessionId)?.ending;
      leased.delete(sessionId);
      released ??= ending === undefined ? release() : ending.then(release);
      return released;
    },
  };
}

async function createRole(
  deps: RoleMaker,
  request: LeaseRequest<PostgresTarget>,
  credential: SessionRole,
): Promise<{ name: string; password: Secret }> {
  const { target, sessionId } = request;
  const { admin, profile } = credential;
  const name = rolePrefix(deps.instance) + sessionId.slice(2);
  const password = new Secret(deps.random(PASSWORD_BYTES).toString("base64url"));
  // The server is given the verifier, so that not even its log can show the password.
  const verifier = await scramVerifier(password.reveal(), deps.random(SALT_BYTES), ITERATIONS);
  const until = new Date(request.expiresAtMs).toISOString();
  const role = quoteIdentifier(name);
  deps.inUse.add(name);
  try {
    await deps.standing.query(
      target,
      admin,
      admin.database,
      `CREATE ROLE ${role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT 1
         PASSWORD '${verifier}' VALID UNTIL '${until}' IN ROLE ${quoteIdentifier(profile)};
       ALTER ROLE ${role} SET role = ${quoteIdentifier(profile)}`,
    );
  } catch (error) {
    // It may have been made all the same, where the answer was lost.
    deps.uncleared.add(placeOf(target, credential));
    deps.inUse.delete(name);
    throw error;
  }
  return { name, password };
}

type Drop = (target: PostgresTarget, credential: SessionRole, name: string) => Promise<void>;

interface DropQueue {
  readonly waiting: { readonly name: string; readonly done: () => void }[];
  running: boolean;
}

/** Roles of a target are dropped together while an earlier statement is under way: sessions end in crowds. */
function createDropper(deps: RoleMaker): Drop {
  const queues = new Map<string, DropQueue>();
  return (target, credential, name) => {
    const key = JSON.stringify([target.name, credential.profile, credential.admin.user]);
    const queue = queues.get(key) ?? { waiting: [], running: false };
    queues.set(key, queue);
    return new Promise((done) => {
      queue.waiting.push({ name, done });
      if (!queue.running) void runQueue(deps, target, credential, queue);
    });
  };
}

async function runQueue(
  deps: RoleMaker,
  target: PostgresTarget,
  credential: SessionRole,
  queue: DropQueue,
): Promise<void> {
  queue.running = true;
  while (queue.waiting.length > 0) {
    const batch = queue.waiting.splice(0, MAX_DROPPED_AT_ONCE);
    const names = batch.map(({ name }) => name);
    await dropRoles(deps, target, credential, names);
    for (const { done } of batch) done();
  }
  queue.running = false;
}

/** Never rejects: `dropRole` says what it could not do. */
async function dropRoles(
  deps: RoleMaker,
  target: PostgresTarget,
  credential: SessionRole,
  names: readonly string[],
): Promise<void> {
  const { admin } = credential;
  const list = names.map(quoteIdentifier).join(", ");
  try {
    await deps.standing.query(target, admin, admin.database, `DROP ROLE IF EXISTS ${list}`);
    for (const name of names) deps.inUse.delete(name);
  } catch {
    // One of them owns something, or the target is gone: each for itself.
    for (const name of names) await dropRole(deps, target, credential, name);
  }
}

/** A role that came to own something cannot be dropped; what it owns goes to the profile first. */
async function dropRole(
  deps: RoleMaker,
  target: PostgresTarget,
  credential: SessionRole,
  name: string,
): Promise<void> {
  const { admin, profile } = credential;
  const role = quoteIdentifier(name);
  const run = (sql: string) => deps.standing.query(target, admin, admin.database, sql);
  try {
    await run(`DROP ROLE IF EXISTS ${role}`);
  } catch {
    try {
      await run(`GRANT ${role} TO CURRENT_USER`);
      for (const database of await databasesOf(deps, target, admin, name))
        await deps.standing.query(
          target,
          admin,
          database,
          `REASSIGN OWNED BY ${role} TO ${quoteIdentifier(profile)}; DROP OWNED BY ${role}`,
        );
      await run(`DROP ROLE IF EXISTS ${role}`);
    } catch (error) {
      // It cannot log in after its expiry; the next session or start tries again.
      deps.uncleared.add(placeOf(target, credential));
      deps.log(`role ${name} on target ${target.name} could not be dropped`, error);
    }
  } finally {
    deps.inUse.delete(name);
  }
}

/** Where the role owns something or was given a right: REASSIGN OWNED sees one database at a time. */
async function databasesOf(
  deps: SessionRoleDeps,
  target: PostgresTarget,
  admin: StandingLogin,
  name: string,
): Promise<readonly string[]> {
  const rows = await deps.standing.query(
    target,
    admin,
    admin.database,
    `SELECT DISTINCT coalesce(d.datname, current_database())::text AS name
       FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid LEFT JOIN pg_database d ON d.oid = s.dbid
       WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = $1`,
    [name],
  );
  return rows.map((row) => String(row.name));
}

/** One statement for all; the role's name is compared too, since process ids are used again. */
async function terminate(deps: SessionRoleDeps, batch: readonly Leased[]): Promise<void> {
  const [first] = batch;
  if (first === undefined) return;
  const { target, login } = first;
  try {
    await deps.standing.urgent(
      target,
      login,
      login.database,
      `SELECT pg_terminate_backend(a.pid)
         FROM unnest($1::int[], $2::text[]) AS s(pid, usename)
         JOIN pg_stat_activity a ON a.pid = s.pid AND a.usename = s.usename`,
      [batch.map(({ processId }) => processId), batch.map(({ user }) => user)],
    );
  } catch (error) {
    deps.log(`${batch.length} backends on target ${target.name} could not be ended`, error);
  }
}

/** Never rejects: what could not be done is tried again when the next session begins there. */
async function clearLeftovers(
  deps: RoleMaker,
  target: PostgresTarget,
  credential: SessionRole,
): Promise<void> {
  const { admin } = credential;
  const place = placeOf(target, credential);
  deps.uncleared.delete(place);
  try {
    const rows = await deps.standing.query(
      target,
      admin,
      admin.database,
      "SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)",
      [rolePrefix(deps.instance)],
    );
    for (const row of rows) {
      const name = String(row.rolname);
      if (deps.inUse.has(name)) continue;
      await deps.standing.query(
        target,
        admin,
        admin.database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1",
        [name],
      );
      await dropRole(deps, target, credential, name);
    }
  } catch (error) {
    deps.uncleared.add(place);
    deps.log(`leftover roles on target ${target.name} could not be looked for`, error);
  }
}

function placeOf(target: PostgresTarget, { admin }: SessionRole): string {
  return JSON.stringify([target.name, admin.user, admin.database]);
}

const INSTANCE_LENGTH = 6;

export function newInstance(random: RandomBytes): string {
  return base32(random(INSTANCE_LENGTH), INSTANCE_LENGTH);
}

function rolePrefix(instance: string): string {
  return `custody_${instance}_`;
}
