/** Where a command writes what it was asked for, so that only `main.ts` knows the terminal. */
export interface CommandOutput {
  print(text: string): void;
  printError(text: string): void;
}
