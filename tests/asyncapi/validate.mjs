// Validates AsyncAPI documents: node validate.mjs FILE... prints what is wrong and fails then.
import { readFileSync } from "node:fs";
import asyncapi from "@asyncapi/parser";

const ERROR = 0;
const parser = new asyncapi.Parser();
let valid = true;
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(readFileSync(file, "utf8"));
  valid &&= document !== undefined;
  for (const { severity, path, message } of diagnostics) {
    if (severity === ERROR) console.log(`${file}: ${path.join(".")}: ${message}`);
  }
}
process.exit(valid ? 0 : 1);
