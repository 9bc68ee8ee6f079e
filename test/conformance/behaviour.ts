import { randomBytes } from "node:crypto";
import { type Db, MongoClient } from "mongodb";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DIFFERENCES } from "./differences.ts";
import { SERVERS, type ServerName, type ServerUnderTest } from "./servers.ts";

/** What a test of a behaviour gets. */
export interface Subject {
  readonly server: ServerName;
  readonly client: MongoClient;
  /** A database of the test's own. */
  readonly db: Db;
}

/** One behaviour of a source that EMCache relies on. */
export interface Behaviour {
  readonly name: string;
  /** Section of MongoDB's manual (or of a specification) that says so. */
  readonly section: string;
  readonly check: (subject: Subject) => Promise<void>;
  /** The first major version of MongoDB that has it; older ones are not asked. */
  readonly since: number;
}

/** Collects behaviours: `behaviour("…", "manual section", async ({db}) => …)`. */
export class BehaviourSuite {
  readonly #title: string;
  readonly #behaviours: Behaviour[] = [];

  constructor(title: string) {
    this.#title = title;
  }

  add(name: string, section: string, check: Behaviour["check"], { since = 0 } = {}): this {
    this.#behaviours.push({ name, section, check, since });
    return this;
  }

  /** Declares a test of each behaviour on each server, and prints where they differ when all are done. */
  declare(): void {
    for (const server of SERVERS) this.#declareFor(server);
  }

  #declareFor(subject: ServerUnderTest): void {
    const server = subject.name;
    describe(`${this.#title} (${server})`, () => {
      let running: { readonly uri: string; stop(): Promise<void> } | null = null;
      let client: MongoClient;
      let db: Db;
      let versionMajor = 0;
      const differing: string[] = [];

      beforeAll(async () => {
        running = await subject.start();
        client = await MongoClient.connect(running.uri, { serverSelectionTimeoutMS: 20_000 });
        const { version } = await client.db("admin").command({ buildInfo: 1 });
        versionMajor = Number.parseInt(String(version), 10);
      });
      beforeEach(() => {
        db = client.db(`conformance_${randomBytes(4).toString("hex")}`);
      });
      afterAll(async () => {
        await client.close();
        await running?.stop();
        for (const line of differing) console.log(line);
      });

      test.for(this.#behaviours)("$name", async ({ name, section, check, since }, { skip }) => {
        skip(versionMajor < since, `new in MongoDB ${since}.0`);
        const difference = DIFFERENCES.find((one) => one.behaviour === name && one.server === server);
        const checked = checkAndClear(check, { server, client, db });
        if (difference === undefined) return await checked;
        const hasFailed = await checked.then(
          () => false,
          () => true,
        );
        expect(hasFailed, `${server} follows "${section}" now: take its line out of differences.ts`).toBe(true);
        differing.push(
          `differs: ${server}: ${name}; it ${difference.instead}. The manual ("${section}") has it otherwise.`,
        );
      });
    });
  }
}

async function checkAndClear(check: Behaviour["check"], subject: Subject): Promise<void> {
  try {
    await check(subject);
  } finally {
    await subject.db.dropDatabase().catch(() => "a test may have left it unusable");
  }
}
