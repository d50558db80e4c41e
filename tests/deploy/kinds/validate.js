// Read manifests as a JSON array; print {"name": "kind/name", "error": "why not" or null} for each.

import { readFileSync } from "node:fs";

const packages = {
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};

async function complaint(manifest) {
  const [group] = manifest.apiVersion.split("/");
  const module = await import(`${packages[group]}/${manifest.apiVersion}/${manifest.kind}`);
  try {
    new module[manifest.kind](manifest).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

const found = [];
for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${manifest.kind}/${manifest.metadata.name}`;
  found.push({ name, error: await complaint(manifest) });
}
console.log(JSON.stringify(found));
