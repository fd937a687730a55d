// How the page is built: one HTML file, hashed assets, nothing from outside.
// The output is committed, because the server embeds it; `npm run check` compares.
import { defineConfig, type Plugin } from "vite";

// Any server may be joined, so any address may be connected to; code and styles are ours alone.
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "media-src 'self' blob: mediastream:",
  "connect-src 'self' ws: wss: http: https:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Adds the content security policy; not while developing, where Vite injects styles. */
const policy: Plugin = {
  name: "policy",
  apply: "build",
  transformIndexHtml: () => [
    { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
  ],
};

// While developing, signalling goes to a server on this machine.
const proxy = { "/rtc": { target: "http://localhost:7880", ws: true } };

export default defineConfig({
  base: "./",
  plugins: [policy],
  server: { proxy },
  preview: { proxy },
  build: {
    outDir: "../crates/http/page",
    emptyOutDir: true,
    target: "es2022",
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
    license: { fileName: "licenses.txt" },
    rolldownOptions: {
      output: {
        // The client library changes rarely: a file of its own stays the same when the page changes.
        codeSplitting: { groups: [{ name: "livekit", test: /node_modules/ }] },
      },
    },
  },
});
