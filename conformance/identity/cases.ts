// Counting what held and what did not.

export interface Cases {
  check(name: string, work: () => Promise<unknown> | unknown): Promise<void>;
  skip(name: string, why: string): void;
  /** `N passed, N failed, N skipped` */
  summary(): { readonly line: string; readonly isGood: boolean };
}

export function createCases(print: (line: string) => void): Cases {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  return {
    async check(name, work) {
      try {
        await work();
        passed++;
        print(`ok      ${name}`);
      } catch (error) {
        failed++;
        print(`FAILED  ${name}\n        ${String(Object(error).message ?? error)}`);
      }
    },
    skip(name, why) {
      skipped++;
      print(`skipped ${name}: ${why}`);
    },
    summary: () => ({
      line: `${passed} passed, ${failed} failed, ${skipped} skipped`,
      isGood: failed === 0 && passed > 0,
    }),
  };
}
