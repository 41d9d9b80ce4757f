// What each page of a visitor has at hand.

document.addEventListener("securitypolicyviolation", (violation) => {
  violated(`policy: ${violation.effectiveDirective} forbids ${violation.blockedURI}`);
});

// Send JSON and give the answer's.
async function post(path, body, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

async function get(path, token) {
  return (await fetch(path, { headers: { Authorization: `Bearer ${token}` } })).json();
}

// Register and sign in.
async function register(username) {
  const account = { username, email: `${username}@example.com`, password: "pass-word-9" };
  return { ...(await post("/api/users/", account)), ...(await post("/api/token/", account)) };
}

// A socket, with promises of all that comes of it.
function connect(address, protocols = []) {
  const socket = new WebSocket(address, protocols);
  const frames = [];
  socket.onmessage = (event) => frames.push(JSON.parse(event.data));
  return {
    opened: new Promise((resolve) => { socket.onopen = () => resolve(socket.protocol); }),
    closed: new Promise((resolve) => {
      socket.onclose = (event) => resolve({ code: event.code, clean: event.wasClean });
    }),
    async frame(number) {
      while (frames.length < number) {
        await new Promise((resolve) => socket.addEventListener("message", resolve, { once: true }));
      }
      return frames[number - 1];
    },
  };
}

// Playwright runs this inside a function.
Object.assign(window, { connect, get, post, register });
