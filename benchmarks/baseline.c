/*
 * The least that a WebSocket server can do: no HTTP, no JSON, no Redis, one
 * thread. It shows that the generator outruns every server measured with it.
 *
 *   baseline PORT SOCKETS            hands each client's text to all sockets
 *   baseline PORT SOCKETS MESSAGES   writes that many messages to each socket as
 *                                    soon as SOCKETS of them are connected
 *
 * It ends when a client goes away.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_BYTES = 128, FRAME_BYTES = TEXT_BYTES + 4, JOINED = 64, SOCKETS = 4096 };

static int sockets[SOCKETS], count;

static void require(int succeeded, const char *what) {
    if (succeeded) return;
    perror(what);
    exit(1);
}

static size_t frame_text(unsigned char *frame, const unsigned char *text, size_t size) {
    frame[0] = 0x81;
    frame[1] = 126;
    frame[2] = (unsigned char)(size >> 8);
    frame[3] = (unsigned char)size;
    memcpy(frame + 4, text, size);
    return size + 4;
}

static void accept_one(int listener, int epoll) {
    /* The generator does not check the accept key, so any will do. */
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\nSec-WebSocket-Accept: any\r\n\r\n";
    char request[4096];
    int fd = accept(listener, NULL, NULL);
    require(fd >= 0 && count < SOCKETS, "accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    require(recv(fd, request, sizeof request, 0) > 0, "recv");
    require(send(fd, answer, sizeof answer - 1, 0) > 0, "send");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    require(!epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    sockets[count++] = fd;
}

static void hand_on(int fd) {
    unsigned char bytes[1024], frame[1024];
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got <= 0) exit(0);
    size_t header = (bytes[1] & 0x7f) == 126 ? 4 : 2, size = (size_t)got - header - 4;
    unsigned char *mask = bytes + header, *text = mask + 4;
    for (size_t i = 0; i < size; i++) text[i] ^= mask[i % 4];
    size_t frame_size = frame_text(frame, text, size);
    for (int i = 0; i < count; i++) require(send(sockets[i], frame, frame_size, 0) > 0, "send");
}

static void flood(long messages) {
    static unsigned char joined[JOINED * FRAME_BYTES];
    for (long n = 0; n < messages;) {
        size_t size = 0;
        for (int i = 0; i < JOINED && n < messages; i++, n++) {
            char text[TEXT_BYTES + 1];
            struct timespec time;
            clock_gettime(CLOCK_MONOTONIC, &time);
            int prefix = snprintf(text, sizeof text, "@%ld:%" PRId64 ":", n,
                                  (int64_t)time.tv_sec * 1000000000 + time.tv_nsec);
            memset(text + prefix, 'x', TEXT_BYTES - (size_t)prefix);
            size += frame_text(joined + size, (unsigned char *)text, TEXT_BYTES);
        }
        for (int i = 0; i < count; i++) require(send(sockets[i], joined, size, 0) > 0, "send");
    }
}

int main(int argc, char **argv) {
    require(argc >= 3, "needs PORT SOCKETS [MESSAGES]");
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    require(!bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    require(!listen(listener, 128), "listen");

    while (count < atoi(argv[2])) accept_one(listener, epoll);
    if (argc > 3) flood(atol(argv[3]));
    for (;;) {
        struct epoll_event events[64];
        int got = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < got; i++) hand_on(events[i].data.fd);
    }
}
