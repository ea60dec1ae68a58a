// A problem before it has a line: what is wrong with the value at a path of the document.

export type YamlPath = readonly (string | number)[];

export interface Finding {
  readonly path: YamlPath;
  readonly message: string;
  /** The key itself is meant, not its value. */
  readonly at?: "key";
  /** The path this key was meant for, where one is near. */
  readonly meant?: YamlPath;
}
