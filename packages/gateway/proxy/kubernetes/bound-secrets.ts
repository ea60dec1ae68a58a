// What a session's token is bound to (TokenRequestSpec.boundObjectRef): a Secret without data, made for the
// session in the namespace of its service account and deleted when it ends. An API server takes a bound token
// only while its object is there, by name and uid, so the token dies with the session wherever it got to; what
// the server remembers of one it accepted just now (ten seconds) is all that is left.
//
// Who owns the state: this module owns the Secrets. Of each there is a file in the data folder from before it is
// made until it is gone, so that the next start deletes what a run that was killed left, and no right to list
// Secrets is needed. A deletion that fails is tried again until then.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { GatewayError } from "../../base/errors.ts";
import { type ApiServer, type ApiServerDeps, openApiServer } from "../../credential/api-server.ts";
import type { KubernetesCredential } from "../../target/kubernetes-target.ts";
import { type KubernetesTarget, speaks, type Target } from "../../target/target.ts";

export interface BoundSecretsDeps extends ApiServerDeps {
  readonly folder: string;
  /** Tells this gateway's objects from another's, to people who look at them. */
  readonly instance: string;
  readonly retryMs?: number;
  readonly log: (message: string, error?: unknown) => void;
}

export type ServiceAccount = Extract<KubernetesCredential, { kind: "service-account" }>;

/** TokenRequestSpec.boundObjectRef */
export interface BoundObject {
  readonly apiVersion: "v1";
  readonly kind: "Secret";
  readonly name: string;
  readonly uid: string;
}

export interface Place {
  readonly sessionId: string;
  readonly target: KubernetesTarget;
  readonly account: string;
  readonly credential: ServiceAccount;
}

export interface BoundSecrets extends AsyncDisposable {
  /**
   * Throws GatewayError "target_unavailable", also when the session ended meanwhile; then nothing is left of it,
   * or it is being deleted.
   */
  create(place: Place, server: ApiServer): Promise<BoundObject>;
  /** Idempotent. Resolves after the first attempt, at once for what is not made yet; never rejects. */
  end(sessionIds: readonly string[]): Promise<void>;
  /** Deletes what an earlier run left; never rejects. */
  clearLeftovers(targets: ReadonlyMap<string, Target>): Promise<void>;
}

/** Doubled with each failure, up to 8 minutes. */
const RETRY_MS = 7_500;
const MAX_DOUBLED = 6;
const AT_ONCE = 8;
/** At one place. */
const MAX_WAITING = 10_000;
const KEPT = /^custody-[a-z0-9]{1,32}-[a-z0-9]{1,32}$/;

const kept = z.strictObject({
  target: z.string(),
  account: z.string(),
  namespace: z.string(),
});

interface Doomed {
  readonly name: string;
  readonly namespace: string;
}

/** With whose identity it is deleted, and where. */
type QueuePlace = Omit<Place, "sessionId">;

interface Live extends Doomed {
  readonly place: QueuePlace;
  /** Until then a deletion could come before what it is to delete. */
  isMade: boolean;
  /** Its session ended before it was made. */
  isUnwanted: boolean;
  ending: Promise<void> | undefined;
}

interface Waiting {
  readonly doomed: Doomed;
  readonly tried: () => void;
}

/** What is to be deleted with one identity at one API server. */
interface Queue {
  readonly place: QueuePlace;
  waiting: Waiting[];
  running: Promise<void> | undefined;
  retry: NodeJS.Timeout | undefined;
  /** How often it failed since it last did not. */
  failures: number;
}

export function createBoundSecrets(deps: BoundSecretsDeps): BoundSecrets {
  return new Secrets(deps);
}

class Secrets implements BoundSecrets {
  readonly #deps: BoundSecretsDeps;
  readonly #live = new Map<string, Live>();
  readonly #queues = new Map<string, Queue>();
  #isOver = false;

  constructor(deps: BoundSecretsDeps) {
    this.#deps = deps;
    mkdirSync(deps.folder, { recursive: true, mode: 0o700 });
  }

  async create(
    { sessionId, target, account, credential }: Place,
    server: ApiServer,
  ): Promise<BoundObject> {
    const { namespace } = credential;
    const name = `custody-${this.#deps.instance}-${sessionId.slice(2)}`;
    const place = { target, account, credential };
    const one: Live = {
      name,
      namespace,
      place,
      isMade: false,
      isUnwanted: false,
      ending: undefined,
    };
    this.#note(one);
    this.#live.set(sessionId, one);
    try {
      const answer = await server.ask("POST", `/api/v1/namespaces/${namespace}/secrets`, {
        ...{ apiVersion: "v1", kind: "Secret", type: "Opaque", immutable: true },
        metadata: {
          name,
          labels: { "app.kubernetes.io/managed-by": "custody" },
          annotations: { "custody/session": sessionId },
        },
      });
      const uid = answer.status === 201 ? uidOf(answer.value) : undefined;
      if (uid === undefined) throw refused(namespace, answer.status);
      if (one.isUnwanted)
        throw new GatewayError("target_unavailable", "the session ended while it was opened");
      one.isMade = true;
      return { apiVersion: "v1", kind: "Secret", name, uid };
    } catch (thrown) {
      // It may have been made all the same, where the answer was lost.
      one.isMade = true;
      void this.end([sessionId]);
      throw thrown;
    }
  }

  async end(sessionIds: readonly string[]): Promise<void> {
    await Promise.all(
      sessionIds.map((sessionId) => {
        const one = this.#live.get(sessionId);
        if (one === undefined) return undefined;
        if (!one.isMade) {
          one.isUnwanted = true;
          return undefined;
        }
        one.ending ??= this.#delete(one.place, one).finally(() => this.#live.delete(sessionId));
        return one.ending;
      }),
    );
  }

  async clearLeftovers(targets: ReadonlyMap<string, Target>): Promise<void> {
    const { folder, log } = this.#deps;
    try {
      const mine = new Set([...this.#live.values()].map(({ name }) => name));
      const names = readdirSync(folder).filter((name) => KEPT.test(name) && !mine.has(name));
      await Promise.all(names.map((name) => this.#clear(name, targets)));
    } catch (error) {
      log(`${folder} cannot be read: Secrets of sessions may be left in clusters`, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    for (const queue of this.#queues.values()) {
      clearTimeout(queue.retry);
      while (queue.running !== undefined) await queue.running;
    }
  }

  #clear(name: string, targets: ReadonlyMap<string, Target>): Promise<void> | undefined {
    const { folder, log } = this.#deps;
    const { data } = kept.safeParse(readJson(join(folder, name)));
    const found = placeOf(targets, data);
    if (data !== undefined && found !== undefined)
      return this.#delete(found, { name, namespace: data.namespace });
    // Of one that is cut off nothing was asked of a cluster yet.
    if (data !== undefined)
      log(`the Secret ${name} is left in ${data.namespace} of ${data.target}, which has changed`);
    this.#forget(name);
    return undefined;
  }

  /** Resolves once it was tried. */
  #delete(place: QueuePlace, doomed: Doomed): Promise<void> {
    const key = JSON.stringify([place.target.name, place.account]);
    const queue = this.#queues.get(key) ?? {
      ...{ place, waiting: [], running: undefined, retry: undefined, failures: 0 },
    };
    this.#queues.set(key, queue);
    return new Promise((tried) => {
      // What there is no room for is left to the next start.
      if (queue.waiting.length >= MAX_WAITING) return tried();
      queue.waiting.push({ doomed, tried });
      this.#run(key, queue);
    });
  }

  #run(key: string, queue: Queue): void {
    if (queue.running !== undefined) return;
    clearTimeout(queue.retry);
    // Sessions end in crowds: what comes in the same turn goes together.
    const work = Promise.resolve().then(() => this.#work(queue));
    queue.running = work.then(({ failed, isReached }) => {
      queue.running = undefined;
      const untried = queue.waiting;
      queue.waiting = [...untried, ...failed].slice(0, MAX_WAITING);
      queue.failures = failed.length === 0 ? 0 : queue.failures + 1;
      if (isReached && untried.length > 0) this.#run(key, queue);
      else if (queue.waiting.length > 0) this.#later(key, queue, untried);
      else this.#queues.delete(key);
    });
  }

  #later(key: string, queue: Queue, untried: readonly Waiting[]): void {
    // Who waits for these is not kept waiting by a server that is not there.
    for (const { tried } of untried) tried();
    if (this.#isOver) return;
    const delayMs = (this.#deps.retryMs ?? RETRY_MS) * 2 ** Math.min(MAX_DOUBLED, queue.failures);
    queue.retry = setTimeout(() => this.#run(key, queue), delayMs).unref();
  }

  /** What could not be deleted, and whether the server was there. Never rejects. */
  async #work(queue: Queue): Promise<{ failed: Waiting[]; isReached: boolean }> {
    const { credential, target } = queue.place;
    const left = queue.waiting.splice(0);
    const failed: Waiting[] = [];
    let reason: unknown;
    let isReached = true;
    try {
      await using server = await openApiServer(this.#deps, target, credential);
      const take = async () => {
        for (let one = left.shift(); one !== undefined; one = left.shift()) {
          // One that is refused is no reason for the others; a server that is not there is.
          const wrong = await remove(server, one.doomed).catch((error: unknown) => {
            isReached = false;
            failed.push(...left.splice(0));
            return error;
          });
          reason ??= wrong;
          if (wrong !== undefined) {
            failed.push(one);
            continue;
          }
          this.#forget(one.doomed.name);
          one.tried();
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, take));
    } catch (error) {
      reason = error;
      isReached = false;
      failed.push(...left);
    }
    if (failed.length > 0)
      this.#deps.log(`${failed.length} Secrets of ended sessions stay on ${target.name}`, reason);
    for (const { tried } of failed) tried();
    return { failed, isReached };
  }

  #note({ name, namespace, place }: Live): void {
    const text = JSON.stringify({ target: place.target.name, account: place.account, namespace });
    try {
      writeFileSync(join(this.#deps.folder, name), text, { flag: "wx", mode: 0o600 });
    } catch (cause) {
      throw new GatewayError("dependency_unavailable", "the data folder cannot be written", {
        cause,
      });
    }
  }

  #forget(name: string): void {
    try {
      rmSync(join(this.#deps.folder, name), { force: true });
    } catch (error) {
      // The next start asks for it to be deleted again, which finds nothing.
      this.#deps.log(`${name} stays in ${this.#deps.folder}`, error);
    }
  }
}

/** undefined: it is gone. Otherwise what went wrong. */
async function remove(server: ApiServer, { name, namespace }: Doomed): Promise<unknown> {
  const path = `/api/v1/namespaces/${namespace}/secrets/${name}`;
  // Its name is no other's, before or after, so that no uid is asked for.
  const { status } = await server.ask("DELETE", path);
  return status < 300 || status === 404 ? undefined : refused(namespace, status);
}

function placeOf(
  targets: ReadonlyMap<string, Target>,
  file: z.output<typeof kept> | undefined,
): QueuePlace | undefined {
  const target = targets.get(file?.target ?? "");
  if (target === undefined || !speaks(target, "kubernetes")) return undefined;
  const account = target.accounts.find(({ name }) => name === file?.account);
  if (account?.credential.kind !== "service-account") return undefined;
  return { target, account: account.name, credential: account.credential };
}

function uidOf(value: unknown): string | undefined {
  const { uid } = (value as { metadata?: { uid?: unknown } } | undefined)?.metadata ?? {};
  return typeof uid === "string" && uid.length <= 128 ? uid : undefined;
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

function refused(namespace: string, status: number): GatewayError {
  return new GatewayError(
    "target_unavailable",
    `the API server lets the gateway make and delete no Secrets in ${namespace} (status ${status})`,
    { hint: "custody kubernetes rbac prints what the gateway needs there; or `bound: false`" },
  );
}
