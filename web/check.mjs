// Fails when the committed page is not what the sources build to.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const committed = join(here, "../crates/http/page");
const fresh = mkdtempSync(join(tmpdir(), "hearth-page-"));

const run = (name, ...args) =>
  execFileSync(process.execPath, [join(here, "node_modules", name), ...args], { cwd: here, stdio: "inherit" });

function files(root) {
  const names = readdirSync(root, { recursive: true }).map(String);
  return names.filter((name) => statSync(join(root, name)).isFile()).sort();
}

try {
  run("typescript/bin/tsc", "--noEmit");
  run("vite/bin/vite.js", "build", "--outDir", fresh, "--emptyOutDir", "--logLevel", "warn");
  const names = [...new Set([...files(committed), ...files(fresh)])].sort();
  const read = (root, name) => {
    try {
      return readFileSync(join(root, name));
    } catch {
      return null;
    }
  };
  const different = names.filter((name) => {
    const [old, now] = [read(committed, name), read(fresh, name)];
    return !old || !now || !old.equals(now);
  });
  if (different.length > 0) {
    const where = relative(process.cwd(), committed) || ".";
    console.error(`These files in ${where} are not what the sources build to (run "npm run build"):`);
    for (const name of different) console.error(`  ${name}`);
    process.exitCode = 1;
  } else {
    console.log(`The committed page is up to date (${names.length} files).`);
  }
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
