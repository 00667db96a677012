/* The descriptor of pull delivery, in the event loops that it is for. Linux: one of them is epoll. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include "mesh.h"

#define TAG(number) ((void *)(uintptr_t)(number))

/* What poll says at once, or after waiting for something. */
static int polled(int fd, int timeout_ms) {
    struct pollfd waiting = {0};
    waiting.fd = fd;
    waiting.events = POLLIN;
    CHECK(poll(&waiting, 1, timeout_ms) >= 0);
    return waiting.revents;
}

static void check_readable(int fd) {
    CHECK(polled(fd, 60000) == POLLIN);
}

static void check_unreadable(int fd) {
    CHECK(polled(fd, 0) == 0);
}

static void take_all(svantic_mesh *mesh) {
    char *item;
    while (svantic_next(mesh, 0, &item) == SVANTIC_STATUS_OK) svantic_string_free(item);
}

/* Puts a completion into the queue. The agent is not connected, so nothing else comes. */
static void put_item(svantic_mesh *mesh, int tag) {
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, NULL, TAG(tag)));
}

static void take_item(svantic_mesh *mesh, int tag) {
    char part[32], *item;
    snprintf(part, sizeof part, "\"tag\":%d,", tag);
    CHECK_OK(svantic_next(mesh, 60000, &item));
    CHECK_HOLDS(item, part);
    svantic_string_free(item);
}

static void check_end_of_stream(int fd) {
    char bytes[64];
    ssize_t got;
    CHECK(polled(fd, 60000) & (POLLIN | POLLHUP));
    do got = read(fd, bytes, sizeof bytes);
    while (got > 0);
    CHECK(got == 0);
}

static void readable_while_items_are_left(void) {
    svantic_mesh *mesh = create_pulling();
    char bytes[64];
    int fd = -1, round;
    CHECK_OK(svantic_notify_fd(mesh, &fd));
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    check_unreadable(fd);
    for (round = 0; round < 100; round++) {
        int read_the_byte = round % 2;
        put_item(mesh, 1);
        put_item(mesh, 2);
        put_item(mesh, 3);
        check_readable(fd);
        if (read_the_byte) CHECK(read(fd, bytes, sizeof bytes) == 1); /* one byte, however many items */
        take_item(mesh, 1);
        check_readable(fd); /* two are left */
        if (read_the_byte) CHECK(read(fd, bytes, sizeof bytes) == 1);
        take_item(mesh, 2);
        check_readable(fd);
        take_item(mesh, 3);
        take_all(mesh);
        check_unreadable(fd);
    }
    svantic_free(mesh);
    check_end_of_stream(fd);
    close(fd);
}

static void asked_for_late(void) {
    svantic_mesh *mesh = create_pulling();
    int first = -1, second = -1;
    CHECK_OK(svantic_connect(mesh, 0)); /* its events wait before anybody asks for a descriptor */
    CHECK_OK(svantic_notify_fd(mesh, &first));
    CHECK(polled(first, 0) == POLLIN);
    CHECK_OK(svantic_notify_fd(mesh, &second));
    CHECK(first != second);
    check_readable(second);
    take_all(mesh);
    svantic_free(mesh);
    check_end_of_stream(first);
    check_end_of_stream(second);
    close(first);
    close(second);
    CHECK_OK(svantic_shutdown(5000));
}

static void closed_before_free(void) {
    svantic_mesh *mesh = create_pulling();
    int fd = -1;
    define(mesh, "work", NULL, NULL);
    CHECK_OK(svantic_notify_fd(mesh, &fd));
    CHECK_OK(svantic_connect(mesh, 0));
    check_readable(fd); /* events wait */
    CHECK(close(fd) == 0);
    put_item(mesh, 1); /* written to nobody, without a SIGPIPE */
    svantic_string_free(next_of_type(mesh, "done"));
    CHECK_OK(svantic_notify_fd(mesh, &fd));
    CHECK(close(fd) == 0);
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void shows_the_end(void) {
    svantic_mesh *mesh = create_pulling();
    int fd = -1, another = -1;
    CHECK_OK(svantic_notify_fd(mesh, &fd));
    CHECK_OK(svantic_connect(mesh, 0));
    take_all(mesh);
    CHECK_OK(svantic_disconnect(mesh, 0));
    check_readable(fd); /* for {"type":"closed"}, if for nothing else */
    svantic_string_free(next_of_type(mesh, "closed")); /* the last, which may come after the disconnect has returned */
    take_all(mesh); /* nothing; until that has been said, the descriptor may be readable */
    check_unreadable(fd); /* closed is not freed */
    svantic_free(mesh);
    check_end_of_stream(fd);
    close(fd);
    mesh = create_pulling();
    CHECK_OK(svantic_notify_fd(mesh, &another));
    CHECK_OK(svantic_shutdown(5000));
    check_end_of_stream(another);
    close(another);
}

/* The event loop of the header's manual: at most 64 items a turn. Serves until {"type":"closed"}. */
static void epoll_loop(void) {
    svantic_mesh *mesh = create_pulling();
    struct epoll_event interest, ready;
    int fd = -1, loop = epoll_create1(EPOLL_CLOEXEC), served = 0, turn, open = 1;
    char id[160], *item;
    define(mesh, "work", NULL, NULL);
    CHECK_OK(svantic_notify_fd(mesh, &fd));
    memset(&interest, 0, sizeof interest);
    interest.events = EPOLLIN;
    CHECK(loop >= 0 && epoll_ctl(loop, EPOLL_CTL_ADD, fd, &interest) == 0);
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    while (open) {
        CHECK(epoll_wait(loop, &ready, 1, 60000) == 1);
        for (turn = 0; open && turn < 64 && svantic_next(mesh, 0, &item) == SVANTIC_STATUS_OK; turn++) {
            if (strncmp(item, "{\"type\":\"dispatch\"", 18) == 0) {
                CHECK_OK(svantic_resolve(mesh, field_of(item, "dispatch_id", id, sizeof id), "\"served\""));
                if (++served == 1000) CHECK_OK(svantic_disconnect_async(mesh, 0, NULL, TAG(2)));
            } else if (strstr(item, "\"tag\":1,") != NULL) {
                CHECK_HOLDS(item, "\"status\":0");
                tell("connected");
            }
            open = strcmp(item, "{\"type\":\"closed\"}") != 0;
            svantic_string_free(item);
        }
    }
    CHECK(served == 1000);
    svantic_free(mesh);
    check_end_of_stream(fd);
    close(fd);
    close(loop);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(readable_while_items_are_left), CASE(asked_for_late), CASE(closed_before_free), CASE(shows_the_end),
      CASE(epoll_loop))
