/*
 * The load of the laboratory: many connections through a SOCKS5 proxy, few of them active, and the echo at their far end.
 *
 *     load target                          echoes on several ports of 127.0.0.1, prints {"ports":[...]}
 *     load client PROXY-PORT PORT,PORT,... obeys lines on standard input, answers each with a line of JSON:
 *
 *         open N                opens connections until N are open; on each, one byte goes there and back
 *         sweep                 one message over each open connection
 *         echo MS RATE ACTIVE   RATE messages of 64 bytes a second, in turn over ACTIVE of the open connections
 *         churn N               opens and closes N connections, one byte each way on each
 *         close N               closes connections until N are open
 *
 * Two processes, since each connection takes a descriptor at both ends. In C, since 10,000 sockets of a garbage-collected
 * runtime would put its own pauses into the percentiles. Both end when their standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PORTS = 16,            /* of the target: each multiplies the ports that the proxy may dial from */
    SOURCES = 200,         /* addresses 127.0.0.2 and up that clients come from, for the same reason */
    MESSAGE = 64,          /* bytes */
    WINDOW = 1024,         /* messages that one connection may have under way */
    AT_ONCE = 64,          /* connections that are opened at the same time */
    PATIENCE_MS = 5000,    /* for each step of opening, and for the last messages to come back */
    AWAKE_MS = 10,         /* how long to look for more before going to sleep, see stay_awake() */
    HOPELESS = 64,         /* failures in a row after which no further connection is tried */
    KINDS = 32,            /* kinds of failure that are told apart */
    MOST = 20000,          /* descriptors, and connections */
};

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void) /* µs */
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

static int epoll;
static uint8_t scratch[64 * 1024];

static void watch(int fd, uint32_t events, void *with)
{
    struct epoll_event event = { .events = events, .data.ptr = with };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

static void no_delay(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

/* ---------------------------------------------------------------- the target --------------------------------------- */

static bool listens[MOST]; /* by descriptor */

static void serve(int fd)
{
    if (listens[fd]) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
        if (client < 0)
            return;
        no_delay(client);
        watch(client, EPOLLIN, (void *)(intptr_t)client);
        return;
    }
    ssize_t length = recv(fd, scratch, sizeof scratch, 0);
    /* Messages are small and few are under way, so what comes in always fits out. */
    if (length <= 0 || send(fd, scratch, length, MSG_NOSIGNAL) != length)
        close(fd);
}

static void target(void)
{
    for (int i = 0; i < PORTS; i++) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 4096) != 0 ||
            getsockname(fd, (struct sockaddr *)&address, &size) != 0)
            die("cannot listen");
        listens[fd] = true;
        watch(fd, EPOLLIN, (void *)(intptr_t)fd);
        printf("%s%d", i == 0 ? "{\"ports\":[" : ",", ntohs(address.sin_port));
    }
    puts("]}");
    fflush(stdout);
    watch(0, EPOLLIN, (void *)0);
    for (int64_t last = 0;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, now() - last < AWAKE_MS * 1000 ? 0 : -1);
        if (count > 0)
            last = now();
        else
            sched_yield();
        for (int i = 0; i < count; i++) {
            int fd = (int)(intptr_t)events[i].data.ptr;
            if (fd == 0)
                exit(0);
            serve(fd);
        }
    }
}

/* ---------------------------------------------------------------- what is counted ---------------------------------- */

static struct {
    char what[64];
    int count;
} failures[KINDS];

static int in_a_row;

static void failed(const char *step, const char *why)
{
    char what[64];
    snprintf(what, sizeof what, "%s: %s", step, why);
    in_a_row++;
    for (int i = 0; i < KINDS; i++) {
        if (failures[i].count == 0)
            strcpy(failures[i].what, what);
        if (strcmp(failures[i].what, what) == 0 || i == KINDS - 1) {
            failures[i].count++;
            return;
        }
    }
}

static void print_failures(void)
{
    printf(",\"errors\":{");
    for (int i = 0; i < KINDS && failures[i].count > 0; i++)
        printf("%s\"%s\":%d", i == 0 ? "" : ",", failures[i].what, failures[i].count);
    printf("}}\n");
    fflush(stdout);
    memset(failures, 0, sizeof failures);
}

/* ---------------------------------------------------------------- one connection ----------------------------------- */

struct connection {
    int fd;
    enum { CONNECTING, GREETING, REPLY, FIRST_BYTE, OPEN } phase;
    uint8_t number;      /* its messages differ from its neighbours' */
    uint8_t have;        /* bytes of `head` */
    uint8_t head[12];
    int place;           /* in `open`, or in `opening` */
    int64_t since;       /* when its present step began */
    uint64_t sent, back; /* messages sent, bytes back */
    int64_t *times;      /* when each of the last WINDOW messages was sent; NULL: never had one to time */
};

static uint16_t proxy_port, ports[PORTS];
static int port_count;
static struct connection *open[MOST], *opening[AT_ONCE];
static int open_count, opening_count;
static uint32_t dialled;
static bool churning;
static int churned;

static uint32_t *latencies;
static size_t latency_count, latency_room;
static uint64_t answered; /* messages */

static void drop(struct connection *connection)
{
    struct connection **from = connection->phase == OPEN ? open : opening;
    int *count = connection->phase == OPEN ? &open_count : &opening_count;
    from[connection->place] = from[--*count];
    from[connection->place]->place = connection->place;
    /* A reset: this end must not keep ten thousand ports in TIME_WAIT. */
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
    close(connection->fd);
    free(connection->times);
    free(connection);
}

static void fail(struct connection *connection, const char *why)
{
    static const char *const steps[] = { "connect", "greeting", "reply", "first byte", "open" };
    failed(steps[connection->phase], why);
    drop(connection);
}

static void tell(struct connection *connection, const void *bytes, size_t length)
{
    /* What can't be sent shows as an answer that never comes. */
    (void)!send(connection->fd, bytes, length, MSG_NOSIGNAL);
}

static void dial(void)
{
    struct connection *connection = calloc(1, sizeof *connection);
    struct sockaddr_in source = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + dialled % SOURCES) };
    struct sockaddr_in proxy = { .sin_family = AF_INET, .sin_port = htons(proxy_port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection == NULL || fd < 0)
        die("socket");
    no_delay(fd);
    /* Without this the port is chosen before the other end is known, and then must be free for any. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
    bind(fd, (struct sockaddr *)&source, sizeof source);
    *connection = (struct connection){ .fd = fd, .number = dialled++, .since = now(), .place = opening_count };
    opening[opening_count++] = connection;
    connect(fd, (struct sockaddr *)&proxy, sizeof proxy);
    watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, connection);
}

static void opened(struct connection *connection)
{
    opening[connection->place] = opening[--opening_count];
    opening[connection->place]->place = connection->place;
    connection->phase = OPEN;
    connection->place = open_count;
    open[open_count++] = connection;
    in_a_row = 0;
    if (churning) {
        churned++;
        drop(connection);
    }
}

static void next(struct connection *connection, int phase, const void *bytes, size_t length)
{
    connection->phase = phase;
    connection->have = 0;
    connection->since = now();
    tell(connection, bytes, length);
}

/* Takes the answer to the present step of opening; false when the connection is no more. */
static bool step(struct connection *connection, const uint8_t *bytes, size_t length)
{
    static const uint8_t sizes[] = { 0, 2, 10, 1 };
    uint8_t *head = connection->head;
    if (connection->have + length > sizes[connection->phase])
        return fail(connection, "more bytes than asked for"), false;
    memcpy(head + connection->have, bytes, length);
    connection->have += length;
    if (connection->have < sizes[connection->phase])
        return true;
    uint16_t port = ports[connection->number % port_count];
    uint8_t request[] = { 5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255 };
    char why[16];
    switch (connection->phase) {
    case GREETING:
        if (head[0] != 5 || head[1] != 0)
            return fail(connection, "login wanted"), false;
        return next(connection, REPLY, request, sizeof request), true;
    case REPLY:
        snprintf(why, sizeof why, "code %d", head[1]);
        if (head[1] != 0)
            return fail(connection, why), false;
        return next(connection, FIRST_BYTE, &connection->number, 1), true;
    default:
        if (head[0] != connection->number)
            return fail(connection, "wrong content"), false;
        return opened(connection), !churning;
    }
}

static uint8_t content(const struct connection *connection, uint64_t position)
{
    return connection->number * 7 + position / MESSAGE * 31 + position % MESSAGE;
}

static bool echoed(struct connection *connection, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (connection->back >= connection->sent * MESSAGE || bytes[i] != content(connection, connection->back))
            return fail(connection, "wrong content"), false;
        if (++connection->back % MESSAGE != 0)
            continue;
        answered++;
        if (connection->times == NULL || latency_count == latency_room)
            continue;
        latencies[latency_count++] = now() - connection->times[(connection->back / MESSAGE - 1) % WINDOW];
    }
    return true;
}

static void on_event(struct connection *connection, uint32_t events)
{
    if (connection->phase == CONNECTING && events & EPOLLOUT && !(events & (EPOLLERR | EPOLLHUP)))
        next(connection, GREETING, "\5\1", 3); /* and the string's own zero: one method, none */
    for (;;) {
        ssize_t length = recv(connection->fd, scratch, sizeof scratch, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0)
            return fail(connection, length == 0 ? "closed" : errno == ECONNRESET ? "reset" : strerror(errno));
        if (!(connection->phase == OPEN ? echoed : step)(connection, scratch, length))
            return;
    }
}

/* What happens within `ms` at most. */
static void pump(int ms)
{
    /* One at a time: an event may end a connection that a later one of the batch points to. */
    struct epoll_event events[1];
    for (int turn = 0; turn < 256; turn++) {
        int count = epoll_wait(epoll, events, 1, turn == 0 ? ms : 0);
        if (count <= 0)
            return;
        on_event(events[0].data.ptr, events[0].events);
    }
}

/*
 * While messages are under way nobody here sleeps: to wake a sleeping core costs whoever sends to it more than the send
 * does, and that would be the proxy.
 */
static void stay_awake(void)
{
    pump(0);
    sched_yield();
}

static void impatience(void)
{
    for (int i = opening_count - 1; i >= 0; i--)
        if (now() - opening[i]->since > PATIENCE_MS * 1000LL)
            fail(opening[i], "nothing for 5 s");
}

static void send_message(struct connection *connection)
{
    uint8_t message[MESSAGE];
    for (int i = 0; i < MESSAGE; i++)
        message[i] = content(connection, connection->sent * MESSAGE + i);
    if (connection->times != NULL)
        connection->times[connection->sent % WINDOW] = now();
    connection->sent++;
    tell(connection, message, MESSAGE);
}

/* ---------------------------------------------------------------- the commands ------------------------------------- */

static void command_open(int wanted)
{
    int64_t started = now();
    in_a_row = 0;
    while ((open_count < wanted && in_a_row < HOPELESS) || opening_count > 0) {
        while (opening_count < AT_ONCE && open_count + opening_count < wanted && in_a_row < HOPELESS)
            dial();
        pump(100);
        impatience();
    }
    printf("{\"open\":%d,\"seconds\":%.3f", open_count, (now() - started) / 1e6);
    print_failures();
}

static void command_churn(int wanted)
{
    int64_t started = now();
    churning = true;
    churned = in_a_row = 0;
    while ((churned < wanted && in_a_row < HOPELESS) || opening_count > 0) {
        while (opening_count < AT_ONCE && churned + opening_count < wanted && in_a_row < HOPELESS)
            dial();
        pump(100);
        impatience();
    }
    churning = false;
    printf("{\"churned\":%d,\"open\":%d,\"seconds\":%.3f", churned, open_count, (now() - started) / 1e6);
    print_failures();
}

/* Waits until `count` messages have come back, as long as they keep coming. */
static void await(uint64_t count)
{
    int64_t since = now();
    for (uint64_t before = answered; answered < count && now() - since < PATIENCE_MS * 1000LL; before = answered) {
        pump(100);
        if (answered != before)
            since = now();
    }
}

static void command_sweep(void)
{
    uint64_t asked = 0;
    answered = 0;
    for (int i = 0; i < open_count; i++) {
        send_message(open[i]);
        asked++;
        if (asked % AT_ONCE == 0)
            await(asked);
    }
    await(asked);
    printf("{\"open\":%d,\"asked\":%lu,\"answered\":%lu", open_count, asked, answered);
    print_failures();
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double share)
{
    return latency_count == 0 ? 0 : latencies[(size_t)(share * (latency_count - 1))] / 1e3;
}

static void command_echo(int ms, int rate, int active)
{
    latency_room = (size_t)rate * ms / 1000 + rate;
    latencies = malloc(latency_room * sizeof *latencies);
    if (latencies == NULL)
        die("malloc");
    answered = latency_count = 0;
    uint64_t due = 0, sent = 0, held_back = 0;
    int64_t started = now(), end = started + ms * 1000LL;
    for (int64_t time = started; time < end; time = now()) {
        for (; due < (uint64_t)((time - started) * (double)rate / 1e6); due++) {
            if (open_count == 0)
                break;
            /* The active ones are spread over all, as they would be among clients that come and go. */
            uint64_t place = due % active * open_count / active;
            struct connection *connection = open[place];
            if (connection->times == NULL)
                connection->times = calloc(WINDOW, sizeof *connection->times);
            if (connection->sent - connection->back / MESSAGE >= WINDOW) {
                held_back++;
                continue;
            }
            send_message(connection);
            sent++;
        }
        stay_awake();
    }
    await(sent);
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"open\":%d,\"sent\":%lu,\"heldBack\":%lu,\"answered\":%lu,\"seconds\":%.3f,\"p50\":%.3f,\"p99\":%.3f,"
           "\"max\":%.3f",
           open_count, sent, held_back, answered, (now() - started) / 1e6, percentile(0.5), percentile(0.99),
           percentile(1));
    print_failures();
    free(latencies);
    latencies = NULL;
    latency_room = latency_count = 0;
}

static void command_close(int wanted)
{
    while (open_count > wanted)
        drop(open[open_count - 1]);
    printf("{\"open\":%d", open_count);
    print_failures();
}

static void client(void)
{
    char line[128];
    int a, b, c;
    while (fgets(line, sizeof line, stdin) != NULL) {
        /* What went wrong while nobody asked shows in the next answer: a proxy that closed what was idle. */
        pump(0);
        if (sscanf(line, "open %d", &a) == 1)
            command_open(a < MOST ? a : MOST);
        else if (sscanf(line, "churn %d", &a) == 1)
            command_churn(a);
        else if (strcmp(line, "sweep\n") == 0)
            command_sweep();
        else if (sscanf(line, "echo %d %d %d", &a, &b, &c) == 3 && b > 1 && c > 0)
            command_echo(a, b, c);
        else if (sscanf(line, "close %d", &a) == 1)
            command_close(a);
        else
            fprintf(stderr, "load: no such command: %s", line), exit(2);
    }
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(0);
    if (epoll < 0)
        die("epoll_create1");
    if (argc == 2 && strcmp(argv[1], "target") == 0)
        target();
    if (argc != 4 || strcmp(argv[1], "client") != 0)
        return fprintf(stderr, "usage: load target | load client PROXY-PORT PORT,PORT,...\n"), 2;
    proxy_port = (uint16_t)atoi(argv[2]);
    for (char *word = strtok(argv[3], ","); word != NULL && port_count < PORTS; word = strtok(NULL, ","))
        ports[port_count++] = (uint16_t)atoi(word);
    client();
    return 0;
}
