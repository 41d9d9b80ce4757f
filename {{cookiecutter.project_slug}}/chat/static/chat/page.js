/**
 * The chat in a browser: an example of a page that lives on the REST API and one socket. What it
 * shows comes from `show` alone, whether it was loaded, replayed or has just been said.
 */

import { RealtimeClient } from "../realtime/client.js";

const TYPING_SECONDS = 3;

const page = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);

// Only here: who loads the page again signs in again, and no script finds them in a store.
let user = null;
let tokens = null;
let renewal = null;

// The room that is open: its socket, its messages by number, and by `client_id` what was said in it
// but has not come back yet.
let room = null;
let client = null;
const messages = new Map();
const unsent = new Map();
const typing = new Map();
let typed = 0;

// REST

async function call(method, path, body, token = tokens?.access) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(`/api/${path}`, { method, headers, body: JSON.stringify(body) });
  if (answer.status === 401 && token && token === tokens?.access) {
    return call(method, path, body, await renew());
  }
  const data = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(Object.values(data).flat().join(" "));
  return data;
}

/** Get another access token; a refresh token is good for one, however many ask at once. */
function renew() {
  renewal ??= call("POST", "token/refresh/", { refresh: tokens?.refresh }, null)
    .then((fresh) => {
      tokens = fresh;
      return fresh.access;
    })
    .catch((error) => {
      signOut();
      throw error;
    })
    .finally(() => {
      renewal = null;
    });
  return renewal;
}

// Signing in and out

async function signIn({ username, password, email }, isNew) {
  if (isNew) await call("POST", "users/", { username, password, email });
  tokens = await call("POST", "token/", { username, password });
  user = (await call("GET", "users/me/")).username;
  page.signin.reset();
  page.signin.hidden = true;
  page.chat.hidden = false;
  await listRooms();
}

function signOut() {
  closeRoom();
  user = tokens = null;
  page.chat.hidden = true;
  page.signin.hidden = false;
}

// Rooms

async function listRooms() {
  const rooms = await call("GET", "chat/rooms/");
  page.rooms.replaceChildren(
    ...rooms.map((each) => {
      const button = element("button", each.unread ? `${each.name} (${each.unread})` : each.name);
      if (each.slug === room?.slug) button.ariaCurrent = "true";
      button.onclick = attempt(() => openRoom(each));
      const item = element("li");
      item.append(button);
      return item;
    }),
  );
}

async function openRoom(chosen, waiting = []) {
  closeRoom();
  room = chosen;
  page.title.textContent = room.name;
  const path = `chat/rooms/${room.slug}/`;
  if (room.role === null) await call("POST", `${path}join/`);
  const { epoch, head, events } = await call("GET", `${path}messages/`);
  if (room !== chosen) return; // Another one was chosen meanwhile.
  room.role ??= "member";
  waiting.forEach(([client_id, item]) => unsent.set(client_id, item));
  events.forEach(show);
  page.log.append(...unsent.values());
  client = new RealtimeClient({
    url: `/ws/chat/${room.slug}/`,
    position: { epoch, seq: head },
    getToken: (refused) => (refused ? renew() : tokens.access),
    onEvent: show,
    onReset: attempt(() => openRoom(chosen, [...unsent])),
    onStatus: showStatus,
    onError: (code, detail) => complain(detail),
  });
  page.compose.hidden = false;
  page.compose.elements.text.focus();
  await call("POST", `${path}read/`, { seq: head });
  await listRooms();
}

function closeRoom() {
  client?.close();
  room = client = null;
  messages.clear();
  unsent.clear();
  typing.forEach(clearTimeout);
  typing.clear();
  page.log.replaceChildren();
  page.title.textContent = "Choose a room";
  page.status.textContent = page.typing.textContent = "";
  page.compose.hidden = true;
}

// Messages

function show(event) {
  switch (event.type) {
    case "chat.message":
      if (event.sender === user) settle(event.client_id);
      stopTyping(event.sender);
      messages.set(event.seq, render(event));
      break;
    case "chat.edited":
    case "chat.deleted":
      change(messages.get(event.message), event);
      break;
    case "chat.typing":
      stopTyping(event.user);
      typing.set(event.user, setTimeout(stopTyping, TYPING_SECONDS * 1000, event.user));
      showTyping();
      break;
    case "chat.presence":
      if (event.user !== user) {
        const news = event.online ? "is here" : "has left";
        page.log.append(element("li", `${event.user} ${news}`, "note"));
      }
  }
  page.log.lastElementChild?.scrollIntoView({ block: "nearest" });
}

function render(event) {
  const item = element("li");
  const at = new Date(event.created_at);
  const time = element("time", at.toLocaleTimeString([], { timeStyle: "short" }));
  time.dateTime = event.created_at;
  item.append(time, " ", element("b", event.sender), " ", element("span", textOf(event), "text"));
  if (event.sender === user && !event.deleted_at) {
    const button = element("button", "×");
    button.ariaLabel = "Delete";
    const path = `chat/rooms/${room.slug}/messages/${event.seq}/`;
    button.onclick = attempt(() => call("DELETE", path));
    item.append(button);
  }
  page.log.append(item);
  return item;
}

function change(item, event) {
  item?.querySelector(".text").replaceChildren(textOf(event));
  if (event.deleted_at) item?.querySelector("button")?.remove();
}

function textOf({ text, edited_at, deleted_at }) {
  if (deleted_at) return "(deleted)";
  return edited_at ? `${text} (edited)` : text;
}

/** Send a message: it stands greyed until it comes back, and is sent again until then. */
function send(text) {
  const item = element("li", text, "sending");
  page.log.append(item);
  item.scrollIntoView({ block: "nearest" });
  const client_id = newId();
  unsent.set(client_id, item);
  client.send({ type: "chat.message", text, client_id });
}

function settle(client_id) {
  unsent.get(client_id)?.remove();
  unsent.delete(client_id);
}

function showStatus(status, code) {
  page.status.textContent = status === "open" ? "" : `${status}…`;
  if (status === "open") {
    // What has been stored already is not stored twice.
    unsent.forEach((item, client_id) => {
      client.send({ type: "chat.message", text: item.textContent, client_id });
    });
  } else if (code) {
    closeRoom();
    attempt(listRooms)();
    complain(code === 4403 ? "You are no longer a member of this room." : "The room is gone.");
  }
}

function stopTyping(name) {
  clearTimeout(typing.get(name));
  typing.delete(name);
  showTyping();
}

function showTyping() {
  const names = [...typing.keys()].join(", ");
  page.typing.textContent = names && `${names}: typing…`;
}

// The page

function element(name, content = "", className = "") {
  const made = document.createElement(name);
  made.append(content);
  made.className = className;
  return made;
}

/** Give a handler that does something and says what went wrong. */
function attempt(action) {
  return async (...args) => {
    complain("");
    try {
      await action(...args);
    } catch (error) {
      complain(error.message);
    }
  };
}

function complain(text) {
  page.problem.textContent = text;
}

function onSubmit(form, action) {
  const handle = attempt(action);
  form.onsubmit = (event) => {
    event.preventDefault();
    handle(Object.fromEntries(new FormData(form)), event.submitter?.value);
  };
}

/** Make a UUID; crypto.randomUUID exists only on https and localhost. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

onSubmit(page.signin, (account, button) => signIn(account, button === "up"));
onSubmit(page.newroom, async ({ name }) => {
  const made = await call("POST", "chat/rooms/", { name });
  page.newroom.reset();
  await openRoom(made);
});
onSubmit(page.compose, ({ text }) => {
  if (!text.trim()) return;
  send(text);
  page.compose.reset();
});
page.compose.oninput = () => {
  const now = performance.now();
  if (now - typed > (TYPING_SECONDS * 1000) / 2) {
    typed = now;
    client.send({ type: "chat.typing" });
  }
};
page.signout.onclick = attempt(() => {
  const { refresh } = tokens;
  signOut();
  return call("POST", "token/blacklist/", { refresh });
});
