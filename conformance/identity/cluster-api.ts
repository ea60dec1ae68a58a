// A Kubernetes API server as far as TokenReview goes: HTTPS with a CA of its own, tokens of its service
// accounts, and the answers the API gives, for accounts that are there and not there any more
// (kubernetes.io, "Authenticating", authentication.k8s.io/v1).

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { exportSPKI, generateKeyPair, importSPKI, jwtVerify, SignJWT } from "jose";
import { createTestAuthority } from "../support/certificates.ts";

export interface ClusterApi extends AsyncDisposable {
  readonly server: string;
  /** PEM of the CA of its HTTPS. */
  readonly ca: string;
  readonly issuer: string;
  /** The bearer token that may ask. */
  readonly ownToken: string;
  token(namespace: string, name: string, more?: ClusterToken): Promise<string>;
  remove(namespace: string, name: string): void;
  /** Every answer from here on is made by this of the right one; undefined: the right one. */
  distort: ((review: Review) => { status?: number; body: unknown }) | undefined;
  /** What it was asked, oldest first. */
  readonly asked: readonly unknown[];
}

export interface ClusterToken {
  readonly audience?: readonly string[];
  readonly expiresInS?: number;
  /** Claims that replace those of a bound token. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

export type Review = Record<string, unknown> & { status: Record<string, unknown> };

const ISSUER = "https://kubernetes.default.svc.cluster.local";

export async function startClusterApi(): Promise<ClusterApi> {
  const authority = createTestAuthority();
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  const verifyKey = await importSPKI(await exportSPKI(publicKey), "ES256");
  const ownToken = randomUUID();
  const uids = new Map<string, string>();
  const asked: unknown[] = [];
  const state: Pick<ClusterApi, "distort"> = { distort: undefined };
  const review = async (spec: Record<string, unknown>): Promise<Review["status"]> => {
    const audiences = Array.isArray(spec.audiences) ? spec.audiences.map(String) : [];
    try {
      const { payload } = await jwtVerify(String(spec.token), verifyKey, { issuer: ISSUER });
      const granted = [payload.aud ?? []].flat().filter((one) => audiences.includes(one));
      if (granted.length === 0) throw new Error(`token audiences [${payload.aud}] is invalid`);
      const account = Object(payload["kubernetes.io"]);
      const place = `${account.namespace}/${account.serviceaccount?.name}`;
      if (uids.get(place) !== account.serviceaccount?.uid)
        throw new Error("service account token has been invalidated");
      return {
        authenticated: true,
        user: {
          username: payload.sub,
          uid: account.serviceaccount.uid,
          groups: [
            "system:serviceaccounts",
            `system:serviceaccounts:${account.namespace}`,
            "system:authenticated",
          ],
          extra: { "authentication.kubernetes.io/credential-id": [`JTI=${payload.jti}`] },
        },
        audiences: granted,
      };
    } catch (error) {
      return { user: {}, error: `[invalid bearer token, ${Object(error).message}]` };
    }
  };
  const answer = async (path: string, authorization: string, text: string) => {
    if (path !== "/apis/authentication.k8s.io/v1/tokenreviews")
      return {
        status: 404,
        body: failure(404, "the server could not find the requested resource"),
      };
    if (authorization !== `Bearer ${ownToken}`)
      return { status: 401, body: failure(401, "Unauthorized") };
    const request = JSON.parse(text);
    asked.push(request);
    const { spec } = request;
    const made = {
      kind: "TokenReview",
      apiVersion: "authentication.k8s.io/v1",
      metadata: { creationTimestamp: null },
      spec,
      status: await review(spec),
    };
    const { status = 201, body } = state.distort?.(made) ?? { body: made };
    return { status, body };
  };
  const https = createServer(
    authority.issue(["localhost", "127.0.0.1"]),
    async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const { authorization = "" } = request.headers;
      const { status, body } = await answer(
        request.url ?? "",
        authorization,
        Buffer.concat(chunks).toString("utf8"),
      );
      response.writeHead(status, { "content-type": "application/json" });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    },
  );
  https.listen(0, "127.0.0.1");
  await once(https, "listening");
  return Object.assign(state, {
    server: `https://localhost:${(https.address() as AddressInfo).port}`,
    ca: authority.cert,
    issuer: ISSUER,
    ownToken,
    asked,
    async token(namespace: string, name: string, more: ClusterToken = {}) {
      const place = `${namespace}/${name}`;
      const uid = uids.get(place) ?? randomUUID();
      uids.set(place, uid);
      const nowS = Math.floor(Date.now() / 1000);
      return await new SignJWT({
        iss: ISSUER,
        aud: more.audience === undefined ? ["custody"] : [...more.audience],
        sub: `system:serviceaccount:${place.replace("/", ":")}`,
        iat: nowS,
        exp: nowS + (more.expiresInS ?? 3600),
        jti: randomUUID(),
        "kubernetes.io": {
          namespace,
          pod: { name: `${name}-1`, uid: randomUUID() },
          serviceaccount: { name, uid },
        },
        ...more.claims,
      })
        .setProtectedHeader({ alg: "ES256", kid: "cluster" })
        .sign(privateKey);
    },
    remove(namespace: string, name: string) {
      uids.delete(`${namespace}/${name}`);
    },
    async [Symbol.asyncDispose]() {
      https.closeAllConnections();
      https.close();
    },
  });
}

function failure(code: number, message: string) {
  return { kind: "Status", apiVersion: "v1", status: "Failure", message, code };
}
