// What one session channel wants the host to be able to reach at its client: the agent with the client's
// keys, and its X11 display. Each is decided like a command, and asked of the host before what runs there
// starts. While it holds, the host may open channels of that kind to the client; without it none.
//
// Who owns the state: one a session channel; back-channels.ts knows what holds in the whole session.

import type { ChannelRequest } from "@custody/wire/ssh/requests.ts";
import type { Permitted } from "./judge.ts";
import { accountOperation } from "./operations.ts";
import type { RelayContext } from "./relay-context.ts";
import type { Lines } from "./wording.ts";

export type BackRequest = Extract<
  ChannelRequest,
  { kind: "auth-agent-req@openssh.com" | "x11-req" }
>;

/** A client asks for each once; more are refused. */
const MAX_ASKED = 4;

export class SessionForwards {
  readonly #context: RelayContext;
  readonly #tell: (lines: Lines) => void;
  readonly #asked: Promise<void>[] = [];
  readonly #permitted: { readonly request: BackRequest; readonly verdict: Permitted }[] = [];
  #cancels: (() => void)[] = [];
  #closes: (() => void)[] = [];
  #isOver = false;

  constructor(context: RelayContext, tell: (lines: Lines) => void) {
    this.#context = context;
    this.#tell = tell;
  }

  /** Settles with whether the host is asked for it. */
  ask(request: BackRequest): Promise<boolean> {
    if (this.#asked.length >= MAX_ASKED) return Promise.resolve(false);
    const answer = this.#judge(request);
    this.#asked.push(answer.then(() => undefined));
    return answer;
  }

  /** When all that was asked for is decided. */
  async decided(): Promise<void> {
    await Promise.all(this.#asked);
  }

  /** The host is asked for these now, and may use them from here on. */
  begin(): readonly ChannelRequest[] {
    if (this.#isOver) return [];
    this.#closes = this.#permitted.map(({ request, verdict }) =>
      this.#context.backChannels.allow(
        request.kind === "x11-req" ? "x11" : "agent",
        verdict,
        request.kind === "x11-req" && request.singleConnection,
      ),
    );
    return this.#permitted.map(({ request }) => request);
  }

  /** Nobody waits for people any more. */
  cancel(): void {
    for (const cancel of this.#cancels) cancel();
    this.#cancels = [];
  }

  /** What runs has ended, or never began: the host may open nothing more. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.cancel();
    for (const close of this.#closes) close();
    const outcome = this.#closes.length > 0 ? "ok" : "skipped";
    for (const { verdict } of this.#permitted) this.#write(verdict, outcome);
  }

  async #judge(request: BackRequest): Promise<boolean> {
    const isX11 = request.kind === "x11-req";
    const action = isX11 ? "forward_x11" : "forward_agent";
    const verdict = await this.#context.judge.judge({
      operation: accountOperation(this.#context.site, action),
      ...{ command: isX11 ? "forward x11" : "forward agent", bound: [action] },
      durability: "strict",
      tell: this.#tell,
      onWait: (cancel) => void this.#cancels.push(cancel),
    });
    if (verdict.verdict === "deny") {
      if (!this.#isOver) this.#tell(verdict.lines);
      return false;
    }
    if (this.#isOver) {
      this.#write(verdict, "skipped");
      return false;
    }
    this.#permitted.push({ request, verdict });
    return true;
  }

  #write({ requestId }: Permitted, outcome: string): void {
    this.#context.judge.book.endCommand({ requestId, outcome });
  }
}
