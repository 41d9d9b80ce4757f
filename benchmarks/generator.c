/*
 * Opens many WebSocket connections to one port on 127.0.0.1, counts every
 * message on every one of them and prints what it saw as JSON.
 *
 * One thread, one epoll set, no library: it has to be faster than the servers
 * that it measures. `baseline.c` shows by how much it is.
 *
 *   generator -p PORT -k KIND -m MODE -u FILE [options]
 *
 *   -k plain       a connection is ready when the handshake is done
 *   -k realtime    ... when the frame `realtime.ready` has come
 *   -k socketio    ... when Engine.IO is open and Socket.IO has connected
 *
 *   -m loop        the first socket sends a message, the server hands it to all
 *                  sockets; once the last one has it, the next is sent
 *   -m count       messages come from elsewhere until -e of them have arrived
 *   -m hold        holds the connections until standard input ends
 *
 *   -u FILE        request targets, one connection a line ("/ws/room/?token=...")
 *   -c COUNT       handshakes in flight at once (32)
 *   -s FRAME       subscribe: what to send when a connection greets; it is ready when
 *                  `realtime.subscribed` has come for each "stream" in it
 *   -f FORMAT      loop: the frame to send, its text in place of "%s"
 *   -t SECONDS     loop: measured time (4)
 *   -w SECONDS     loop: time before that, which is not measured (1)
 *   -e COUNT       count: messages expected on all sockets together
 *   -q SECONDS     gives up after this long without a message (10)
 *
 * Two lines come out: one when every connection is ready, one with the result.
 *
 * A message's text is 128 bytes: "@<n>:<t>:" and padding, where n counts the
 * messages to one socket from 0 and t is CLOCK_MONOTONIC in nanoseconds, which
 * Python's time.monotonic_ns() and Node's process.hrtime() read too. So the
 * generator sees each loss, duplicate and disorder, and the latency.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_BYTES = 128, BUFFER_BYTES = 1 << 20, EVENTS = 1024 };

enum kind { PLAIN, REALTIME, SOCKETIO };
enum mode { LOOP, COUNT, HOLD };
enum state { UPGRADING, GREETING, READY, CLOSED };

struct connection {
    int fd;
    enum state state;
    char *target;
    char *rest; /* the bytes of a frame that has not come whole */
    size_t rest_bytes;
    int64_t next; /* the n that the next message should have */
    int64_t received;
    int close_code;
    int awaited; /* subscriptions that have not begun */
};

static struct {
    int port;
    enum kind kind;
    enum mode mode;
    int concurrency;
    const char *format, *subscribe;
    double seconds, warm_up_seconds, quiet_seconds;
    int64_t expected;
} options = {.concurrency = 32, .seconds = 4, .warm_up_seconds = 1, .quiet_seconds = 10};

static struct connection *connections;
static int count, opened, ready, closed;
static int epoll;
static unsigned char buffer[BUFFER_BYTES];

/* What has been seen since the measurement began. */
static int64_t received, repeated, first_at, last_at;
static int64_t round_number, round_outstanding;
static uint64_t latencies[64 * 64]; /* see bucket_of() */
static int64_t slowest;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- latencies: 64 buckets for each power of two, so within 1.6 % ---- */

static int bucket_of(int64_t nanoseconds) {
    if (nanoseconds < 64) return nanoseconds < 0 ? 0 : (int)nanoseconds;
    int exponent = 63 - __builtin_clzll((uint64_t)nanoseconds);
    return (exponent - 5) * 64 + (int)((nanoseconds >> (exponent - 6)) & 63);
}

static double bucket_milliseconds(int bucket) {
    if (bucket < 64) return bucket / 1e6;
    int exponent = bucket / 64 + 5;
    return ((double)(64 + bucket % 64) * (double)(1LL << (exponent - 6))) / 1e6;
}

static double percentile(double share) {
    uint64_t wanted = (uint64_t)(share * (double)received), seen = 0;
    for (int bucket = 0; bucket < (int)(sizeof latencies / sizeof *latencies); bucket++) {
        seen += latencies[bucket];
        if (seen > wanted) return bucket_milliseconds(bucket);
    }
    return (double)slowest / 1e6;
}

/* ---- sending ---- */

static void write_all(struct connection *connection, const void *bytes, size_t size) {
    /* What a client sends here is small and rare: the socket always takes it. */
    if (send(connection->fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size && errno != EPIPE &&
        errno != ECONNRESET)
        fail("send");
}

static void send_frame(struct connection *connection, int opcode, const void *payload,
                       size_t size) {
    static const unsigned char mask[4] = {0x5a, 0xc3, 0x17, 0x8e};
    unsigned char frame[16384];
    size_t at = 0;
    if (size > sizeof frame - 8) fail("frame too long to send");
    frame[at++] = (unsigned char)(0x80 | opcode);
    if (size < 126) {
        frame[at++] = (unsigned char)(0x80 | size);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (unsigned char)(size >> 8);
        frame[at++] = (unsigned char)size;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < size; i++)
        frame[at + i] = ((const unsigned char *)payload)[i] ^ mask[i % 4];
    write_all(connection, frame, at + size);
}

static void send_next_round(void) {
    char text[TEXT_BYTES + 1], frame[512];
    int prefix = snprintf(text, sizeof text, "@%" PRId64 ":%" PRId64 ":", round_number, now());
    memset(text + prefix, 'x', TEXT_BYTES - (size_t)prefix);
    text[TEXT_BYTES] = 0;
    const char *hole = strstr(options.format, "%s");
    int size = snprintf(frame, sizeof frame, "%.*s%s%s", (int)(hole - options.format),
                        options.format, text, hole + 2);
    round_outstanding = count - closed;
    send_frame(&connections[0], 1, frame, (size_t)size);
}

/* ---- receiving ---- */

static void close_connection(struct connection *connection) {
    if (connection->state == CLOSED) return;
    connection->state = CLOSED;
    close(connection->fd);
    closed++;
}

static void became_ready(struct connection *connection) {
    connection->state = READY;
    ready++;
}

static void on_message(struct connection *connection, const char *text, size_t size) {
    const char *at = memchr(text, '@', size);
    if (!at) return;
    int64_t n = 0, sent_at = 0;
    for (at++; *at >= '0' && *at <= '9'; at++) n = n * 10 + (*at - '0');
    for (at++; *at >= '0' && *at <= '9'; at++) sent_at = sent_at * 10 + (*at - '0');

    if (n < connection->next) {
        repeated++;
        return;
    }
    connection->next = n + 1;
    connection->received++;
    last_at = now();
    if (!received++) first_at = last_at;
    int64_t latency = last_at - sent_at;
    latencies[bucket_of(latency)]++;
    if (latency > slowest) slowest = latency;
    if (n == round_number) round_outstanding--;
}

static bool starts_with(const char *text, size_t size, const char *prefix) {
    return size >= strlen(prefix) && !memcmp(text, prefix, strlen(prefix));
}

static void on_text(struct connection *connection, const char *text, size_t size) {
    if (options.kind == SOCKETIO && size && (text[0] == '0' || text[0] == '2')) {
        /* Engine.IO: answer "open" with a Socket.IO connect, a ping with a pong. */
        if (text[0] == '0') send_frame(connection, 1, "40", 2);
        else send_frame(connection, 1, "3", 1);
        return;
    }
    if (connection->awaited) {
        if (memmem(text, size, "\"realtime.subscribed\"", 21) && !--connection->awaited)
            became_ready(connection);
        return;
    }
    if (connection->state == GREETING) {
        bool greeted = options.kind == SOCKETIO
                           ? starts_with(text, size, "40")
                           : memmem(text, size, "\"realtime.ready\"", 16) != NULL;
        if (greeted && options.subscribe) {
            send_frame(connection, 1, options.subscribe, strlen(options.subscribe));
            for (const char *at = options.subscribe; (at = strstr(at, "\"stream\"")); at++)
                connection->awaited++;
        } else if (greeted) {
            became_ready(connection);
        }
        return;
    }
    on_message(connection, text, size);
}

/* Takes one frame off the bytes; gives its length, or 0 if it is not whole yet. */
static size_t take_frame(struct connection *connection, const unsigned char *bytes, size_t size) {
    if (size < 2) return 0;
    size_t header = 2, payload = bytes[1] & 0x7f;
    if (payload == 126) {
        header = 4;
        if (size < header) return 0;
        payload = (size_t)bytes[2] << 8 | bytes[3];
    } else if (payload == 127) {
        header = 10;
        if (size < header) return 0;
        payload = 0;
        for (int i = 2; i < 10; i++) payload = payload << 8 | bytes[i];
    }
    if (size < header + payload) return 0;
    if (!(bytes[0] & 0x80)) fail("a fragmented message, which no server here sends");

    const char *text = (const char *)bytes + header;
    switch (bytes[0] & 0x0f) {
    case 1:
        on_text(connection, text, payload);
        break;
    case 8:
        connection->close_code = payload >= 2 ? (unsigned char)text[0] << 8 | (unsigned char)text[1] : 1005;
        close_connection(connection);
        break;
    case 9:
        send_frame(connection, 10, text, payload);
        break;
    }
    return header + payload;
}

/* The handshake's answer; gives its length, or 0 if it is not whole yet. */
static size_t take_upgrade(struct connection *connection, const unsigned char *bytes, size_t size) {
    const char *end = memmem(bytes, size, "\r\n\r\n", 4);
    if (!end) return 0;
    if (!starts_with((const char *)bytes, size, "HTTP/1.1 101")) {
        fprintf(stderr, "generator: handshake refused: %.*s\n", (int)(size < 200 ? size : 200), bytes);
        close_connection(connection);
        return size;
    }
    connection->state = GREETING;
    if (options.kind == PLAIN) became_ready(connection);
    return (size_t)(end + 4 - (const char *)bytes);
}

static void on_readable(struct connection *connection) {
    memcpy(buffer, connection->rest, connection->rest_bytes);
    ssize_t got = recv(connection->fd, buffer + connection->rest_bytes,
                       BUFFER_BYTES - 1 - connection->rest_bytes, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        if (!connection->close_code) connection->close_code = 1006;
        close_connection(connection);
        return;
    }
    size_t size = connection->rest_bytes + (size_t)got, at = 0, taken;
    buffer[size] = 0;
    while (at < size && connection->state != CLOSED) {
        taken = connection->state == UPGRADING
                    ? take_upgrade(connection, buffer + at, size - at)
                    : take_frame(connection, buffer + at, size - at);
        if (!taken) break;
        at += taken;
    }
    connection->rest_bytes = size - at;
    if (connection->rest_bytes) {
        connection->rest = realloc(connection->rest, connection->rest_bytes);
        memcpy(connection->rest, buffer + at, connection->rest_bytes);
    }
}

static void wait_and_read(int64_t until) {
    struct epoll_event events[EVENTS];
    int64_t left = until - now();
    int got = epoll_wait(epoll, events, EVENTS, left > 0 ? (int)(left / 1000000) + 1 : 0);
    if (got < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < got; i++) on_readable(events[i].data.ptr);
}

/* ---- the three modes ---- */

static void open_connection(struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connection->fd < 0) fail("socket");
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    char request[4096];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        connection->target, options.port);
    write_all(connection, request, (size_t)size);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event)) fail("epoll_ctl");
    opened++;
}

static void open_all(void) {
    int64_t start = now(), limit = (int64_t)(options.quiet_seconds * 1e9);
    int64_t progress_at = start;
    while (ready + closed < count) {
        int before = ready + closed;
        while (opened < count && opened - ready - closed < options.concurrency)
            open_connection(&connections[opened]);
        wait_and_read(now() + 100000000);
        if (ready + closed > before) progress_at = now();
        if (now() - progress_at > limit) break;
    }
    printf("{\"ready\": %d, \"refused\": %d, \"seconds\": %.6f}\n", ready, closed,
           (double)(now() - start) / 1e9);
    fflush(stdout);
    if (ready < count) exit(2);
}

static void forget(void) {
    received = repeated = first_at = last_at = slowest = 0;
    memset(latencies, 0, sizeof latencies);
}

/* Rounds for the given time; gives how many. Ends early if one never ends. */
static int64_t run_rounds(double seconds) {
    int64_t end = now() + (int64_t)(seconds * 1e9), first = round_number;
    while (now() < end) {
        send_next_round();
        int64_t limit = now() + (int64_t)(options.quiet_seconds * 1e9);
        while (round_outstanding > 0 && now() < limit) wait_and_read(limit);
        round_number++;
        if (round_outstanding > 0) break;
    }
    return round_number - first;
}

static void print_result(int64_t expected, double seconds) {
    int codes[8] = {0}, number = 0;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"expected\": %" PRId64 ", \"received\": %" PRId64 ", \"lost\": %" PRId64
           ", \"repeated\": %" PRId64 ", \"seconds\": %.6f, \"per_second\": %.1f, "
           "\"first_at\": %" PRId64 ", \"last_at\": %" PRId64 ", "
           "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f, \"cpu_seconds\": %.3f, "
           "\"closed\": %d, \"close_codes\": [",
           expected, received, expected - received, repeated, seconds,
           seconds > 0 ? (double)received / seconds : 0.0, first_at, last_at, percentile(0.5),
           percentile(0.99), (double)slowest / 1e6,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
           closed);
    for (int i = 0; i < count; i++) {
        int code = connections[i].close_code, known = 0;
        for (int j = 0; j < number; j++) known |= codes[j] == code;
        if (!code || known || number == 8) continue;
        printf("%s%d", number ? ", " : "", code);
        codes[number++] = code;
    }
    printf("]}\n");
}

static void loop(void) {
    run_rounds(options.warm_up_seconds);
    forget();
    int64_t start = now(), rounds = run_rounds(options.seconds);
    print_result(rounds * count, (double)(now() - start) / 1e9);
}

static void count_messages(void) {
    int64_t limit = (int64_t)(options.quiet_seconds * 1e9), progress_at = now(), before;
    while (received < options.expected && closed < count && now() - progress_at < limit) {
        before = received;
        wait_and_read(progress_at + limit);
        if (received > before) progress_at = now();
    }
    /* A duplicate of the last messages would come right behind them. */
    for (int64_t end = now() + 300000000; now() < end;) wait_and_read(end);
    print_result(options.expected, (double)(last_at - first_at) / 1e9);
}

static void hold(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event)) fail("epoll_ctl");
    for (;;) {
        int got = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < got; i++) {
            if (events[i].data.ptr) {
                on_readable(events[i].data.ptr);
            } else {
                print_result(0, 0);
                return;
            }
        }
    }
}

static void read_targets(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    while ((size = getline(&line, &room, file)) > 1) {
        line[size - 1] = 0;
        connections = realloc(connections, (size_t)(count + 1) * sizeof *connections);
        connections[count++] = (struct connection){.target = strdup(line)};
    }
    free(line);
    fclose(file);
}

static int choice(const char *value, const char *const *names) {
    for (int i = 0; names[i]; i++)
        if (!strcmp(value, names[i])) return i;
    errno = EINVAL;
    fail(value);
    return 0;
}

int main(int argc, char **argv) {
    static const char *const kinds[] = {"plain", "realtime", "socketio", NULL};
    static const char *const modes[] = {"loop", "count", "hold", NULL};
    int option;
    while ((option = getopt(argc, argv, "p:k:m:u:c:s:f:t:w:e:q:")) != -1) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'k': options.kind = (enum kind)choice(optarg, kinds); break;
        case 'm': options.mode = (enum mode)choice(optarg, modes); break;
        case 'u': read_targets(optarg); break;
        case 'c': options.concurrency = atoi(optarg); break;
        case 's': options.subscribe = optarg; break;
        case 'f': options.format = optarg; break;
        case 't': options.seconds = atof(optarg); break;
        case 'w': options.warm_up_seconds = atof(optarg); break;
        case 'e': options.expected = atoll(optarg); break;
        case 'q': options.quiet_seconds = atof(optarg); break;
        default: return 64;
        }
    }
    errno = EINVAL;
    if (!options.port || !count) fail("needs -p and -u");
    if (options.mode == LOOP && !(options.format && strstr(options.format, "%s")))
        fail("-m loop needs -f with a %s");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    epoll = epoll_create1(0);
    open_all();
    if (options.mode == LOOP) loop();
    else if (options.mode == COUNT) count_messages();
    else hold();
    return 0;
}
