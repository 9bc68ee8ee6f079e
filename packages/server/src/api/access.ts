import { ACCESS_SCOPES, type AccessScope, EmcacheError } from "@emcache/protocol";
import { namePattern } from "./name-pattern.ts";

/** What somebody may do. */
export interface AccessRights {
  /** Of the token; null where none is asked for. */
  readonly name: string | null;
  readonly scope: AccessScope;
  /** Patterns of entity names. */
  readonly entities: readonly string[];
  /** Whether it still holds: a token may be revoked or expire while its request waits. */
  readonly isCurrent: () => boolean;
}

/** Who sends a request, and what that one may do. */
export class Access {
  readonly name: string | null;
  /** Whether every entity may be used, those included that there will be. */
  readonly isUnrestricted: boolean;
  readonly #scope: AccessScope;
  readonly #patterns: readonly RegExp[];
  readonly #isCurrent: () => boolean;

  constructor({ name, scope, entities, isCurrent }: AccessRights) {
    this.name = name;
    this.isUnrestricted = entities.includes("*");
    this.#scope = scope;
    this.#patterns = entities.map(namePattern);
    this.#isCurrent = isCurrent;
  }

  includes(scope: AccessScope): boolean {
    return ACCESS_SCOPES.indexOf(this.#scope) >= ACCESS_SCOPES.indexOf(scope);
  }

  /** @throws EmcacheError `forbidden` */
  requireScope(scope: AccessScope): void {
    if (this.includes(scope)) return;
    throw new EmcacheError("forbidden", `This needs the scope ${scope}; the token has ${this.#scope}`);
  }

  allowsEntity(name: string): boolean {
    return this.isUnrestricted || this.#patterns.some((pattern) => pattern.test(name));
  }

  /** The same whether or not there is such an entity. @throws EmcacheError `forbidden` */
  requireEntity(name: string): void {
    if (this.allowsEntity(name)) return;
    throw new EmcacheError("forbidden", `The token is not for the entity ${JSON.stringify(name.slice(0, 200))}`);
  }

  /** For what concerns all entities at once. @throws EmcacheError `forbidden` */
  requireAllEntities(): void {
    if (this.isUnrestricted) return;
    throw new EmcacheError("forbidden", "This concerns all entities, and the token is for some only");
  }

  /** @throws EmcacheError `unauthorized` where the token counts no more */
  requireCurrent(): void {
    if (!this.#isCurrent()) throw new EmcacheError("unauthorized", "The token was revoked or has expired");
  }
}

/** Everybody may do everything. */
export const OPEN_ACCESS = new Access({ name: null, scope: "admin", entities: ["*"], isCurrent: () => true });

/** Nobody in particular: what public routes show to all. */
export const PUBLIC_ACCESS = new Access({ name: null, scope: "read", entities: [], isCurrent: () => true });
