/**
 * A consumer as a process of its own, so that it can be stopped: follows one entity's log by several connections at
 * once and prints how far each is, a JSON line a page.
 *
 * Arguments: address, entity, position to begin after, connections.
 */
const [address = "", entity = "", after = "0", connections = "1"] = process.argv.slice(2);

interface Page {
  readonly position: number;
  readonly entries: readonly { readonly id: number }[];
}

async function follow(connection: number): Promise<void> {
  let position = Number(after);
  for (;;) {
    const response = await fetch(`${address}/api/oplogs/${entity}?limit=10000&after=${position}`).catch(() => null);
    if (response === null || !response.ok) {
      process.stdout.write(`${JSON.stringify({ connection, status: response?.status ?? 0 })}\n`);
      await response?.text().catch(() => "");
      await new Promise((resolve) => setTimeout(resolve, 100));
      continue;
    }
    const page = (await response.json().catch(() => null)) as Page | null;
    if (page === null) continue;
    const rows = page.entries.length;
    const isGapless = page.entries.every(({ id }, index) => id === (page.entries[0]?.id ?? 0) + index);
    if (page.position > position) {
      process.stdout.write(
        `${JSON.stringify({ connection, position: page.position, rows, first: page.entries[0]?.id ?? null, isGapless })}\n`,
      );
      position = page.position;
    } else await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

await Promise.all(Array.from({ length: Number(connections) }, (_, connection) => follow(connection)));
