// The shape of the hostile lines. Each is given to the gateway's reader as an exec request's bytes:
//
//   refused  nothing may be sent, whatever a policy permits
//   code     it runs what nobody reads: an effect of exec_code, which a permit of programs does not cover
//   same     it is literal after all: what real shells start is what was decided, word by word
//
// `evil` is the program that the trick is about. A refused line with it may be run raw, to show that it is
// a trick and not only odd.

export interface LineAttempt {
  /** Unique: `quoting/dollar`. */
  readonly id: string;
  readonly line: string | Uint8Array;
  readonly must: "refused" | "code" | "same";
}

/** One file's attempts: an id's second part → line. */
export function attempts(
  topic: string,
  must: LineAttempt["must"],
  lines: Readonly<Record<string, string | Uint8Array>>,
): readonly LineAttempt[] {
  return Object.entries(lines).map(([id, line]) => ({ id: `${topic}/${id}`, line, must }));
}
