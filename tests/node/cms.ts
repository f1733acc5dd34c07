// What a CMS does with a new picture, by a client whose types are generated from the committed schema.
import { readFileSync } from "node:fs";
import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { print } from "graphql";
import {
  CreatePackDocument,
  CreateUploadDocument,
  JobStateDocument,
  PictureDocument,
  PutLocationDocument,
  SetCropDocument,
  SetOriginalDocument,
  type RefusalFragment,
} from "./generated.ts";

const { PACKSHOT_GRAPHQL = "", PACKSHOT_TOKEN = "", PACKSHOT_PHOTO = "" } = process.env;

async function ask<Data, Variables>(document: TypedDocumentNode<Data, Variables>, variables: Variables): Promise<Data> {
  const answer = await fetch(PACKSHOT_GRAPHQL, {
    method: "POST",
    headers: {
      accept: "application/graphql-response+json",
      authorization: `Bearer ${PACKSHOT_TOKEN}`,
      "content-type": "application/json",
    },
    body: JSON.stringify({ query: print(document), variables }),
  });
  const { data, errors } = (await answer.json()) as { data?: Data; errors?: unknown };
  if (!answer.ok || errors || !data) throw new Error(`${answer.status} ${JSON.stringify(errors)}`);
  return data;
}

type Payload = { userErrors: ReadonlyArray<RefusalFragment> };

function done<P extends Payload>(payload: P | null | undefined): P {
  if (!payload || payload.userErrors.length) throw new Error(JSON.stringify(payload));
  return payload;
}

function there<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error("something is missing");
  return value;
}

async function upload(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const input = { mediaType: "image/jpeg", bytes: bytes.length };
  const target = there(done((await ask(CreateUploadDocument, { input })).createUpload).upload);
  const headers = Object.fromEntries(target.headers.map(({ name, value }) => [name, value]));
  let body: BodyInit = bytes;
  if (target.fields.length) {
    const form = new FormData();
    for (const { name, value } of target.fields) form.append(name, value);
    form.append("file", new Blob([bytes]));
    body = form;
  }
  const sent = await fetch(target.url, { method: target.method, headers, body });
  if (!sent.ok) throw new Error(`the bytes were not taken: ${sent.status}`);
  return target.id;
}

async function finished(id: string) {
  for (;;) {
    const job = there((await ask(JobStateDocument, { id })).job);
    if (job.state !== "QUEUED" && job.state !== "RUNNING") return job;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const location = "card";
done((await ask(PutLocationDocument, { input: { name: location, width: 320, height: 180 } })).putLocation);
const pack = there(done((await ask(CreatePackDocument, { input: { externalId: "film-1" } })).createPack).pack);
const uploadId = await upload(new Uint8Array(readFileSync(PACKSHOT_PHOTO)));
const shown = done((await ask(SetOriginalDocument, { pack: pack.id, location, upload: uploadId })).setOriginal);
await finished(there(shown.job).id);

const crop = { topLeftX: 0, topLeftY: 0, bottomRightX: 0.5, bottomRightY: 0.5 };
const stale = (await ask(SetCropDocument, { pack: pack.id, location, crop, version: 1 })).setCrop;
const cropped = done((await ask(SetCropDocument, { pack: pack.id, location, crop })).setCrop);
const job = await finished(there(cropped.job).id);

const found = there((await ask(PictureDocument, { by: { externalId: "film-1" }, location })).pack);
const picture = there(there(found.location).picture);
const urls = picture.sources.flatMap(({ srcset }) => srcset.split(", ").map((part) => there(part.split(" ")[0])));
const fetched = [];
for (const url of new Set([picture.src, ...urls])) {
  const answer = await fetch(url);
  fetched.push({
    url,
    status: answer.status,
    type: answer.headers.get("content-type"),
    bytes: (await answer.arrayBuffer()).byteLength,
  });
}
const conflict = there(there(stale).userErrors[0]);
console.log(JSON.stringify({ pack: found.id, job, state: picture.state, conflict, fetched }));
