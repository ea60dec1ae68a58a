// Durations and sizes as people write them: `5m`, `1h30m`, `64MiB`; numbers without a unit are
// refused, since "30" has been read as minutes and as milliseconds before.

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/** Milliseconds of `90s`, `1h30m`; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d{1,9}(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)(ms|[smhd])/g))
    total += Number(digits) * (DURATION_UNITS[unit ?? ""] ?? Number.NaN);
  return Number.isSafeInteger(total) ? total : undefined;
}

/** Bytes of `64MiB` or `64 MiB`; undefined when it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,12}) ?(B|KiB|MiB|GiB)$/.exec(text);
  if (!match) return undefined;
  const total = Number(match[1]) * (SIZE_UNITS[match[2] ?? ""] ?? Number.NaN);
  return Number.isSafeInteger(total) ? total : undefined;
}

export function formatDuration(milliseconds: number): string {
  if (milliseconds === 0) return "0s";
  let rest = milliseconds;
  let text = "";
  for (const [unit, size] of Object.entries(DURATION_UNITS).toReversed()) {
    if (rest >= size) {
      text += `${Math.floor(rest / size)}${unit}`;
      rest %= size;
    }
  }
  return text;
}

export function formatSize(bytes: number): string {
  for (const [unit, size] of Object.entries(SIZE_UNITS).toReversed())
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  return `${bytes}B`;
}
