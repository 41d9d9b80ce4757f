// Socket.IO 4 with its Redis adapter, WebSocket only, behind a JWT check.
// node server.js PORT

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import jwt from "jsonwebtoken";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  serveClient: false,
  transports: ["websocket"],
});

io.use((socket, next) => {
  jwt.verify(socket.handshake.query.token, process.env.SECRET_KEY, (error, claims) => {
    socket.data.userId = claims?.user_id;
    next(error && new Error("not authenticated"));
  });
});

io.on("connection", (socket) => {
  if (socket.handshake.query.room) {
    socket.join(socket.handshake.query.room);
    socket.on("message", (text) => io.to(socket.handshake.query.room).emit("message", text));
  } else {
    socket.join(`user:${socket.data.userId}`);
  }
});

http.listen(Number(process.argv[2]), "127.0.0.1");
