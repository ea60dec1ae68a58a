// Requests that become another protocol: exec, attach and port-forward.

import type { Socket } from "node:net";
import type { RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import { GatewayError } from "../../base/errors.ts";
import type { HttpSession } from "./http-session.ts";

export interface StreamDeps {
  readonly log: (message: string, error?: unknown) => void;
}

export interface StreamRequest {
  readonly method: string;
  readonly url: RequestUrl;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly socket: Socket;
  readonly head: Buffer;
}

/** Throws GatewayError before the upgrade is accepted; afterwards it tells the client itself. */
export async function serveStream(
  _deps: StreamDeps,
  _session: HttpSession,
  _request: StreamRequest,
): Promise<void> {
  throw new GatewayError("invalid", "nothing is upgraded here");
}
