// A page as an application of SQLSync would have it: the published React hooks over the published worker.
// What a test asks of it is on `window.app`.
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { journalIdFromString, sql } from "@orbitinghail/sqlsync-worker";
import { SQLSyncProvider, createDocHooks, useConnectionStatus } from "@orbitinghail/sqlsync-react";

const asked = new URLSearchParams(location.search);
const docId = journalIdFromString(asked.get("document"));
const encoder = new TextEncoder();
const { useMutate, useQuery, useSetConnectionEnabled } = createDocHooks({
  reducerUrl: new URL("/reducer.wasm", location.href),
  serializeMutation: (words) => encoder.encode(words.join("\0")),
});

function Notes() {
  const mutate = useMutate(docId);
  const setOnline = useSetConnectionEnabled(docId);
  const status = useConnectionStatus();
  const { rows, error } = useQuery(docId, sql`SELECT key, value FROM notes ORDER BY key`);
  const notes = rows && Object.fromEntries(rows.map(({ key, value }) => [key, value]));
  window.app = { mutate, setOnline, status, notes, error: error && String(error) };
  return createElement("pre", null, JSON.stringify(notes));
}

createRoot(document.getElementById("root")).render(
  createElement(
    SQLSyncProvider,
    { workerUrl: "/worker.js", wasmUrl: "/sqlsync.wasm", coordinatorUrl: asked.get("coordinator") },
    createElement(Notes),
  ),
);
