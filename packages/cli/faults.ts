// What goes wrong on the command line: a sentence, what to do next, and the exit code a script sees.

/** Documented in `custody help exit-codes` and docs/reference/cli.md. */
export const EXIT_CODES = {
  ok: 0,
  /** The gateway refused, or the command could not do what it was asked. */
  refused: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** No credential, or one that is expired, revoked or unknown. */
  unauthenticated: 3,
  /** The gateway, or something it depends on, cannot be reached. */
  unreachable: 4,
  /** Evidence does not verify. */
  unverified: 5,
} as const;

export const EXIT_CODE_HELP: readonly (readonly [keyof typeof EXIT_CODES, string])[] = [
  ["ok", "done"],
  ["refused", "refused by the gateway, or could not be done"],
  ["usage", "the command line or the configuration is wrong"],
  ["unauthenticated", "no credential, or it is expired, revoked or unknown"],
  ["unreachable", "the gateway, or something it needs, cannot be reached"],
  ["unverified", "the evidence does not verify"],
];

export interface CliErrorOptions {
  readonly code?: string;
  readonly hint?: string | undefined;
  readonly requestId?: string | undefined;
  readonly cause?: unknown;
}

export class CliError extends Error {
  override readonly name = "CliError";
  readonly exit: keyof typeof EXIT_CODES;
  /** For `--json`: the gateway's code, or the name of the exit code. */
  readonly code: string;
  readonly hint: string | undefined;
  readonly requestId: string | undefined;
  constructor(exit: keyof typeof EXIT_CODES, message: string, options: CliErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exit = exit;
    this.code = options.code ?? exit;
    this.hint = options.hint;
    this.requestId = options.requestId;
  }
}

/** Exit codes by the gateway's error codes; what is not here is "refused". */
const BY_GATEWAY_CODE: Readonly<Record<string, keyof typeof EXIT_CODES>> = {
  unauthenticated: "unauthenticated",
  revoked: "unauthenticated",
  target_unavailable: "unreachable",
  dependency_unavailable: "unreachable",
  evidence_unavailable: "unreachable",
  shutdown: "unreachable",
  configuration: "usage",
};

export function exitForGatewayCode(code: string): keyof typeof EXIT_CODES {
  return BY_GATEWAY_CODE[code] ?? "refused";
}

/** Anything thrown as a CliError. What we did not foresee says so and shows no stack. */
export function toCliError(thrown: unknown): CliError {
  if (thrown instanceof CliError) return thrown;
  if (isGatewayError(thrown))
    return new CliError(exitForGatewayCode(thrown.code), thrown.message, {
      code: thrown.code,
      hint: thrown.hint,
      requestId: thrown.requestId,
      cause: thrown,
    });
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CliError("refused", message, { code: "internal", cause: thrown });
}

/** GatewayError by its shape: the class is the gateway's, which is loaded only where it runs. */
function isGatewayError(
  thrown: unknown,
): thrown is Error & { code: string; hint?: string; requestId?: string } {
  return thrown instanceof Error && thrown.name === "GatewayError" && "code" in thrown;
}
