/**
 * Runs the programs against a job service, with the workers in this process.
 *
 * Usage: node dist/main.js HOST:PORT [NAME...]. Prints a line `ok NAME` or
 * `fail NAME: CAUSE` for each and exits with 1 when any failed.
 */
// First, because it loads the SDK's root: its other modules import each other in circles.
import { programs } from "./programs";
import { PortableRunner } from "apache-beam/runners/portable_runner/runner";

async function run(runner: PortableRunner, program: any) {
  if (!program.fails) {
    const result = await runner.run(program.pipeline);
    await program.check?.(result);
    return;
  }
  try {
    await runner.run(program.pipeline);
  } catch (e) {
    if (("" + e).includes("FAILED")) return;
    throw e;
  }
  throw new Error("the job did not fail");
}

function timeout(ms: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no end after ${ms} ms`)), ms);
  });
}

async function main() {
  const endpoint = process.argv[2];
  const names = process.argv.slice(3);
  // The SDK writes to these whatever it does.
  console.debug = console.info = console.error = console.warn = () => {};
  const say = console.log;
  console.log = () => {};
  let failed = 0;
  for (const name of names.length ? names : Object.keys(programs)) {
    try {
      const runner = new PortableRunner({ jobEndpoint: endpoint, environmentType: "LOOPBACK", jobName: name });
      await Promise.race([run(runner, programs[name]), timeout(60_000)]);
      say(`ok   ${name}`);
    } catch (e) {
      failed++;
      say(`fail ${name}: ${e}`);
    }
  }
  process.exit(failed === 0 ? 0 : 1);
}

main();
