// Where events go: a file, syslog over TLS, an HTTPS collector, an OTLP collector. Each takes a batch and
// resolves when the other end has it; a batch that failed is sent again, so an event may come twice and
// has an id to tell by (`metadata.uid`).

import { open } from "node:fs/promises";
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { Outbound } from "../audit/outbound.ts";
import type { Secret } from "../base/secret.ts";
import type { OcsfEvent } from "./ocsf.ts";

export interface Sink extends AsyncDisposable {
  /** Rejects when it cannot be said that all of it arrived. */
  send(events: readonly OcsfEvent[]): Promise<void>;
}

/** One JSON object a line, on disk before it resolves. Opened anew for each batch, so it may be rotated. */
export function fileSink(path: string): Sink {
  return {
    async send(events) {
      const file = await open(path, "a", 0o600);
      try {
        await file.writeFile(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
        await file.datasync();
      } finally {
        await file.close();
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

export interface HttpSinkDeps {
  readonly url: string;
  readonly outbound: Outbound;
  /** For `Authorization: Bearer`; undefined: none. Asked for each batch, so it may change. */
  readonly token: () => Promise<Secret | undefined>;
}

/** POST of NDJSON; 2xx is taken as arrived. */
export function httpsSink(deps: HttpSinkDeps): Sink {
  return posting(deps, "application/x-ndjson", (events) =>
    events.map((event) => `${JSON.stringify(event)}\n`).join(""),
  );
}

/** OTLP/HTTP with JSON (opentelemetry-proto, logs): the event is the body of a log record. */
export function otlpSink(deps: HttpSinkDeps): Sink {
  return posting(deps, "application/json", (events) =>
    JSON.stringify({
      resourceLogs: [
        {
          resource: { attributes: [{ key: "service.name", value: { stringValue: "custody" } }] },
          scopeLogs: [{ scope: { name: "custody.audit" }, logRecords: events.map(logRecord) }],
        },
      ],
    }),
  );
}

function posting(
  { url, outbound, token }: HttpSinkDeps,
  type: string,
  encode: (events: readonly OcsfEvent[]) => string,
): Sink {
  return {
    async send(events) {
      const secret = await token();
      const { status } = await outbound.send({
        ...{ url, method: "POST", body: encode(events) },
        headers: {
          "content-type": type,
          ...(secret === undefined ? {} : { authorization: `Bearer ${secret.reveal()}` }),
        },
      });
      if (status < 200 || status > 299) throw new TypeError(`${url} answered ${status}`);
    },
    [Symbol.asyncDispose]: () => outbound[Symbol.asyncDispose](),
  };
}

function logRecord(event: OcsfEvent): object {
  const failed = event.status_id === 2;
  return {
    timeUnixNano: `${String(event.time)}000000`,
    // SEVERITY_NUMBER_INFO and WARN.
    severityNumber: failed ? 13 : 9,
    severityText: failed ? "WARN" : "INFO",
    body: { stringValue: JSON.stringify(event) },
    attributes: [
      { key: "ocsf.class_uid", value: { intValue: String(event.class_uid) } },
      { key: "ocsf.type_uid", value: { intValue: String(event.type_uid) } },
    ],
  };
}

export interface SyslogSinkDeps {
  readonly host: string;
  readonly port: number;
  /** PEM; undefined: the system's. */
  readonly ca: string | undefined;
  readonly timeoutMs: number;
  /** HOSTNAME of the messages. */
  readonly hostname: string;
}

/**
 * RFC 5424 over TLS with octet counting (RFC 5425). Syslog acknowledges nothing: a batch counts as arrived
 * when TLS has taken it and the connection still stands.
 */
export function syslogSink(deps: SyslogSinkDeps): Sink {
  let socket: TLSSocket | undefined;
  const connected = async (): Promise<TLSSocket> => {
    if (socket !== undefined && !socket.destroyed && socket.writable) return socket;
    const made = connect({
      ...{ host: deps.host, port: deps.port, minVersion: "TLSv1.2" },
      // RFC 6066 section 3: an address is no name.
      ...(isIP(deps.host) === 0 ? { servername: deps.host } : {}),
      ...(deps.ca === undefined ? {} : { ca: deps.ca }),
    });
    socket = made;
    await settled(made, "secureConnect", deps.timeoutMs);
    made.on("error", () => made.destroy());
    // What it answers is nothing to us; but that it left has to be noticed.
    made.resume();
    made.on("end", () => made.destroy());
    return made;
  };
  return {
    async send(events) {
      const to = await connected();
      const text = Buffer.concat(events.map((event) => framed(deps.hostname, event)));
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          to.destroy();
          reject(new TypeError("the syslog server does not take it"));
        }, deps.timeoutMs);
        to.write(text, (error) => {
          clearTimeout(timer);
          if (error || to.destroyed) reject(error ?? new TypeError("the connection was lost"));
          else resolve();
        });
      });
    },
    async [Symbol.asyncDispose]() {
      socket?.destroy();
    },
  };
}

/** Facility 13 (log audit); severity warning for what failed, else informational. */
function framed(hostname: string, event: OcsfEvent): Buffer {
  const priority = 13 * 8 + (event.status_id === 2 ? 4 : 6);
  const time = new Date(Number(event.time)).toISOString();
  const code = (event.metadata as { event_code: string }).event_code;
  const head = `<${priority}>1 ${time} ${hostname} custody - ${code} - `;
  const message = Buffer.from(`${head}\ufeff${JSON.stringify(event)}`, "utf8");
  return Buffer.concat([Buffer.from(`${message.length} `, "latin1"), message]);
}

function settled(socket: TLSSocket, event: "secureConnect", timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(new TypeError("no connection in time")), timeoutMs);
    socket.once("error", fail);
    socket.once(event, () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve();
    });
  });
}
