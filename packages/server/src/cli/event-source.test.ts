import fc from "fast-check";
import { expect, test } from "vitest";
import { serverEvents } from "./event-source.ts";

const TEXT =
  'retry: 1000\n\n:\n\nid: 7.abc\nevent: entries\ndata: {"a":"ü: b"}\n\nevent: position\ndata: {}\n\ndata: 1\ndata: 2\n\n';

test("events come whole wherever the answer is cut; one that is cut off at its end is none", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 40 })), async (sizes) => {
      const bytes = Buffer.from(`${TEXT}event: entries\ndata: {"lost"`);
      async function* pieces(): AsyncGenerator<Uint8Array> {
        let from = 0;
        for (const size of sizes) yield bytes.subarray(from, (from += size));
        yield bytes.subarray(from);
      }
      const events = [];
      for await (const event of serverEvents(pieces())) events.push(event);
      expect(events).toEqual([
        { event: "entries", id: "7.abc", data: '{"a":"ü: b"}' },
        { event: "position", id: null, data: "{}" },
        { event: "message", id: null, data: "1\n2" },
      ]);
    }),
  );
});
