import type { ApiInstance } from "./api-instance.ts";

/**
 * Ends connections whose client takes nothing of its answer for `timeoutMs`. The time counts from when the answer
 * begins to be sent, so a request that takes long to be answered (a large snapshot) is not cut off. When the answer
 * is complete, Node sets the connection's time-out for keep-alive in its place.
 */
export function endStalledAnswers(app: ApiInstance, timeoutMs: number): void {
  app.addHook("onSend", async (_request, reply) => {
    // Without a listener Node destroys the socket, and with it the file's stream.
    reply.raw.setTimeout(timeoutMs);
  });
}
