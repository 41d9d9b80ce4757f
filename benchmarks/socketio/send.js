// Sends messages to the server from another process: the counterpart of ../drive.py.
// node send.js room COUNT
// node send.js notify COUNT RATE IDS

import { readFileSync } from "node:fs";
import { setImmediate, setTimeout } from "node:timers/promises";

import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

const TEXT_BYTES = 128;
const TURN = 100; // messages until the client may write them to its socket

const text = (number) => `@${number}:${process.hrtime.bigint()}:`.padEnd(TEXT_BYTES, "x");

const [target, count, rate, idsFile] = process.argv.slice(2);
const client = createClient({ url: process.env.REDIS_URL });
await client.connect();
const emitter = new Emitter(client);

const userIds = target === "notify" && readFileSync(idsFile, "utf8").trim().split(/\s+/);
const rooms = userIds ? userIds.map((id) => `user:${id}`) : ["bench"];

const startedAt = process.hrtime.bigint();
const start = performance.now();
for (let number = 0; number < Number(count); number++) {
  if (Number(rate)) {
    const left = start + (number / Number(rate)) * 1000 - performance.now();
    if (left > 0) await setTimeout(left);
  } else if (number % TURN === TURN - 1) {
    await setImmediate();
  }
  emitter
    .to(rooms[number % rooms.length])
    .emit("message", text(Math.floor(number / rooms.length)));
}
await client.quit();
const finishedAt = process.hrtime.bigint();
console.log(`{"started_at": ${startedAt}, "finished_at": ${finishedAt}}`);
