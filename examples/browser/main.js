// Sends the chosen clip to the evaluator with gRPC-Web, and shows the answer.

import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { NothingSigned, Recognizer } from "./gen/signet/v1/evaluator_pb.js";

// The gateway that served this page passes the call on.
const client = createClient(Recognizer, createGrpcWebTransport({ baseUrl: location.origin }));

const input = document.getElementById("clip");
const list = document.getElementById("answer");
const message = document.getElementById("message");

input.addEventListener("change", async () => {
  const file = input.files[0];
  const bytes = new Uint8Array(await file.arrayBuffer());
  const field = file.name.endsWith(".safetensors") ? "landmarks" : "video";
  list.replaceChildren();
  message.textContent = "asking …";
  try {
    const answer = await client.recognize(
      { input: { case: field, value: bytes }, topK: 3 },
      { timeoutMs: 60_000, headers: { "x-request-id": crypto.randomUUID() } },
    );
    for (const { gloss, probability } of answer.predictions) {
      const row = document.createElement("li");
      row.textContent = `${gloss} ${probability.toFixed(3)}`; // never as HTML: a gloss is a name that anybody chose
      list.append(row);
    }
    const nothing = answer.predictions.length === 0;
    message.textContent = nothing ? `nothing signed: ${NothingSigned[answer.nothingSigned]}` : "done";
  } catch (error) {
    const { rawMessage, metadata } = ConnectError.from(error);
    message.textContent = `refused (request ${metadata.get("x-request-id")}): ${rawMessage}`;
  }
});
