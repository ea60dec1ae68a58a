// Sensitive values where nobody expects them: an extra net over text columns without a class, switched on for
// a target (`detect`). What is found is replaced inside the text it stands in. It is a net and no wall: a value
// that is cut, encoded or spelt otherwise goes through it; columns that hold sensitive values want a class.

import { type Detection, type DetectionKind, type Net, netsOf } from "./nets.ts";

export type { Detection, DetectionKind };

/** The text with what was found replaced; undefined when nothing was. */
export type Detector = (value: Buffer) => Buffer | undefined;

export function createDetector(detections: readonly Detection[]): Detector {
  const nets = detections.flatMap((one) =>
    netsOf(one.kind).map((net) => ({ net, mask: `[masked ${one.class}]` })),
  );
  return (value) => {
    let text: string | undefined;
    for (const { net, mask } of nets) {
      if (!net.mayHold(text ?? value)) continue;
      // One character a byte: what is not ASCII stays as it is.
      text = replaceAll(text ?? value.toString("latin1"), net, mask);
    }
    if (text === undefined) return undefined;
    const replaced = Buffer.from(text, "latin1");
    return replaced.equals(value) ? undefined : replaced;
  };
}

function replaceAll(text: string, { find }: Net, mask: string): string {
  let replaced = "";
  let from = 0;
  for (let found = find(text, 0, text.length); found; found = find(text, from, text.length)) {
    replaced += text.slice(from, found.start) + mask;
    from = found.end;
  }
  return replaced + text.slice(from);
}
