/* Replays the NFSv3 or NFSv4.1 calls of one recorded boot, each after the reply to the one before.
 *
 *   replay ADDRESS PORT SOURCE SESSION TRACE
 *
 * SESSION is 32 hexadecimal digits, of a fresh session that is used from the address SOURCE. TRACE
 * is made by storm.py; numbers are big-endian 32-bit words. For each call: its size, its bytes
 * without record mark, the offset of its SEQUENCE arguments or 0, the status that its reply had, a count
 * of places that take what an earlier reply has given (offset, number), a count of places in its
 * reply to keep (offset, number). What is kept is STATE bytes long. A reply with another status ends
 * the program with exit code 1, but for success: one call at a time meets no stateid that has grown
 * old meanwhile.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { STATE = 16, KEPT = 16384, LARGEST = 1 << 21, STATUS = 24 };

static uint8_t *trace, *end;
static uint8_t kept[KEPT][STATE];
static uint8_t out[LARGEST], in[LARGEST];

static void die(const char *what) {
    perror(what);
    exit(1);
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

static uint32_t next(void) {
    uint32_t value = get32(trace);
    trace += 4;
    return value;
}

static void receive(int fd, uint8_t *p, size_t size) {
    while (size) {
        ssize_t n = recv(fd, p, size, MSG_WAITALL);
        if (n <= 0) die("the server closed the connection");
        p += n, size -= n;
    }
}

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    rewind(file);
    trace = malloc(size);
    if (fread(trace, 1, size, file) != size) die(path);
    end = trace + size;
}

static int connected(char **argv) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    struct sockaddr_in own = {.sin_family = AF_INET};
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    inet_pton(AF_INET, argv[3], &own.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (bind(fd, (void *)&own, sizeof own)) die("bind");
    if (connect(fd, (void *)&server, sizeof server)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int main(int argc, char **argv) {
    uint8_t session[16], mark[4];
    if (argc != 6) return 2;
    for (int i = 0; i < 16; i++) sscanf(argv[4] + 2 * i, "%2hhx", &session[i]);
    load(argv[5]);
    int fd = connected(argv);
    for (uint32_t call = 1; trace < end; call++) {
        uint32_t size = next();
        memcpy(out + 4, trace, size);
        trace += size;
        put32(out, 0x80000000u | size);
        put32(out + 4, call);
        uint32_t offset_of_sequence = next();
        uint32_t status = next();
        if (offset_of_sequence) {
            uint8_t *sequence = out + 4 + offset_of_sequence;
            memcpy(sequence, session, 16);
            put32(sequence + 16, call); /* always on the first slot */
            memset(sequence + 20, 0, 12);
        }
        for (uint32_t n = next(); n; n--) {
            uint32_t offset = next();
            memcpy(out + 4 + offset, kept[next() % KEPT], STATE);
        }
        if (send(fd, out, size + 4, MSG_NOSIGNAL) != size + 4) die("send");
        receive(fd, mark, 4);
        uint32_t length = get32(mark) & 0x7fffffff;
        if (!(mark[0] & 0x80) || length > LARGEST) die("a reply in pieces");
        receive(fd, in, length);
        if (get32(in) != call || (get32(in + STATUS) && get32(in + STATUS) != status)) {
            fprintf(stderr, "call %u: status %u, it was %u\n", call, get32(in + STATUS), status);
            return 1;
        }
        for (uint32_t n = next(); n; n--) {
            uint32_t offset = next();
            memcpy(kept[next() % KEPT], in + offset, STATE);
        }
    }
    return 0;
}
