import { execFile } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { goTool, hasGo } from "../support/go-tool.ts";
import { pythonEnvironment } from "../support/python-environment.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = useTestFolder("manifests");

/** The compose specification's own loader: it checks the schema and that what is named is there. */
const COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2";
const HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0";
const KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0";
/** Brings Kubernetes' schemas along, which kubeconform would download. */
const KUBERNETES_SCHEMAS = "kubernetes-validate==1.37.0";

/** Compiling them takes minutes on a machine that has not done it before. */
const BUILD_TIMEOUT_MS = 1_800_000;

describe.skipIf(!(await hasGo()))("deployment files (need Go)", () => {
  test(
    "docker-compose.yml is right by the compose specification, and has what the brief names",
    async () => {
      const compose = await goTool(COMPOSE);
      const { stdout } = await run(compose, ["-format", "json", join(root, "docker-compose.yml")]);
      const { services } = JSON.parse(stdout) as { services: Record<string, { read_only?: boolean }> };
      expect(Object.keys(services).sort()).toEqual(["emcache", "mongodb", "postgres", "prometheus"]);
      expect(services["emcache"]?.read_only).toBe(true);
      const broken = join(folder, "broken.yml");
      writeFileSync(broken, "services: { emcache: { image: emcache, portz: [1] } }\n");
      await expect(run(compose, [broken])).rejects.toThrow(/portz/);
    },
    BUILD_TIMEOUT_MS,
  );

  test(
    "the Helm chart makes manifests that Kubernetes' schemas accept",
    async () => {
      const helm = await goTool(HELM);
      const chart = join(root, "deploy/helm/emcache");
      await run(helm, ["lint", "--strict", chart]);
      const { stdout } = await run(helm, ["template", "cache", chart, "--set", "storage.storageClassName=fast"]);
      const manifests = join(folder, "manifests.yaml");
      writeFileSync(manifests, stdout);
      const summary = await kubeconform(manifests);
      expect(summary).toMatchObject({ valid: 5, invalid: 0, errors: 0, skipped: 0 });
      const broken = join(folder, "broken.yaml");
      writeFileSync(broken, stdout.replace("replicas: 2", "replicas: two"));
      expect(await kubeconform(broken)).toMatchObject({ valid: 4, invalid: 1 });
    },
    BUILD_TIMEOUT_MS,
  );
});

async function kubeconform(file: string): Promise<unknown> {
  const program = await goTool(KUBECONFORM);
  const environment = await pythonEnvironment(KUBERNETES_SCHEMAS);
  const parameters = ["-strict", "-summary", "-output", "json", "-schema-location", schemaLocation(environment), file];
  const { stdout } = await run(program, parameters).catch((error: unknown) => error as { stdout: string });
  return (JSON.parse(stdout) as { summary: unknown }).summary;
}

/** What the chart makes, and what the schemas of all kinds share. */
const SCHEMAS = ["configmap-v1", "poddisruptionbudget-policy-v1", "service-v1", "statefulset-apps-v1", "_definitions"];

/**
 * kubeconform's template for a folder of schemas, those of the newest release of Kubernetes that the package has. They
 * name each other by the path of a web server, which is made the path of a file.
 */
function schemaLocation(environment: string): string {
  const python = readdirSync(join(environment, "lib"))[0] ?? "";
  const releases = join(environment, "lib", python, "site-packages/kubernetes_validate/kubernetes-json-schema");
  const newest =
    readdirSync(releases)
      .sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
      .at(-1) ?? "";
  for (const name of SCHEMAS) {
    const text = readFileSync(join(releases, newest, `${name}.json`), "utf8");
    const { $id: _webAddress, ...schema } = JSON.parse(text) as Record<string, unknown>;
    const relative = JSON.stringify(schema).replaceAll("/api/_definitions.json", "_definitions.json");
    writeFileSync(join(folder, `${name}.json`), relative);
  }
  return join(folder, "{{ .ResourceKind }}{{ .KindSuffix }}.json");
}
