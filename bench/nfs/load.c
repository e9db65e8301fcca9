/* Load for an NFS server over TCP: plays prepared calls and counts good replies.
 *
 *   load play ADDRESS PORT CONNECTIONS OUTSTANDING SECONDS CALLS [SESSIONS]
 *   load null PORT REPLY_BYTES
 *
 * CALLS is: u32 count, u32 offset of the SEQUENCE arguments in each call (0: none), then for each
 * call u32 size and its bytes without record mark. SESSIONS has 16 bytes a connection. Numbers are
 * big-endian. Each connection comes from an address of its own (127.0.1.N), as machines would, and
 * keeps OUTSTANDING calls on their way; in NFSv4 each of them has its own slot. A reply that is not
 * an accepted one with status 0 ends the program with exit code 1.
 *
 * `null` is the server that does nothing: any call gets a reply of REPLY_BYTES with status 0. What
 * `play` reaches against it is the most that it can measure.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OUTSTANDING = 64, HEAD = 28, BUFFER = 1 << 20 };

struct call {
    uint32_t size;
    uint8_t *bytes; /* with room for the record mark in front */
};

struct connection {
    int fd;
    uint8_t head[4 + HEAD]; /* mark and reply header of the reply that is arriving */
    uint32_t have, left;    /* bytes of it; bytes of the record still to come */
    uint32_t next;          /* call to send next */
    uint32_t sequence[MAX_OUTSTANDING];
    uint8_t *out; /* calls that wait for room in the socket */
    size_t out_size, out_sent;
};

static struct call *calls;
static uint32_t call_count, sequence_offset, outstanding;
static uint8_t *sessions;
static uint8_t buffer[BUFFER];
static uint64_t replies, bytes_in;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static uint32_t get32(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, 4);
    return ntohl(value);
}

static void put32(uint8_t *p, uint32_t value) {
    value = htonl(value);
    memcpy(p, &value, 4);
}

static void load_calls(const char *path) {
    FILE *file = fopen(path, "rb");
    uint8_t word[4];
    if (!file || fread(word, 4, 1, file) != 1) die(path);
    call_count = get32(word);
    if (fread(word, 4, 1, file) != 1) die(path);
    sequence_offset = get32(word);
    calls = calloc(call_count, sizeof *calls);
    for (uint32_t i = 0; i < call_count; i++) {
        if (fread(word, 4, 1, file) != 1) die(path);
        calls[i].size = get32(word) + 4;
        calls[i].bytes = malloc(calls[i].size);
        if (fread(calls[i].bytes + 4, calls[i].size - 4, 1, file) != 1) die(path);
        put32(calls[i].bytes, 0x80000000u | (calls[i].size - 4));
    }
    fclose(file);
}

static void load_sessions(const char *path, int count) {
    FILE *file = fopen(path, "rb");
    sessions = malloc(16 * count);
    if (!file || fread(sessions, 16, count, file) != (size_t)count) die(path);
    fclose(file);
}

/* The xid is the slot: a reply says which one is free again. */
static void queue_call(struct connection *c, int index, uint32_t slot) {
    struct call *call = &calls[c->next];
    c->next = (c->next + 1) % call_count;
    uint8_t *p = c->out + c->out_size;
    memcpy(p, call->bytes, call->size);
    put32(p + 4, slot);
    if (sequence_offset) {
        uint8_t *arguments = p + 4 + sequence_offset;
        memcpy(arguments, sessions + 16 * index, 16);
        put32(arguments + 16, ++c->sequence[slot]);
        put32(arguments + 20, slot);
        put32(arguments + 24, outstanding - 1);
    }
    c->out_size += call->size;
}

static void flush(struct connection *c) {
    while (c->out_sent < c->out_size) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) die("send");
        c->out_sent += n;
    }
    c->out_size = c->out_sent = 0;
}

static void finish_reply(struct connection *c, int index) {
    const uint8_t *reply = c->head + 4;
    if (c->have < 4 + HEAD || get32(reply + 4) != 1 || get32(reply + 8) || get32(reply + 20) ||
        get32(reply + 24)) {
        fprintf(stderr, "bad reply: accept %u, status %u\n", get32(reply + 20), get32(reply + 24));
        exit(1);
    }
    replies++;
    queue_call(c, index, get32(reply));
    c->have = 0;
}

static void take(struct connection *c, int index, const uint8_t *p, size_t size) {
    bytes_in += size;
    while (size) {
        if (c->have < 4) {
            c->head[c->have++] = *p++;
            size--;
            if (c->have == 4) c->left = get32(c->head) & 0x7fffffff;
            continue;
        }
        size_t n = size < c->left ? size : c->left;
        if (c->have < sizeof c->head) {
            size_t room = sizeof c->head - c->have, part = n < room ? n : room;
            memcpy(c->head + c->have, p, part);
            c->have += part;
        }
        p += n, size -= n, c->left -= n;
        if (!c->left) finish_reply(c, index);
    }
}

static int play(int argc, char **argv) {
    if (argc < 8) return 2;
    int count = atoi(argv[4]);
    outstanding = atoi(argv[5]);
    double seconds = atof(argv[6]);
    load_calls(argv[7]);
    if (argc > 8) load_sessions(argv[8], count);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
    inet_pton(AF_INET, argv[2], &server.sin_addr);
    struct connection *all = calloc(count, sizeof *all);
    int poll = epoll_create1(0), one = 1;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < call_count; i++)
        if (calls[i].size > longest) longest = calls[i].size;
    for (int i = 0; i < count; i++) {
        struct connection *c = &all[i];
        struct sockaddr_in own = {.sin_family = AF_INET};
        own.sin_addr.s_addr = htonl(0x7f000100u + 1 + i);
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(c->fd, (void *)&own, sizeof own)) die("bind");
        if (connect(c->fd, (void *)&server, sizeof server)) die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->out = malloc((size_t)longest * (outstanding + 1));
        c->next = (uint64_t)i * call_count / count;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event);
    }
    double start = now(), end = start + seconds;
    for (int i = 0; i < count; i++) {
        for (uint32_t slot = 0; slot < outstanding; slot++) queue_call(&all[i], i, slot);
        flush(&all[i]);
    }
    struct epoll_event events[64];
    while (now() < end) {
        int ready = epoll_wait(poll, events, 64, 5000);
        if (ready == 0) {
            fprintf(stderr, "no reply within 5 seconds\n");
            return 1;
        }
        for (int k = 0; k < ready; k++) {
            int i = events[k].data.u32;
            struct connection *c = &all[i];
            /* File data is taken out of the socket without being copied: the server is measured. */
            int skip = c->have == sizeof c->head && c->left > 65536;
            size_t most = skip && c->left < sizeof buffer ? c->left : sizeof buffer;
            ssize_t n = recv(c->fd, buffer, most, skip ? MSG_TRUNC : 0);
            if (n <= 0) die("the server closed the connection");
            take(c, i, buffer, n);
            flush(&all[i]);
        }
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"replies\": %lu, \"seconds\": %.6f, \"bytes\": %lu, \"cpu\": %.3f}\n", replies,
           now() - start, bytes_in,
           usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
               (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    return 0;
}

struct peer {
    uint8_t mark[8];
    uint32_t have, left, waits_for;
    uint8_t *out;
    size_t size, sent, payload;
};

static int payload; /* a file to send large replies from, 0 for small ones */

/* Queues a reply for each complete call; replies that do not fit now are sent when they do. Only
 * their heads are written: `payload` is a file of zeros that the rest comes from. */
static void answer(struct peer *peer, const uint8_t *p, ssize_t n, uint32_t reply_bytes) {
    while (n > 0) {
        if (peer->have < 8) {
            peer->mark[peer->have++] = *p++, n--;
            if (peer->have == 8) peer->left = (get32(peer->mark) & 0x7fffffff) - 4;
            continue;
        }
        size_t part = (size_t)n < peer->left ? (size_t)n : peer->left;
        p += part, n -= part, peer->left -= part;
        if (peer->left) return;
        uint8_t *reply = peer->out + peer->size;
        memset(reply, 0, 4 + HEAD);
        put32(reply, 0x80000000u | reply_bytes);
        memcpy(reply + 4, peer->mark + 4, 4);
        put32(reply + 8, 1);
        peer->size += 4 + (payload ? HEAD : reply_bytes);
        peer->payload += payload ? reply_bytes - HEAD : 0;
        peer->have = 0;
    }
}

/* Whether all that was queued is out. With a payload there is one reply on its way at a time. */
static int send_queued(int fd, struct peer *peer) {
    while (peer->sent < peer->size) {
        int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (payload ? MSG_MORE : 0);
        ssize_t n = send(fd, peer->out + peer->sent, peer->size - peer->sent, flags);
        if (n < 0) return 0;
        peer->sent += n;
    }
    while (peer->payload) {
        off_t start = 0;
        ssize_t n = sendfile(fd, payload, &start, peer->payload);
        if (n <= 0) return 0;
        peer->payload -= n;
    }
    peer->sent = peer->size = 0;
    return 1;
}

static int null_server(int argc, char **argv) {
    if (argc < 4) return 2;
    uint32_t reply_bytes = atoi(argv[3]);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, poll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&own, sizeof own) || listen(listener, 128)) die("listen");
    if (reply_bytes > 65536) {
        payload = memfd_create("payload", 0);
        if (ftruncate(payload, reply_bytes)) die("memfd");
    }
    static struct peer peers[1024];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 64, -1);
        for (int k = 0; k < ready; k++) {
            int fd = events[k].data.fd;
            if (fd == listener) {
                int accepted = accept(listener, NULL, NULL);
                if (accepted < 0 || accepted >= 1024) continue;
                setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                fcntl(accepted, F_SETFL, O_NONBLOCK);
                free(peers[accepted].out);
                peers[accepted] = (struct peer){.waits_for = EPOLLIN,
                                              .out = calloc(65, 4 + (size_t)reply_bytes)};
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = accepted};
                epoll_ctl(poll, EPOLL_CTL_ADD, accepted, &event);
                continue;
            }
            struct peer *peer = &peers[fd];
            if (events[k].events & EPOLLIN && !peer->size) {
                /* One call at a time if its reply has a payload: heads must not overtake that. */
                size_t one_call = peer->have < 8 ? 8 - peer->have : peer->left;
                ssize_t n = recv(fd, buffer, payload ? one_call : 65536, 0);
                if (n <= 0) {
                    close(fd);
                    continue;
                }
                answer(peer, buffer, n, reply_bytes);
            }
            uint32_t wanted = send_queued(fd, peer) ? EPOLLIN : EPOLLOUT;
            if (wanted == peer->waits_for) continue;
            event = (struct epoll_event){.events = peer->waits_for = wanted, .data.fd = fd};
            epoll_ctl(poll, EPOLL_CTL_MOD, fd, &event);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "play")) return play(argc, argv);
    if (argc > 1 && !strcmp(argv[1], "null")) return null_server(argc, argv);
    fprintf(stderr, "usage: load play|null ...\n");
    return 2;
}
