// Which sign does a clip show? `npm install`, then `node recognise.mjs localhost:50053 clip.mp4`.
//
// SIGNET_CLIENT_CA=<PEM file> uses TLS, SIGNET_CLIENT_TOKEN sends a token.

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTOS = fileURLToPath(new URL("../../proto", import.meta.url));

const definition = await protoLoader.load("signet/v1/evaluator.proto", {
  includeDirs: [PROTOS],
  keepCase: true,
  defaults: true,
  enums: String,
});
const { signet } = grpc.loadPackageDefinition(definition);

// A call that the server refuses because it is busy, or that reaches no server, is sent again. gRPC obeys the time that
// the server asks for.
const RETRIES = JSON.stringify({
  methodConfig: [
    {
      name: [{ service: "signet.v1.Recognizer" }],
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.2s",
        maxBackoff: "5s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
      },
    },
  ],
});

const [address, path] = process.argv.slice(2);
const credentials = process.env.SIGNET_CLIENT_CA
  ? grpc.credentials.createSsl(await readFile(process.env.SIGNET_CLIENT_CA))
  : grpc.credentials.createInsecure();
const client = new signet.v1.Recognizer(address, credentials, { "grpc.service_config": RETRIES });

const metadata = new grpc.Metadata();
metadata.set("x-request-id", randomUUID());
if (process.env.SIGNET_CLIENT_TOKEN) metadata.set("authorization", `Bearer ${process.env.SIGNET_CLIENT_TOKEN}`);

const field = path.endsWith(".safetensors") ? "landmarks" : "video";
const request = { [field]: await readFile(path), top_k: 3 };

client.Recognize(request, metadata, { deadline: Date.now() + 60_000 }, (error, answer) => {
  if (error) {
    console.error(`refused (${grpc.status[error.code]}, request ${error.metadata.get("x-request-id")}): ${error.details}`);
    process.exitCode = 1;
  } else if (answer.predictions.length === 0) {
    console.log(`nothing signed: ${answer.nothing_signed}`);
  } else {
    for (const { gloss, probability } of answer.predictions) console.log(`${gloss} ${probability.toFixed(3)}`);
  }
  client.close();
});
