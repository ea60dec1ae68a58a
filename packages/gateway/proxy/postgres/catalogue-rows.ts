// Fields of the catalogue's rows, as they come in JSON (catalogue-sql.ts), and lists of rows by what they are of.
// Each throws TypeError when a field is not what it has to be.

export type Row = Record<string, unknown>;

/** A text[] that came as JSON. */
export function strings(row: Row, field: string): readonly string[] {
  const parsed: unknown = JSON.parse(row[field] == null ? "[]" : str(row, field));
  if (!Array.isArray(parsed)) throw new TypeError(`catalogue field ${field} is no array`);
  return parsed.map((one) => String(one ?? ""));
}

export function lists(rows: readonly Row[]): Map<number, (readonly number[])[]> {
  const map = new Map<number, (readonly number[])[]>();
  for (const row of rows) append(map, num(row, "relation"), numbers(row, "attributes"));
  return map;
}

export function numbers(row: Row, field: string): readonly number[] {
  const value = row[field];
  if (!Array.isArray(value)) throw new TypeError(`catalogue field ${field} is no array`);
  return value.map(Number);
}

export function pairs(rows: readonly Row[], key: string, value: string): Map<number, number[]> {
  const map = new Map<number, number[]>();
  for (const row of rows) append(map, num(row, key), num(row, value));
  return map;
}

export function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

export function nested<V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let inner = map.get(key);
  if (inner === undefined) {
    inner = new Map();
    map.set(key, inner);
  }
  return inner;
}

export function num(row: Row, field: string): number {
  const value = Number(row[field]);
  if (!Number.isSafeInteger(value)) throw new TypeError(`catalogue field ${field} is no integer`);
  return value;
}

export function str(row: Row, field: string): string {
  const value = row[field];
  if (typeof value !== "string") throw new TypeError(`catalogue field ${field} is no text`);
  return value;
}
