// Where the test identity provider keeps its sessions, codes and grants: one Map for the life of the
// process, kept across a key rotation. Bounded by dropping the oldest.

import type { Adapter, AdapterPayload } from "oidc-provider";

const MAX_ENTRIES = 2_000;

/** An adapter factory in the shape oidc-provider asks for; all models share one bounded Map. */
export function createOidcStore(
  now: () => number = Date.now,
): ((model: string) => Adapter) & { forget(model: string): void } {
  const entries = new Map<string, { payload: AdapterPayload; expiresAtMs: number }>();
  const read = (key: string): AdapterPayload | undefined => {
    const entry = entries.get(key);
    return entry === undefined || entry.expiresAtMs <= now() ? undefined : entry.payload;
  };
  const search = (model: string, matches: (payload: AdapterPayload) => boolean) => {
    for (const key of entries.keys()) {
      const payload = key.startsWith(`${model}:`) ? read(key) : undefined;
      if (payload !== undefined && matches(payload)) return payload;
    }
    return undefined;
  };
  const adapter = (model: string): Adapter => ({
    async upsert(id, payload, expiresInSeconds) {
      const lifeMs = (expiresInSeconds ?? 86_400) * 1000;
      entries.set(`${model}:${id}`, { payload, expiresAtMs: now() + lifeMs });
      const [oldest] = entries.keys();
      if (entries.size > MAX_ENTRIES && oldest !== undefined) entries.delete(oldest);
    },
    find: async (id) => read(`${model}:${id}`),
    findByUid: async (uid) => search(model, (payload) => payload.uid === uid),
    findByUserCode: async (code) => search(model, (payload) => payload.userCode === code),
    async destroy(id) {
      entries.delete(`${model}:${id}`);
    },
    async revokeByGrantId(grantId) {
      for (const [key, { payload }] of entries)
        if (payload.grantId === grantId) entries.delete(key);
    },
    async consume(id) {
      const payload = read(`${model}:${id}`);
      if (payload !== undefined) payload.consumed = Math.floor(now() / 1000);
    },
  });
  return Object.assign(adapter, {
    /** All entries of one model. */
    forget(model: string): void {
      for (const key of entries.keys()) if (key.startsWith(`${model}:`)) entries.delete(key);
    },
  });
}
