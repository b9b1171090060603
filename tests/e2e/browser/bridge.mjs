// A browser for a test in another language: one JSON request a line on stdin, one JSON answer a line on stdout.
//   node bridge.mjs PACKAGES CHROMIUM
//   {"open": TAB, "profile": NAME, "url": URL}       tabs of one profile share storage and workers
//   {"in": TAB, "call": FUNCTION, "argument": ANY}   FUNCTION is JavaScript; answers with what it returns
//   {"in": TAB, "until": FUNCTION, "argument": ANY}  answers once it returns something true
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(`${packages}/`)("playwright-core");
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const profiles = new Map();
const tabs = new Map();

async function open({ open: name, profile, url }) {
  if (!profiles.has(profile)) profiles.set(profile, await browser.newContext());
  const tab = await profiles.get(profile).newPage();
  tabs.set(name, tab);
  tab.on("pageerror", (error) => console.error(`${name}: ${error}`));
  tab.on("console", (said) => {
    if (said.type() === "error") console.error(`${name}: ${said.text()}`);
  });
  await tab.goto(url);
}

async function answer(request) {
  if (request.open) return open(request);
  const tab = tabs.get(request.in);
  const script = `(${request.call ?? request.until})(${JSON.stringify(request.argument ?? null)})`;
  if (request.call) return tab.evaluate(script);
  await tab.waitForFunction(script, null, { timeout: 30000 });
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ result: (await answer(JSON.parse(line))) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await browser.close();
