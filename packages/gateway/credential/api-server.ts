// What the gateway asks of an API server for itself and for no chain: tokens of service accounts, the objects
// they are bound to, and what its own identity may do there. Answers are small and looked at whole; one that is
// not, or takes too long, is none.
//
// Who owns the state: whoever opened it, for one piece of work.

import { readFile } from "node:fs/promises";
import { Pool } from "undici";
import { GatewayError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { KubernetesCredential } from "../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../target/target.ts";
import type { ResolveSecret } from "./secrets.ts";

/** How the gateway shows who it is. */
export interface OwnIdentity {
  readonly token: Secret | undefined;
  readonly certificate: { readonly certificate: string; readonly privateKey: Secret } | undefined;
}

export interface ApiAnswer {
  readonly status: number;
  /** undefined: it is no JSON. */
  readonly value: unknown;
}

export interface ApiServer extends AsyncDisposable {
  /** Throws GatewayError "target_unavailable" when nothing is answered. */
  ask(method: "DELETE" | "GET" | "POST", path: string, body?: object): Promise<ApiAnswer>;
}

export interface ApiServerDeps {
  readonly resolveSecret: ResolveSecret;
  /** For each request, its connection included. */
  readonly timeoutMs: number;
}

const MAX_ANSWER_BYTES = 256 << 10;
const MAX_HEADER_BYTES = 64 << 10;
const MAX_CONNECTIONS = 8;
const NOBODY: OwnIdentity = { token: undefined, certificate: undefined };

/** Of a service account that tokens are made for: the identity that makes them. */
export async function ownIdentity(
  resolveSecret: ResolveSecret,
  credential: KubernetesCredential,
): Promise<OwnIdentity> {
  if (credential.kind !== "certificate")
    return { token: await resolveSecret(credential.token), certificate: undefined };
  const certificate = await readPem(credential.certFile);
  const privateKey = await resolveSecret(credential.key);
  return { token: undefined, certificate: { certificate, privateKey } };
}

/**
 * `credential` undefined: as nobody. Throws GatewayError "dependency_unavailable" for a secret or file that cannot
 * be read.
 */
export async function openApiServer(
  { resolveSecret, timeoutMs }: ApiServerDeps,
  { caFile, server }: KubernetesTarget,
  credential: KubernetesCredential | undefined,
): Promise<ApiServer> {
  const { certificate, token } =
    credential === undefined ? NOBODY : await ownIdentity(resolveSecret, credential);
  const ca = caFile === undefined ? undefined : await readPem(caFile);
  const pool = new Pool(server, {
    connect: {
      ...(ca === undefined ? {} : { ca }),
      ...(certificate === undefined
        ? {}
        : { cert: certificate.certificate, key: certificate.privateKey.reveal() }),
      minVersion: "TLSv1.2",
      timeout: timeoutMs,
    },
    connections: MAX_CONNECTIONS,
    allowH2: false,
    maxHeaderSize: MAX_HEADER_BYTES,
  });
  return {
    async ask(method, path, body) {
      try {
        const answer = await pool.request({
          ...{ method, path, signal: AbortSignal.timeout(timeoutMs) },
          headers: {
            ...{ accept: "application/json", "accept-encoding": "identity" },
            ...{ "content-type": "application/json", "user-agent": "custody" },
            ...(token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
          },
          body: body === undefined ? null : JSON.stringify(body),
        });
        const parts: Buffer[] = [];
        let length = 0;
        for await (const part of answer.body as AsyncIterable<Buffer>) {
          length += part.length;
          if (length > MAX_ANSWER_BYTES) throw new Error("the answer is too large");
          parts.push(part);
        }
        return { status: answer.statusCode, value: jsonOf(Buffer.concat(parts)) };
      } catch (cause) {
        throw new GatewayError("target_unavailable", "the API server cannot be reached", { cause });
      }
    },
    [Symbol.asyncDispose]: () => pool.destroy(),
  };
}

/** Throws GatewayError "dependency_unavailable". */
export async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new GatewayError("dependency_unavailable", `${file} cannot be read`, { cause });
  }
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}
