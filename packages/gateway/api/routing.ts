// Routes by the contract's table: authentication, reading and checking what came, checking what goes.
// A handler sees only what its schemas let through, and what it returns is cut to its response schema,
// so that a field nobody meant to show is not shown.

import { type EndpointName, type Endpoints, endpoints } from "@custody/contract/endpoints.ts";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { z } from "zod";
import { GatewayError } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import type { Chain } from "../delegation/chain.ts";
import type { PublicKey } from "../delegation/key.ts";
import type { ApiDeps } from "./deps.ts";
import type { OpenStreams } from "./open-streams.ts";

export interface Call<Name extends EndpointName> {
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: z.output<Endpoints[Name]["query"]>;
  readonly body: z.output<Endpoints[Name]["body"]>;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

export interface CallOf<Name extends EndpointName> extends Call<Name> {
  /** The caller. */
  readonly chain: Chain;
  readonly credential: Secret;
}

export interface StreamCall<Name extends EndpointName> extends CallOf<Name> {
  /** Called when the caller's delegation has ended, before the answer is broken off: to say so. */
  readonly onEnd: (say: () => void) => void;
}

type Answer<Name extends EndpointName> = Promise<z.input<Endpoints[Name]["response"]>>;

export interface Router {
  /** For endpoints with auth "none". */
  anyone<Name extends EndpointName>(name: Name, handler: (call: Call<Name>) => Answer<Name>): void;
  /** For endpoints with auth "bearer". */
  holder<Name extends EndpointName>(
    name: Name,
    handler: (call: CallOf<Name>) => Answer<Name>,
  ): void;
  /** Bearer, and the handler writes the answer itself. */
  stream<Name extends EndpointName>(
    name: Name,
    handler: (call: StreamCall<Name>) => Promise<FastifyReply>,
  ): void;
}

export function createRouter(
  server: FastifyInstance,
  deps: ApiDeps,
  streams?: Pick<OpenStreams, "open">,
): Router {
  const add = (
    name: EndpointName,
    handler: (request: FastifyRequest, reply: FastifyReply) => unknown,
  ) => server.route({ method: endpoints[name].method, url: endpoints[name].path, handler });
  return {
    anyone(name, handler) {
      expectAuth(name, "none");
      add(name, async (request, reply) => {
        const answer = await handler({ ...read(name, request), request, reply });
        return finish(deps, name, answer);
      });
    },
    holder(name, handler) {
      expectAuth(name, "bearer");
      add(name, async (request, reply) => {
        const caller = await authenticated(deps, request);
        const answer = await handler({ ...read(name, request), ...caller, request, reply });
        return finish(deps, name, answer);
      });
    },
    stream(name, handler) {
      expectAuth(name, "bearer");
      add(name, async (request, reply) => {
        const caller = await authenticated(deps, request);
        let say: (() => void) | undefined;
        if (endpoints[name].answer === "ndjson")
          streams?.open(caller.chain, reply.raw, () => {
            if (say === undefined) reply.raw.destroy();
            else say();
          });
        const onEnd = (given: () => void): void => {
          say = given;
        };
        return handler({ ...read(name, request), ...caller, request, reply, onEnd });
      });
    },
  };
}

/** RFC 6750 section 2.1 and RFC 9449 section 7.1: the header, and nowhere else. */
async function authenticated(
  deps: ApiDeps,
  request: FastifyRequest,
): Promise<{ readonly chain: Chain; readonly credential: Secret }> {
  const header = /^(Bearer|DPoP) ([A-Za-z0-9\-._~+/]+=*)$/i.exec(
    request.headers.authorization ?? "",
  );
  const [, scheme = "", text] = header ?? [];
  if (text === undefined)
    throw new GatewayError("unauthenticated", "this needs a delegation as a bearer token", {
      hint: "a person: custody login; an agent: ask the parent for a delegation",
    });
  const credential = new Secret(text);
  if (scheme.toLowerCase() === "bearer") {
    // A presentation is for password fields; here each request can have a proof of its own.
    if (text.includes("~"))
      throw new GatewayError("unauthenticated", "a delegation with a key is shown with DPoP here");
    return { chain: await deps.delegations.authenticate(credential), credential };
  }
  const shown = await provedKey(deps, request, text);
  if (shown === undefined)
    throw new GatewayError("unauthenticated", "the DPoP header with the key proof is missing");
  return { chain: await deps.delegations.authenticate(credential, shown), credential };
}

/** The key that the request's DPoP header proves (RFC 9449); undefined: it has none. */
export async function provedKey(
  deps: ApiDeps,
  request: FastifyRequest,
  credential: string | undefined,
): Promise<PublicKey | undefined> {
  const { keyProofs, tokens } = deps.delegations;
  // Several lines of it are joined by Node with a comma, which no proof holds.
  const proof = request.headers.dpop;
  if (proof === undefined) return undefined;
  const url = new URL(request.url, tokens.issuer).href;
  return keyProofs.verify(String(proof), { method: request.method, url, credential });
}

function read<Name extends EndpointName>(
  name: Name,
  request: FastifyRequest,
): Pick<Call<Name>, "parameters" | "query" | "body"> {
  const endpoint = endpoints[name];
  return {
    parameters: Object(request.params),
    query: checked(endpoint.query, request.query ?? {}, "query") as Call<Name>["query"],
    body: checked(endpoint.body, request.body ?? {}, "body") as Call<Name>["body"],
  };
}

function checked(schema: z.ZodType, value: unknown, where: string): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.join(".");
  const place = path === undefined || path === "" ? where : path;
  throw new GatewayError("invalid", `${place}: ${issue?.message ?? "not valid"}`);
}

async function finish<Name extends EndpointName>(
  deps: ApiDeps,
  name: Name,
  answer: unknown,
): Promise<unknown> {
  const { method, response, answer: kind } = endpoints[name];
  // What was changed is on record before anybody is told that it was (I7).
  if (method === "POST") await deps.evidence.journal.settled();
  return kind === "json" ? response.parse(answer) : answer;
}

function expectAuth(name: EndpointName, auth: "none" | "bearer"): void {
  if (endpoints[name].auth !== auth)
    throw new GatewayError("internal", `the endpoint ${name} is not routed as the contract says`);
}
