// Looks for secrets where they must not be: in each place for each secret as it is and in the forms a
// careless program would leave it in.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

export interface Place {
  /** `the sub-agent's wire` */
  readonly name: string;
  readonly bytes: Buffer;
}

/** `<secret> in <place> (<form>)`, one each. */
export function findSecrets(
  secrets: ReadonlyMap<string, string>,
  places: readonly Place[],
): string[] {
  const found: string[] = [];
  for (const [what, secret] of secrets)
    for (const [form, needle] of forms(secret))
      for (const { name, bytes } of places)
        if (bytes.includes(needle)) found.push(`${what} in ${name} (${form})`);
  return found;
}

/** Every file below a folder, but for those `without` names (paths relative to it). */
export function filesBelow(folder: string, without: (path: string) => boolean): Place[] {
  const places: Place[] = [];
  for (const path of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const full = join(folder, path);
    if (without(path) || !statSync(full, { throwIfNoEntry: false })?.isFile()) continue;
    places.push({ name: path, bytes: readFileSync(full) });
  }
  return places;
}

function forms(secret: string): [form: string, needle: Buffer][] {
  const bytes = Buffer.from(secret);
  // Base64 of a text in the middle of another depends on where it begins: three ways, without the
  // characters that the neighbours take part in.
  const encoded = [0, 1, 2].map((shift): [string, Buffer] => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64url");
    const whole = text.slice(
      Math.ceil((shift * 8) / 6),
      Math.floor(((shift + bytes.length) * 8) / 6),
    );
    return ["base64", Buffer.from(whole)];
  });
  return [
    ["as it is", bytes],
    ["hex", Buffer.from(bytes.toString("hex"))],
    ["UTF-16", Buffer.from(secret, "utf16le")],
    ["reversed", Buffer.from(bytes).reverse()],
    ...encoded.flatMap(([form, needle]): [string, Buffer][] => [
      [form, needle],
      [form, Buffer.from(needle.toString().replaceAll("-", "+").replaceAll("_", "/"))],
    ]),
  ];
}
