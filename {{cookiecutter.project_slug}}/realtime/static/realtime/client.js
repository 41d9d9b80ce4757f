/**
 * A browser's side of the WebSocket protocol: it reconnects, resumes and never hands an event over
 * twice. An ES module without dependencies.
 *
 *     import { RealtimeClient } from "/static/realtime/client.js";
 *
 *     const client = new RealtimeClient({
 *       getToken: async (refused) => …, // an access token; a fresh one if the last was refused
 *       onEvent: (event) => …,          // each event once, in order
 *       onReset: (position) => …,       // events are gone: load the present state over REST
 *     });
 *
 * Tabs of one user share one connection, where the browser has Web Locks (on https and localhost).
 */

// Seconds, as all times here. Full jitter below a doubling limit, so that clients which were cut
// off together do not come back together.
const BACKOFF_FIRST = 0.5;
const BACKOFF_LAST = 30;
// The server is going away: its clients spread over this time.
const GOING_AWAY_SPREAD = 5;
// How long before its token expires a connection gets the next one.
const RENEW_BEFORE = 30;

const NORMAL = 1000;
const NOT_AUTHENTICATED = 4401;
const GOING_AWAY = 4412;
// Unusable frames, not allowed here, no such stream: the same again would end the same.
const FINAL = new Set([4400, 4403, 4404]);

/**
 * A place in a stream.
 *
 * @typedef {object} Position
 * @property {string} epoch the history that it belongs to.
 * @property {number} seq the last event.
 */

export class RealtimeClient {
  #options;
  #position = null;
  #transport = null;
  #status = "closed";
  #ended = false;

  /**
   * @param {object} options
   * @param {(refused: boolean) => Promise<string>|string} options.getToken gives an access token;
   *   `refused` asks for another than the last. Called before each connection and before a token
   *   expires.
   * @param {(event: object) => void} [options.onEvent] takes each event, and what is not stored.
   * @param {(position: Position) => void} [options.onReset] the asked position is gone; what
   *   happened since is to be loaded over REST, and events go on after the new one.
   * @param {(status: "connecting"|"open"|"closed", code?: number) => void} [options.onStatus]
   *   `closed` comes with the close code if the server wants no further try.
   * @param {(code: string, detail: string) => void} [options.onError] the server could not use a
   *   frame of ours.
   * @param {string} [options.url] path or address of the stream.
   * @param {Position} [options.position] what the page has already; without it, events start now.
   * @param {boolean} [options.share] whether the tabs of one user share a connection.
   * @param {number} [options.pingSeconds] how long the connection may be silent before it is asked,
   *   and then until it counts as broken.
   */
  constructor(options) {
    this.#options = {
      url: "/ws/realtime/",
      share: true,
      pingSeconds: 20,
      ...options,
      getToken: async (refused) => options.getToken(refused),
    };
    this.#position = this.#options.position ?? null;
    this.#start();
  }

  /** The last event that was handed over, to start from another time; null before a connection. */
  get position() {
    return this.#position && { ...this.#position };
  }

  /** `connecting`, `open` or `closed`. */
  get status() {
    return this.#status;
  }

  /**
   * Send a frame, unless there is no connection at the moment; nothing is kept for later.
   *
   * @param {object} frame with a `type` that the stream's consumer takes.
   * @returns {boolean} whether it has left this page; that it arrived, only an answer can say.
   */
  send(frame) {
    return this.#transport?.send(frame) ?? false;
  }

  /** End the connection for good. */
  close() {
    this.#ended = true;
    this.#transport?.close();
    this.#transport = null;
    this.#setStatus("closed");
  }

  async #start() {
    this.#setStatus("connecting");
    const { share, url, getToken } = this.#options;
    const owner = {
      options: this.#options,
      position: () => this.#position,
      frame: (frame) => this.#take(frame),
      status: (...status) => this.#setStatus(...status),
      alone: () => this.#use(new Connection(owner)),
    };
    if (share && globalThis.navigator?.locks && globalThis.BroadcastChannel) {
      const user = userOf(await getToken(false).catch(() => ""));
      if (user !== null) {
        this.#use(new SharedConnection(owner, `realtime ${url} ${user}`));
        return;
      }
    }
    owner.alone();
  }

  #use(transport) {
    if (this.#ended) return;
    this.#transport?.close();
    this.#transport = transport;
    transport.open();
  }

  /** Take a frame; false if it does not follow what came before. */
  #take(frame) {
    const { onEvent, onReset, onError } = this.#options;
    switch (frame.type) {
      case "realtime.ready":
        this.#position ??= { epoch: frame.epoch, seq: frame.seq };
        break;
      case "realtime.reset":
        this.#position = { epoch: frame.epoch, seq: frame.seq };
        onReset?.({ ...this.#position });
        break;
      case "realtime.error":
        onError?.(frame.code, frame.detail);
        break;
      case "realtime.pong":
      case "realtime.authenticated":
        break;
      default:
        if (frame.seq === undefined) onEvent?.(frame);
        else if (frame.seq > this.#position.seq + 1) return false;
        else if (frame.seq === this.#position.seq + 1) {
          this.#position.seq = frame.seq;
          onEvent?.(frame);
        }
    }
    return true;
  }

  #setStatus(status, code) {
    if (status === this.#status) return;
    this.#status = status;
    this.#options.onStatus?.(status, code);
  }
}

/** One WebSocket after the other, for one client. */
class Connection {
  #owner;
  #socket = null;
  #timers = {};
  #failures = 0;
  #refused = false;
  #closed = false;

  constructor(owner) {
    this.#owner = owner;
  }

  open() {
    globalThis.addEventListener?.("online", this.#hurry);
    this.#connect();
  }

  send(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  close() {
    this.#closed = true;
    globalThis.removeEventListener?.("online", this.#hurry);
    this.#drop();
  }

  // The network is back: no need to wait for the next try.
  #hurry = () => {
    if (this.#timers.retry) this.#connect();
  };

  async #connect() {
    this.#drop();
    this.#owner.status("connecting");
    try {
      const token = await this.#owner.options.getToken(this.#refused);
      if (this.#closed || this.#socket) return;
      this.#socket = new WebSocket(this.#address(), ["bearer", token]);
    } catch {
      // There is no token at the moment, or none that could be one.
      this.#retry();
      return;
    }
    this.#socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    this.#socket.onclose = ({ code }) => this.#ended(code);
    this.#listen();
  }

  #address() {
    const { epoch, seq } = this.#owner.position() ?? {};
    const query = epoch === undefined ? "" : `?since=${seq}&epoch=${epoch}`;
    const address = new URL(this.#owner.options.url + query, globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    return address;
  }

  #take(frame) {
    this.#listen();
    if (frame.type === "realtime.ready") {
      this.#failures = 0;
      this.#refused = false;
    }
    if (frame.expires_at) this.#renewBefore(frame.expires_at);
    if (!this.#owner.frame(frame)) {
      // Never seen, but if so, the stored events close the gap.
      this.#connect();
      return;
    }
    if (frame.type === "realtime.ready") this.#owner.status("open");
  }

  // A connection that broke without a word is noticed by its silence.
  #listen() {
    const { pingSeconds } = this.#owner.options;
    this.#set("silence", pingSeconds, () => {
      this.send({ type: "realtime.ping" });
      this.#set("silence", pingSeconds, () => this.#ended(1006));
    });
  }

  #renewBefore(expiry) {
    const seconds = (Date.parse(expiry) - Date.now()) / 1000 - RENEW_BEFORE;
    this.#set("renew", Math.min(Math.max(seconds, RENEW_BEFORE), 86_400), async () => {
      const token = await this.#owner.options.getToken(true).catch(() => null);
      if (token !== null) this.send({ type: "realtime.authenticate", token });
    });
  }

  #ended(code) {
    this.#drop();
    if (FINAL.has(code)) {
      this.close();
      this.#owner.status("closed", code);
      return;
    }
    // Once at once with another token, then with patience: that one was not taken either.
    const renew = code === NOT_AUTHENTICATED && !this.#refused;
    this.#refused ||= code === NOT_AUTHENTICATED;
    if (renew) this.#connect();
    else if (code === GOING_AWAY) this.#retry(Math.random() * GOING_AWAY_SPREAD);
    else if (code === NORMAL) this.#retry(BACKOFF_FIRST);
    else this.#retry();
  }

  #retry(seconds) {
    const limit = Math.min(BACKOFF_LAST, BACKOFF_FIRST * 2 ** this.#failures);
    this.#failures += 1;
    this.#owner.status("connecting");
    if (!this.#closed) {
      this.#set("retry", seconds ?? Math.random() * limit, () => this.#connect());
    }
  }

  #set(name, seconds, action) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(() => {
      delete this.#timers[name];
      action();
    }, seconds * 1000);
  }

  #drop() {
    Object.values(this.#timers).forEach(clearTimeout);
    this.#timers = {};
    if (this.#socket === null) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(NORMAL);
    this.#socket = null;
  }
}

/**
 * One connection for all tabs: the one that holds the lock has it, and tells the others what comes.
 *
 * Each tab keeps its own position, so whoever takes over continues exactly where it was.
 */
class SharedConnection {
  #owner;
  #name;
  #channel;
  #release = new AbortController();
  // Of the tab that leads: its connection and what it last said of it. Of the others: whether what
  // the leader hears continues their own events.
  #connection = null;
  #said = { status: "connecting" };
  #following = false;

  constructor(owner, name) {
    this.#owner = owner;
    this.#name = name;
    this.#channel = new BroadcastChannel(name);
  }

  open() {
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    const { signal } = this.#release;
    const released = new Promise((resolve) => signal.addEventListener("abort", resolve));
    navigator.locks
      .request(this.#name, { signal }, () => {
        this.#lead();
        return released;
      })
      .catch(() => {}); // Released before it was held.
    this.#channel.postMessage({ hello: true });
  }

  send(frame) {
    if (this.#connection !== null) return this.#connection.send(frame);
    if (this.#following) this.#channel.postMessage({ send: frame });
    return this.#following;
  }

  close() {
    this.#channel.onmessage = null;
    this.#connection?.close();
    this.#release.abort();
    this.#channel.close();
  }

  #lead() {
    this.#following = false;
    this.#connection = new Connection({
      ...this.#owner,
      frame: (frame) => {
        const follows = this.#owner.frame(frame);
        // What answers this very connection concerns no other tab.
        if (follows && !/^realtime\.(ready|pong|authenticated)$/.test(frame.type)) {
          this.#channel.postMessage({ frame });
        }
        return follows;
      },
      status: (status, code) => {
        this.#owner.status(status, code);
        this.#said = { status, code };
        this.#tell();
        if (status === "closed") this.close();
      },
    });
    this.#connection.open();
  }

  #tell() {
    this.#channel.postMessage({ lead: { ...this.#said, position: this.#owner.position() } });
  }

  #hear({ hello, send, lead, frame }) {
    if (this.#connection !== null) {
      if (hello) this.#tell();
      if (send) this.#connection.send(send);
    } else if (lead) {
      this.#follow(lead);
    } else if (frame && this.#following && !this.#owner.frame(frame)) {
      this.#owner.alone();
    }
  }

  #follow({ status, code, position }) {
    const own = this.#owner.position();
    this.#following = status === "open";
    if (this.#following && own && (own.epoch !== position.epoch || own.seq < position.seq)) {
      // What lies between is not to be had from the leader.
      this.#owner.alone();
      return;
    }
    if (this.#following) this.#owner.frame({ type: "realtime.ready", ...position });
    this.#owner.status(status, code);
    if (status === "closed") this.close();
  }
}

/** The user that a token was issued to, or null if it is no JWT. */
function userOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return String(JSON.parse(atob(payload)).user_id ?? null);
  } catch {
    return null;
  }
}
