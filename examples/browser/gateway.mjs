// A gateway for web pages: browsers cannot speak gRPC, but gRPC-Web. It serves this folder's page, and passes calls of
// Recognize on to an evaluator. `node gateway.mjs localhost:50053 8080`, then open http://127.0.0.1:8080.
//
// Both protocols have the same messages. gRPC-Web sends the trailers as a last frame of the body, because browsers hide
// trailers. (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md) Envoy's filter grpc_web does the same.
// This gateway has no TLS and no limit of calls for each client: it is for one machine.

import { createReadStream } from "node:fs";
import http from "node:http";
import http2 from "node:http2";

const [address, port = "8080"] = process.argv.slice(2);

const METHODS = new Set(["/signet.v1.Recognizer/Recognize"]);
const FILES = new Map([
  ["/", ["index.html", "text/html; charset=utf-8"]],
  ["/dist/main.js", ["dist/main.js", "text/javascript; charset=utf-8"]],
]);
// What a client may send on, and what it gets back besides the status.
const FORWARDED = ["authorization", "grpc-timeout", "traceparent", "x-request-id"];
const RETURNED = ["grpc-message", "grpc-retry-pushback-ms", "grpc-status", "x-request-id"];
const MAX_BYTES = 33 * 2 ** 20;

let session;
function connection() {
  if (!session || session.closed || session.destroyed) {
    session = http2.connect(`http://${address}`);
    session.on("error", () => {}); // each call reports it
  }
  return session;
}

// The frame of the trailers: a flag, a length of four bytes, and lines as in HTTP/1.
function trailerFrame(trailers) {
  const lines = RETURNED.filter((key) => trailers[key] !== undefined).map((key) => `${key}: ${trailers[key]}\r\n`);
  const text = Buffer.from(lines.join(""));
  const head = Buffer.alloc(5);
  head[0] = 0x80;
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, text]);
}

function forward(request, response) {
  const headers = { ":method": "POST", ":path": request.url, "content-type": "application/grpc+proto", te: "trailers" };
  for (const key of FORWARDED) if (request.headers[key]) headers[key] = request.headers[key];
  const call = connection().request(headers);
  let trailers = {};
  let received = 0;

  response.writeHead(200, { "content-type": "application/grpc-web+proto" });
  request.on("data", (data) => {
    received += data.length;
    if (received > MAX_BYTES) call.destroy(new Error("the request is too large for this gateway"));
    else call.write(data);
  });
  request.on("end", () => call.end());
  response.on("close", () => call.close(http2.constants.NGHTTP2_CANCEL));

  call.on("response", (answered) => {
    trailers = answered; // a call that failed may have the trailers here, and no body
  });
  call.on("trailers", (sent) => {
    trailers = sent;
  });
  call.on("data", (data) => response.write(data));
  call.on("error", (error) => {
    trailers = { "grpc-status": "14", "grpc-message": encodeURIComponent(`the gateway: ${error.message}`) };
  });
  call.on("close", () => response.end(trailerFrame({ "grpc-status": "14", ...trailers })));
}

const server = http.createServer((request, response) => {
  const file = FILES.get(request.url);
  if (request.method === "POST" && METHODS.has(request.url)) forward(request, response);
  else if (request.method === "GET" && file) {
    response.writeHead(200, { "content-type": file[1] });
    createReadStream(new URL(file[0], import.meta.url)).pipe(response);
  } else response.writeHead(404).end();
});
server.listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
