import { type AccessTokenInfo, EmcacheError } from "@emcache/protocol";
import type { NewToken } from "../../oplog/token-store.ts";
import type { TokensPort } from "../api-dependencies.ts";

/** Tokens in memory: what stands in PostgreSQL otherwise. */
export class MemoryTokens implements TokensPort {
  readonly infos = new Map<string, AccessTokenInfo>();

  async create({ name, scope, entities, expiresAt }: NewToken): Promise<{ token: string; info: AccessTokenInfo }> {
    if (this.infos.has(name)) throw new EmcacheError("token_exists", `There is a token ${name}`);
    const info = { name, scope, entities, created_at: "2026-01-02T03:04:05.000Z", expires_at: expiresAt };
    this.infos.set(name, info);
    return { token: `emcache_${name}`, info };
  }

  async list(): Promise<AccessTokenInfo[]> {
    return [...this.infos.values()];
  }

  async revoke(name: string): Promise<boolean> {
    return this.infos.delete(name);
  }
}
