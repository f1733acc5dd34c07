// Writes generated.ts: the types that the operations in cms.graphql have in the committed schema.
import { readFileSync, writeFileSync } from "node:fs";
import { codegen } from "@graphql-codegen/core";
import * as typedDocuments from "@graphql-codegen/typed-document-node";
import * as operations from "@graphql-codegen/typescript-operations";
import { parse } from "graphql";

const [schema, documents] = process.argv.slice(2).map((file) => parse(readFileSync(file, "utf8")));
const scalars = { DateTime: "string", Long: "number", URL: "string" };
const config = { scalars, strictScalars: true, enumsAsTypes: true, useTypeImports: true };
const output = await codegen({
  filename: "generated.ts",
  schema,
  documents: [{ location: "cms.graphql", document: documents }],
  config,
  plugins: [{ operations: {} }, { documents: {} }],
  pluginMap: { operations, documents: typedDocuments },
});
writeFileSync("generated.ts", output);
