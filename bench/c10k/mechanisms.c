/*
 * One SOCKS5 relay and eight ways to wait for its sockets.
 *
 *     mechanisms --mechanism NAME [--port N]     serves on 127.0.0.1, prints "listening on socks5://127.0.0.1:PORT"
 *     mechanisms --list                          prints the names of those that can be had here
 *
 *     thread      a thread for each connection, asleep in poll() on its two sockets
 *     process     a process for each connection, the same within
 *     select      one thread; the kernel is given all descriptors at each call, as bits; none above 1,023
 *     poll        one thread; the kernel is given all descriptors at each call, as an array
 *     epoll-lt    one thread; the kernel keeps the set and says what is ready for as long as it is
 *     epoll-et    one thread; the kernel keeps the set and says what has become ready, once
 *     libevent    one thread; the library over epoll that many servers were built on
 *     io_uring    one thread; nobody waits for readiness: reads are handed in and come back when they are done
 *
 * What is not waiting is the same for all: no authentication, CONNECT (RFC 1928) to IPv4 addresses, half-close both
 * ways, no bytes kept for a connection that is idle. What a proxy for the open needs is left out, for it would hide what
 * is compared: deadlines, limits, names, a log.
 *
 * Build: gcc -O2 -pthread mechanisms.c -levent -luring (-DNO_LIBEVENT, -DNO_IO_URING leave a mechanism out).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifndef NO_LIBEVENT
#include <event2/event.h>
#include <event2/event_struct.h>
#endif
#ifndef NO_IO_URING
#include <liburing.h>
#endif

enum { CHUNK = 64 * 1024 };

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---------------------------------------------------------------- the handshake, byte by byte ---------------------- */

enum reply { SUCCEEDED = 0, FAILED = 1, REFUSED = 5, NO_SUCH_COMMAND = 7, NO_SUCH_ADDRESS = 8 };

/* What is known of a handshake; 14 bytes, so that a connection needs no buffer until it has something to hold. */
struct handshake {
    uint8_t at;         /* 0 version, 1 number of methods, 2 methods, 3 and up: the request */
    uint8_t methods;    /* that are still to come */
    bool open;          /* whether "no authentication" was among them */
    uint8_t request[10];
};

enum step { MORE, GREETED, REQUESTED, WRONG_GREETING, WRONG_COMMAND, WRONG_ADDRESS };

static enum step advance(struct handshake *h, uint8_t byte)
{
    switch (h->at) {
    case 0:
        h->at = 1;
        return byte == 5 ? MORE : WRONG_GREETING;
    case 1:
        h->at = 2;
        h->methods = byte;
        return byte > 0 ? MORE : WRONG_GREETING;
    case 2:
        h->open |= byte == 0;
        if (--h->methods > 0)
            return MORE;
        h->at = 3;
        return h->open ? GREETED : WRONG_GREETING;
    default:
        h->request[h->at++ - 3] = byte;
        if (h->at == 5 && byte != 1)
            return WRONG_COMMAND;
        if (h->at == 7 && byte != 1)
            return WRONG_ADDRESS;
        return h->at == 13 ? REQUESTED : MORE;
    }
}

static struct sockaddr_in requested(const struct handshake *h)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    memcpy(&address.sin_addr, h->request + 4, 4);
    memcpy(&address.sin_port, h->request + 8, 2);
    return address;
}

/* A few bytes into a socket whose buffer is still empty: they always fit. */
static void say(int fd, const void *bytes, size_t length)
{
    (void)!send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_method(int fd, uint8_t method)
{
    say(fd, (uint8_t[]){ 5, method }, 2);
}

static void say_reply(int fd, enum reply code)
{
    say(fd, (uint8_t[]){ 5, code, 0, 1, 0, 0, 0, 0, 0, 0 }, 10);
}

/* Answers what needs an answer; false when the connection is over. */
static bool answer(int fd, enum step step)
{
    switch (step) {
    case GREETED: say_method(fd, 0); return true;
    case WRONG_GREETING: say_method(fd, 0xff); return false;
    case WRONG_COMMAND: say_reply(fd, NO_SUCH_COMMAND); return false;
    case WRONG_ADDRESS: say_reply(fd, NO_SUCH_ADDRESS); return false;
    default: return true;
    }
}

/* ---------------------------------------------------------------- sockets ------------------------------------------ */

static int listener;
static int spare; /* a descriptor in reserve, see turn_away() */

static int open_listener(uint16_t port, bool blocking)
{
    int fd = socket(AF_INET, SOCK_STREAM | (blocking ? 0 : SOCK_NONBLOCK), 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        die("cannot listen");
    printf("listening on socks5://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void no_delay(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

/*
 * With all descriptors in use accept() fails and the connection stays in the queue: a level-triggered wait would report
 * the listener again at once, for ever. So one descriptor is given up, the connection taken with it and closed.
 */
static void turn_away(void)
{
    static bool told;
    if (!told)
        fprintf(stderr, "no descriptor left: new connections are closed\n");
    told = true;
    if (poll(&(struct pollfd){ listener, POLLIN, 0 }, 1, 0) != 1)
        return;
    close(spare);
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0)
        close(fd);
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool exhausted(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* ---------------------------------------------------------------- one thread that is told what is ready ------------ */

enum { READ = 1, WRITE = 2, BROKEN = 4 };

/* One socket of a relay. */
struct side {
    struct relay *relay; /* NULL: this is the listener */
    int fd;              /* -1: not there yet, or closed */
    uint8_t interest;    /* what the mechanism watches it for */
    bool ended;          /* it has sent its last byte and we have read that */
    bool shut;           /* we have sent our last byte to it */
    uint32_t from, to;   /* the part of `pending` that is left */
    uint8_t *pending;    /* bytes that its send buffer had no room for, mostly NULL */
    union {
        int slot; /* poll's */
#ifndef NO_LIBEVENT
        struct event *event; /* libevent's */
#endif
    };
};

struct relay {
    enum { GREETING, CONNECTING, RELAYING, DEAD } state;
    struct handshake handshake;
    struct side client, target;
    struct relay *next; /* in the graveyard */
};

/* What a mechanism has to know. All of them call ready() with what they learn. */
struct mechanism {
    const char *name;
    bool edge;                      /* an event comes once: whoever gets it must go on until EAGAIN */
    void (*start)(void);
    bool (*watch)(struct side *);   /* false: it can't take this descriptor */
    void (*change)(struct side *);  /* side->interest is new */
    void (*forget)(struct side *);
    void (*run)(void);
};

static const struct mechanism *mechanism;
static uint8_t scratch[CHUNK]; /* one for all: what can be sent on at once is never kept */
static struct relay *graveyard;

static struct side *other(struct side *side)
{
    return side == &side->relay->client ? &side->relay->target : &side->relay->client;
}

static void close_side(struct side *side)
{
    if (side->fd < 0)
        return;
    mechanism->forget(side);
    close(side->fd);
    side->fd = -1;
}

/* The memory is freed when the batch of events is through, for a later one in it may still point here. */
static void bury(struct relay *relay)
{
    if (relay->state == DEAD)
        return;
    close_side(&relay->client);
    close_side(&relay->target);
    free(relay->client.pending);
    free(relay->target.pending);
    relay->state = DEAD;
    relay->next = graveyard;
    graveyard = relay;
}

static void sweep(void)
{
    while (graveyard != NULL) {
        struct relay *relay = graveyard;
        graveyard = relay->next;
        free(relay);
    }
}

static uint8_t wanted(struct side *side)
{
    if (side->relay->state == GREETING)
        return READ;
    if (side->relay->state == CONNECTING)
        return side == &side->relay->target ? WRITE : 0;
    /* Not reading while the other side can't take more is all the flow control there is. */
    bool read = !side->ended && other(side)->pending == NULL;
    return (read ? READ : 0) | (side->pending != NULL ? WRITE : 0);
}

static void settle_side(struct side *side)
{
    if (side->fd < 0 || side->relay->state == DEAD)
        return;
    if (other(side)->ended && side->pending == NULL && !side->shut) {
        shutdown(side->fd, SHUT_WR);
        side->shut = true;
    }
    if (side->ended && side->shut) {
        close_side(side);
        return;
    }
    uint8_t interest = wanted(side);
    if (mechanism->edge || interest == side->interest)
        return; /* edge-triggered: it watches for everything, always */
    side->interest = interest;
    mechanism->change(side);
}

static void settle(struct relay *relay)
{
    settle_side(&relay->client);
    settle_side(&relay->target);
    if (relay->client.fd < 0 && relay->target.fd < 0)
        bury(relay);
}

static void keep(struct side *side, const uint8_t *bytes, size_t length)
{
    side->pending = malloc(length);
    if (side->pending == NULL)
        die("malloc");
    memcpy(side->pending, bytes, length);
    side->from = 0;
    side->to = length;
}

static bool put(struct side *side, const uint8_t *bytes, size_t length)
{
    ssize_t sent = send(side->fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return false;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < length)
        keep(side, bytes + sent, length - sent);
    return true;
}

static void refuse(struct relay *relay, enum reply code)
{
    say_reply(relay->client.fd, code);
    bury(relay);
}

static void dial(struct relay *relay)
{
    struct sockaddr_in address = requested(&relay->handshake);
    struct side *target = &relay->target;
    target->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (target->fd < 0)
        return refuse(relay, FAILED);
    no_delay(target->fd);
    relay->state = CONNECTING;
    target->interest = WRITE;
    /* Watched only now, for a socket that was never connected counts as hung up. */
    bool dialled = connect(target->fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS;
    enum reply code = !dialled && errno == ECONNREFUSED ? REFUSED : FAILED;
    if (dialled && mechanism->watch(target))
        return;
    close(target->fd);
    target->fd = -1;
    refuse(relay, code);
}

static void on_handshake(struct relay *relay)
{
    struct side *client = &relay->client;
    while (relay->state == GREETING) {
        ssize_t length = recv(client->fd, scratch, CHUNK, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0)
            return bury(relay);
        for (ssize_t at = 0; at < length; at++) {
            enum step step = advance(&relay->handshake, scratch[at]);
            if (!answer(client->fd, step))
                return bury(relay);
            if (step != REQUESTED)
                continue;
            /* A client may send its first bytes before it has the reply. */
            if (at + 1 < length)
                keep(&relay->target, scratch + at + 1, length - at - 1);
            dial(relay);
            break;
        }
        if (!mechanism->edge)
            break;
    }
}

static void on_readable(struct side *from)
{
    struct side *to = other(from);
    /*
     * Level-triggered: one read, and if there is more the next wait says so. Edge-triggered: nothing is said of what was
     * left behind, so read until there is nothing, or until the other side is full, and on_writable() goes on from there.
     */
    for (int turn = 1; !from->ended && to->pending == NULL; turn++) {
        ssize_t length = recv(from->fd, scratch, CHUNK, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length < 0 || (length > 0 && !put(to, scratch, length)))
            return bury(from->relay);
        if (length == 0)
            from->ended = true;
        if (!mechanism->edge)
            return;
        /* A sender as fast as this loop would never let it end. Asking anew makes the kernel say again what is ready. */
        if (turn == 16)
            return mechanism->change(from);
    }
}

static void on_connected(struct relay *relay)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(relay->target.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0)
        return refuse(relay, error == ECONNREFUSED ? REFUSED : FAILED);
    relay->state = RELAYING;
    say_reply(relay->client.fd, SUCCEEDED);
}

static void on_writable(struct side *side)
{
    struct relay *relay = side->relay;
    bool reopened = false; /* whether bytes for it had to wait until now */
    if (relay->state == CONNECTING && side == &relay->target) {
        on_connected(relay);
        reopened = true;
    }
    if (relay->state != RELAYING)
        return;
    if (side->pending != NULL) {
        ssize_t sent = send(side->fd, side->pending + side->from, side->to - side->from, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return bury(relay);
        if (sent > 0)
            side->from += sent;
        if (side->from < side->to)
            return;
        free(side->pending);
        side->pending = NULL;
        reopened = true;
    }
    /* The other side's edge may have come in the meantime, and it comes once. */
    if (mechanism->edge && reopened)
        on_readable(other(side));
}

static void take_connections(void)
{
    for (int turn = 0; turn < 64; turn++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && exhausted(errno))
            turn_away();
        if (fd < 0)
            return;
        struct relay *relay = calloc(1, sizeof *relay);
        if (relay == NULL)
            die("calloc");
        relay->client.relay = relay->target.relay = relay;
        relay->client.fd = fd;
        relay->target.fd = -1;
        relay->client.interest = READ;
        no_delay(fd);
        if (!mechanism->watch(&relay->client)) {
            close(fd);
            free(relay);
        }
    }
}

static void ready(struct side *side, int events)
{
    struct relay *relay = side->relay;
    if (relay == NULL)
        return take_connections();
    /* Closed by an earlier event of the same batch. */
    if (side->fd < 0)
        return;
    /* Nobody is about to read or write there and learn of it. */
    if (events & BROKEN && (side->ended || side->interest == 0))
        return bury(relay);
    if (events & (WRITE | BROKEN))
        on_writable(side);
    if (events & (READ | BROKEN)) {
        if (relay->state == GREETING)
            on_handshake(relay);
        else if (relay->state == RELAYING)
            on_readable(side);
    }
    if (relay->state != DEAD)
        settle(relay);
}

static struct side listening;

/*
 * poll and epoll report a socket as hung up whether they were asked or not, and again at each call. One that both ends
 * have shut but whose last bytes can't go on yet must therefore be taken out for that time.
 */
static bool only_hung_up(const struct side *side)
{
    return side->interest == 0 && side->shut;
}

static void nothing(struct side *side)
{
    (void)side;
}

/* ---- select: the sets are copied in and out at each call, and we look through all of it ---- */

static struct side *by_descriptor[FD_SETSIZE];
static fd_set to_read, to_write;
static int highest = -1;

static void select_change(struct side *side)
{
    if (side->interest & READ)
        FD_SET(side->fd, &to_read);
    else
        FD_CLR(side->fd, &to_read);
    if (side->interest & WRITE)
        FD_SET(side->fd, &to_write);
    else
        FD_CLR(side->fd, &to_write);
}

static bool select_watch(struct side *side)
{
    /* FD_SET beyond the end of the set would write over whatever lies behind it: the famous 1,024. */
    if (side->fd >= FD_SETSIZE)
        return false;
    by_descriptor[side->fd] = side;
    if (side->fd > highest)
        highest = side->fd;
    select_change(side);
    return true;
}

static void select_forget(struct side *side)
{
    FD_CLR(side->fd, &to_read);
    FD_CLR(side->fd, &to_write);
    by_descriptor[side->fd] = NULL;
    while (highest >= 0 && by_descriptor[highest] == NULL)
        highest--;
}

static void select_run(void)
{
    for (;; sweep()) {
        fd_set readable = to_read, writable = to_write;
        if (select(highest + 1, &readable, &writable, NULL, NULL) < 0)
            continue;
        for (int fd = 0; fd <= highest; fd++) {
            int events = (FD_ISSET(fd, &readable) ? READ : 0) | (FD_ISSET(fd, &writable) ? WRITE : 0);
            if (events != 0 && by_descriptor[fd] != NULL)
                ready(by_descriptor[fd], events);
        }
    }
}

/* ---- poll: no limit, but still all of it at each call ---- */

static struct pollfd *polled;
static struct side **by_slot;
static int slots, room;

static void poll_change(struct side *side)
{
    polled[side->slot].fd = only_hung_up(side) ? -1 : side->fd; /* poll passes over negative ones */
    polled[side->slot].events = (side->interest & READ ? POLLIN : 0) | (side->interest & WRITE ? POLLOUT : 0);
}

static bool poll_watch(struct side *side)
{
    if (slots == room) {
        room = room == 0 ? 1024 : room * 2;
        polled = realloc(polled, room * sizeof *polled);
        by_slot = realloc(by_slot, room * sizeof *by_slot);
        if (polled == NULL || by_slot == NULL)
            die("realloc");
    }
    side->slot = slots++;
    by_slot[side->slot] = side;
    polled[side->slot].revents = 0;
    poll_change(side);
    return true;
}

static void poll_forget(struct side *side)
{
    slots--;
    polled[side->slot] = polled[slots];
    by_slot[side->slot] = by_slot[slots];
    by_slot[side->slot]->slot = side->slot;
}

static void poll_run(void)
{
    for (;; sweep()) {
        if (poll(polled, slots, -1) < 0)
            continue;
        /* The last entry may move into a slot that was passed: then the next call tells of it. */
        for (int slot = 0; slot < slots; slot++) {
            short events = polled[slot].revents;
            if (events != 0)
                ready(by_slot[slot], (events & POLLIN ? READ : 0) | (events & POLLOUT ? WRITE : 0) |
                                         (events & (POLLERR | POLLHUP) ? BROKEN : 0));
        }
    }
}

/* ---- epoll: the kernel keeps the set, and a call costs what is ready, not what is open ---- */

static int epoll;

static bool epoll_control(struct side *side, int operation)
{
    uint32_t edges = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    uint32_t levels = (side->interest & READ ? EPOLLIN : 0) | (side->interest & WRITE ? EPOLLOUT : 0);
    struct epoll_event event = { .data.ptr = side };
    event.events = mechanism->edge && side->relay != NULL ? edges : levels;
    return epoll_ctl(epoll, operation, side->fd, &event) == 0;
}

static bool epoll_watch(struct side *side)
{
    return epoll_control(side, EPOLL_CTL_ADD);
}

static void epoll_change(struct side *side)
{
    if (only_hung_up(side))
        epoll_ctl(epoll, EPOLL_CTL_DEL, side->fd, NULL);
    else if (!epoll_control(side, EPOLL_CTL_MOD) && errno == ENOENT)
        epoll_control(side, EPOLL_CTL_ADD);
}

static void epoll_start(void)
{
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
}

static void epoll_run(void)
{
    static struct epoll_event events[1024];
    for (;; sweep()) {
        int count = epoll_wait(epoll, events, 1024, -1);
        for (int i = 0; i < count; i++) {
            uint32_t got = events[i].events;
            ready(events[i].data.ptr, (got & (EPOLLIN | EPOLLRDHUP) ? READ : 0) | (got & EPOLLOUT ? WRITE : 0) |
                                          (got & (EPOLLERR | EPOLLHUP) ? BROKEN : 0));
        }
    }
}

/* ---- libevent: epoll, with a callback for each event and portable to what else there is ---- */

#ifndef NO_LIBEVENT
static struct event_base *base;

static void libevent_ready(evutil_socket_t fd, short events, void *side)
{
    (void)fd;
    sweep();
    ready(side, (events & EV_READ ? READ : 0) | (events & EV_WRITE ? WRITE : 0));
}

static void libevent_change(struct side *side)
{
    short events = (side->interest & READ ? EV_READ : 0) | (side->interest & WRITE ? EV_WRITE : 0);
    event_del(side->event);
    if (events == 0)
        return;
    event_assign(side->event, base, side->fd, events | EV_PERSIST, libevent_ready, side);
    event_add(side->event, NULL);
}

static bool libevent_watch(struct side *side)
{
    side->event = event_new(base, side->fd, EV_READ | EV_PERSIST, libevent_ready, side);
    if (side->event == NULL)
        return false;
    libevent_change(side);
    return true;
}

static void libevent_forget(struct side *side)
{
    event_free(side->event);
}

static void libevent_start(void)
{
    base = event_base_new();
    if (base == NULL)
        die("event_base_new");
}

static void libevent_run(void)
{
    event_base_dispatch(base);
}
#endif

static void nothing_to_start(void)
{
}

static const struct mechanism mechanisms[] = {
    { "select", false, nothing_to_start, select_watch, select_change, select_forget, select_run },
    { "poll", false, nothing_to_start, poll_watch, poll_change, poll_forget, poll_run },
    /* close() takes a descriptor out of an epoll set. */
    { "epoll-lt", false, epoll_start, epoll_watch, epoll_change, nothing, epoll_run },
    { "epoll-et", true, epoll_start, epoll_watch, epoll_change, nothing, epoll_run },
#ifndef NO_LIBEVENT
    { "libevent", false, libevent_start, libevent_watch, libevent_change, libevent_forget, libevent_run },
#endif
};

static void serve_events(uint16_t port)
{
    mechanism->start();
    listener = open_listener(port, false);
    listening = (struct side){ .fd = listener, .interest = READ };
    if (!mechanism->watch(&listening))
        die("cannot watch the listener");
    mechanism->run();
}

/* ---------------------------------------------------------------- a thread or a process for each ------------------- */

/* One direction. */
struct way {
    int from, to;
    bool ended;
    size_t at, length;
    uint8_t bytes[CHUNK]; /* on the stack: pages that were never touched take no memory */
};

static bool move(struct way *way)
{
    if (way->length == 0) {
        ssize_t length = recv(way->from, way->bytes, CHUNK, MSG_DONTWAIT);
        if (length < 0)
            return errno == EAGAIN || errno == EINTR;
        if (length == 0) {
            way->ended = true;
            shutdown(way->to, SHUT_WR);
            return true;
        }
        way->at = 0;
        way->length = length;
    }
    ssize_t sent = send(way->to, way->bytes + way->at, way->length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    way->at += sent;
    way->length -= sent;
    return true;
}

/*
 * A blocking send() would be simpler and wrong: while it waits nobody reads the other direction, and two ends that wait
 * for each other to read wait for ever.
 */
static void relay_both(struct way *up, struct way *down)
{
    struct way *ways[] = { up, down };
    while (!up->ended || !down->ended) {
        struct pollfd sockets[] = { { up->from, 0, 0 }, { up->to, 0, 0 } };
        for (int i = 0; i < 2; i++) {
            if (ways[i]->length > 0)
                sockets[1 - i].events |= POLLOUT;
            else if (!ways[i]->ended)
                sockets[i].events |= POLLIN;
        }
        for (int i = 0; i < 2; i++) /* the same as only_hung_up() */
            if (sockets[i].events == 0 && ways[1 - i]->ended)
                sockets[i].fd = -1;
        if (poll(sockets, 2, -1) < 0 && errno != EINTR)
            return;
        for (int i = 0; i < 2; i++) {
            short seen = ways[i]->length > 0 ? sockets[1 - i].revents : ways[i]->ended ? 0 : sockets[i].revents;
            if (seen != 0 && !move(ways[i]))
                return;
            if (ways[i]->ended && sockets[i].revents & POLLERR)
                return;
        }
    }
}

static void serve_one(int client)
{
    struct handshake handshake = { 0 };
    /* No initialiser: it would write all 64 KiB of each buffer, and so make them real. */
    struct way up, down;
    enum step step = MORE;
    up.from = down.to = client;
    up.ended = down.ended = false;
    down.length = 0;
    no_delay(client);
    while (step != REQUESTED) {
        up.at = 0;
        up.length = 0;
        ssize_t length = recv(client, up.bytes, CHUNK, 0);
        if (length <= 0)
            return;
        while (up.at < (size_t)length && step != REQUESTED) {
            step = advance(&handshake, up.bytes[up.at++]);
            if (!answer(client, step))
                return;
        }
        up.length = length - up.at;
    }
    struct sockaddr_in address = requested(&handshake);
    int target = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (target < 0)
        return say_reply(client, FAILED);
    no_delay(target);
    up.to = down.from = target;
    if (connect(target, (struct sockaddr *)&address, sizeof address) == 0) {
        say_reply(client, SUCCEEDED);
        relay_both(&up, &down);
    } else {
        say_reply(client, errno == ECONNREFUSED ? REFUSED : FAILED);
    }
    close(target);
}

/* Among threads the spare descriptor is no help, for whoever asks first gets it. So they are counted: two for each. */
static atomic_int threads;
static int most_threads;

static void *thread_main(void *client)
{
    serve_one((int)(intptr_t)client);
    close((int)(intptr_t)client);
    atomic_fetch_sub(&threads, 1);
    return NULL;
}

static void start_thread(int client)
{
    static pthread_attr_t attributes;
    static bool prepared;
    if (!prepared) {
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, 4 * CHUNK);
        prepared = true;
    }
    pthread_t thread;
    if (atomic_fetch_add(&threads, 1) < most_threads &&
        pthread_create(&thread, &attributes, thread_main, (void *)(intptr_t)client) == 0)
        return;
    atomic_fetch_sub(&threads, 1);
    close(client);
}

static void start_process(int client)
{
    if (fork() == 0) {
        close(listener);
        close(spare);
        serve_one(client);
        _exit(0);
    }
    close(client);
}

static void interrupt(int signal)
{
    (void)signal;
}

static void serve_blocking(uint16_t port, void (*start)(int))
{
    /* Children that have ended are taken at the next accept(); without SA_RESTART it returns for them. */
    struct sigaction action = { .sa_handler = interrupt };
    sigaction(SIGCHLD, &action, NULL);
    listener = open_listener(port, true);
    for (bool full = false;;) {
        /* accept() takes a descriptor before it waits: without one it fails at once, though nobody is there. */
        if (full)
            poll(&(struct pollfd){ listener, POLLIN, 0 }, 1, -1);
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        full = client < 0 && exhausted(errno);
        if (client >= 0)
            start(client);
        else if (full)
            turn_away();
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
}

static void serve_threads(uint16_t port)
{
    serve_blocking(port, start_thread);
}

static void serve_processes(uint16_t port)
{
    serve_blocking(port, start_process);
}

/* ---------------------------------------------------------------- io_uring ----------------------------------------- */

#ifndef NO_IO_URING
enum { BUFFERS = 256, GROUP = 1 };

/* One direction: at any time either a receive or a send is in the kernel's hands. */
struct flow {
    struct transfer *transfer;
    int from, to;
    bool ended;
    uint16_t buffer; /* lent to us from the receive's end to the send's */
    uint32_t at, length;
    struct flow *next; /* among those that wait for a buffer */
};

struct transfer {
    enum { HELLO, DIALLING, FLOWING } phase;
    bool broken;
    uint8_t flying; /* operations that have not come back: they hold pointers to this */
    struct handshake handshake;
    struct sockaddr_in address; /* the kernel reads it when the operation is submitted, not when it is made */
    struct flow up, down;
};

/* What an operation was, in the pointer's low bits. */
enum operation { RECEIVE, SEND, CONNECT, ACCEPT, KNOCK, OPERATIONS = 7 };

static struct io_uring ring;
static struct io_uring_buf_ring *lent;
static uint8_t *buffers;
static int taken; /* buffers that are with us */
static struct flow *hungry;

static struct io_uring_sqe *operation(struct flow *flow, enum operation kind)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    if (flow != NULL)
        flow->transfer->flying++;
    sqe->user_data = (uintptr_t)flow | kind;
    return sqe;
}

static void set(struct io_uring_sqe *sqe, void (*prepare)(struct io_uring_sqe *, void *), void *with)
{
    uint64_t tag = sqe->user_data; /* the library's prepare functions wipe it */
    prepare(sqe, with);
    sqe->user_data = tag;
}

static void prepare_receive(struct io_uring_sqe *sqe, void *flow)
{
    /* The buffer is chosen when there are bytes: ten thousand idle connections share these 256. */
    io_uring_prep_recv(sqe, ((struct flow *)flow)->from, NULL, CHUNK, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
}

static void prepare_send(struct io_uring_sqe *sqe, void *with)
{
    struct flow *flow = with;
    io_uring_prep_send(sqe, flow->to, buffers + (size_t)flow->buffer * CHUNK + flow->at, flow->length, MSG_NOSIGNAL);
}

static void prepare_connect(struct io_uring_sqe *sqe, void *with)
{
    struct transfer *transfer = with;
    io_uring_prep_connect(sqe, transfer->up.to, (struct sockaddr *)&transfer->address, sizeof transfer->address);
}

static void prepare_accept(struct io_uring_sqe *sqe, void *nothing)
{
    (void)nothing;
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
}

static void prepare_knock(struct io_uring_sqe *sqe, void *nothing)
{
    (void)nothing;
    io_uring_prep_poll_add(sqe, listener, POLLIN);
}

static void receive(struct flow *flow)
{
    set(operation(flow, RECEIVE), prepare_receive, flow);
}

static void lend(uint16_t buffer)
{
    io_uring_buf_ring_add(lent, buffers + (size_t)buffer * CHUNK, CHUNK, buffer, io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(lent, 1);
}

static void give_back(struct flow *flow)
{
    lend(flow->buffer);
    taken--;
    flow->length = 0;
    struct flow *next = hungry;
    if (next == NULL)
        return;
    hungry = next->next;
    next->transfer->flying--;
    receive(next);
}

/* Closes once nothing is in the kernel's hands; shutdown() makes what is there come back. */
static void release(struct transfer *transfer)
{
    bool over = transfer->broken || (transfer->up.ended && transfer->down.ended);
    if (!over || transfer->flying > 0)
        return;
    if (transfer->up.length > 0) /* what came with the request and was never sent */
        give_back(&transfer->up);
    close(transfer->up.from);
    if (transfer->up.to >= 0)
        close(transfer->up.to);
    free(transfer);
}

static void give_up(struct transfer *transfer)
{
    if (transfer->broken)
        return;
    transfer->broken = true;
    shutdown(transfer->up.from, SHUT_RDWR);
    if (transfer->up.to >= 0)
        shutdown(transfer->up.to, SHUT_RDWR);
}

static void say_no(struct transfer *transfer, enum reply code)
{
    say_reply(transfer->up.from, code);
    transfer->broken = true;
}

static void begin(int client)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL)
        die("calloc");
    no_delay(client);
    transfer->up = (struct flow){ .transfer = transfer, .from = client, .to = -1 };
    transfer->down = (struct flow){ .transfer = transfer, .from = -1, .to = client };
    receive(&transfer->up);
}

static void start_dial(struct transfer *transfer)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return say_no(transfer, FAILED);
    no_delay(fd);
    transfer->phase = DIALLING;
    transfer->up.to = transfer->down.from = fd;
    transfer->address = requested(&transfer->handshake);
    set(operation(&transfer->up, CONNECT), prepare_connect, transfer);
}

static void hear(struct flow *up)
{
    struct transfer *transfer = up->transfer;
    const uint8_t *bytes = buffers + (size_t)up->buffer * CHUNK;
    while (up->length > 0) {
        enum step step = advance(&transfer->handshake, bytes[up->at++]);
        up->length--;
        if (!answer(up->from, step)) {
            transfer->broken = true;
            return give_back(up);
        }
        if (step != REQUESTED)
            continue;
        if (up->length == 0)
            give_back(up);
        return start_dial(transfer);
    }
    give_back(up);
    receive(up);
}

static void on_received(struct flow *flow, struct io_uring_cqe *cqe)
{
    struct transfer *transfer = flow->transfer;
    /* If one was given back since, nobody may ever come to call on those in line. */
    if (cqe->res == -ENOBUFS && !transfer->broken && taken < BUFFERS)
        return receive(flow);
    if (cqe->res == -ENOBUFS && !transfer->broken) {
        flow->next = hungry;
        hungry = flow;
        transfer->flying++; /* so that it isn't freed while it stands in that line */
        return;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        flow->buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        taken++;
    }
    if (cqe->res > 0 && !transfer->broken) {
        flow->at = 0;
        flow->length = cqe->res;
        if (transfer->phase == HELLO)
            hear(flow);
        else
            set(operation(flow, SEND), prepare_send, flow);
        return;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER)
        give_back(flow);
    if (cqe->res == 0 && transfer->phase == FLOWING && !transfer->broken) {
        flow->ended = true;
        shutdown(flow->to, SHUT_WR);
    } else {
        give_up(transfer);
    }
}

static void on_sent(struct flow *flow, int sent)
{
    if (sent > 0) {
        flow->at += sent;
        flow->length -= sent;
        if (flow->length > 0 && !flow->transfer->broken)
            return set(operation(flow, SEND), prepare_send, flow);
    }
    give_back(flow);
    if (sent <= 0)
        give_up(flow->transfer);
    else if (!flow->transfer->broken)
        receive(flow);
}

static void on_dialled(struct flow *up, int result)
{
    struct transfer *transfer = up->transfer;
    if (result != 0) {
        say_no(transfer, result == -ECONNREFUSED ? REFUSED : FAILED);
        return;
    }
    transfer->phase = FLOWING;
    say_reply(up->from, SUCCEEDED);
    if (up->length > 0)
        set(operation(up, SEND), prepare_send, up);
    else
        receive(up);
    receive(&transfer->down);
}

static void on_accepted(struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0)
        begin(cqe->res);
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    if (cqe->res >= 0 || !exhausted(-cqe->res))
        return set(operation(NULL, ACCEPT), prepare_accept, NULL);
    /* It would fail again at once, though nobody is there: see serve_blocking(). */
    turn_away();
    set(operation(NULL, KNOCK), prepare_knock, NULL);
}

static void on_completion(struct io_uring_cqe *cqe)
{
    enum operation kind = cqe->user_data & OPERATIONS;
    if (kind == ACCEPT)
        return on_accepted(cqe);
    if (kind == KNOCK)
        return set(operation(NULL, ACCEPT), prepare_accept, NULL);
    struct flow *flow = (struct flow *)(uintptr_t)(cqe->user_data & ~(uint64_t)OPERATIONS);
    struct transfer *transfer = flow->transfer;
    transfer->flying--;
    if (kind == RECEIVE)
        on_received(flow, cqe);
    else if (kind == SEND)
        on_sent(flow, cqe->res);
    else
        on_dialled(flow, cqe->res);
    release(transfer);
}

static void not_here(int error)
{
    fprintf(stderr, "io_uring is not to be had here: %s\n", strerror(error));
    exit(3);
}

static void serve_ring(uint16_t port)
{
    /* One thread hands in and takes out, and wants completions only when it waits: no interrupts in between. */
    struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                               IORING_SETUP_CQSIZE,
                                      .cq_entries = 32768 };
    int error = io_uring_queue_init_params(4096, &ring, &params);
    if (error == -EINVAL) { /* before Linux 6.1 */
        params = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE, .cq_entries = 32768 };
        error = io_uring_queue_init_params(4096, &ring, &params);
    }
    if (error < 0)
        not_here(-error);
    size_t size = BUFFERS * sizeof(struct io_uring_buf);
    lent = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffers = mmap(NULL, (size_t)BUFFERS * CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lent == MAP_FAILED || buffers == MAP_FAILED)
        die("mmap");
    struct io_uring_buf_reg registration = { .ring_addr = (uintptr_t)lent, .ring_entries = BUFFERS, .bgid = GROUP };
    error = io_uring_register_buf_ring(&ring, &registration, 0);
    if (error < 0)
        not_here(-error);
    for (int buffer = 0; buffer < BUFFERS; buffer++)
        lend(buffer);
    listener = open_listener(port, true);
    set(operation(NULL, ACCEPT), prepare_accept, NULL);
    for (;;) {
        io_uring_submit_and_wait(&ring, 1);
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            on_completion(cqe);
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
}
#endif

/* ---------------------------------------------------------------- main --------------------------------------------- */

struct own_way {
    const char *name;
    void (*serve)(uint16_t port);
};

static const struct own_way own_ways[] = {
    { "thread", serve_threads },
    { "process", serve_processes },
#ifndef NO_IO_URING
    { "io_uring", serve_ring },
#endif
};

#define EACH(index, array) (size_t index = 0; index < sizeof(array) / sizeof(*(array)); index++)

/* What is built in and what the kernel allows: containers often forbid io_uring. */
static bool usable(const char *name)
{
#ifndef NO_IO_URING
    struct io_uring probe;
    if (strcmp(name, "io_uring") == 0) {
        if (io_uring_queue_init(2, &probe, 0) < 0)
            return false;
        io_uring_queue_exit(&probe);
    }
#endif
    (void)name;
    return true;
}

static void list(void)
{
    for EACH (i, own_ways)
        if (usable(own_ways[i].name))
            puts(own_ways[i].name);
    for EACH (i, mechanisms)
        puts(mechanisms[i].name);
}

static void serve(const char *name, uint16_t port)
{
    for EACH (i, own_ways)
        if (strcmp(name, own_ways[i].name) == 0)
            own_ways[i].serve(port);
    for EACH (i, mechanisms)
        if (strcmp(name, mechanisms[i].name) == 0) {
            mechanism = &mechanisms[i];
            serve_events(port);
        }
    fprintf(stderr, "no mechanism \"%s\" here; --list shows those that are\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "mechanism", required_argument, NULL, 'm' },
        { "port", required_argument, NULL, 'p' },
        { "list", no_argument, NULL, 'l' },
        { 0 },
    };
    const char *name = "epoll-lt";
    uint16_t port = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'm')
            name = optarg;
        else if (option == 'p')
            port = (uint16_t)atoi(optarg);
        else if (option == 'l')
            return list(), 0;
        else
            return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    most_threads = (int)(limit.rlim_cur - 10) / 2;
    signal(SIGPIPE, SIG_IGN);
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    serve(name, port);
}
