/* The descriptor whose end is the agent's, and the requests that a program makes by itself. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "mesh.h"
#include "proc.h"

#define TAG(number) ((void *)(uintptr_t)(number))

static int polled(int fd, int timeout_ms) {
    struct pollfd waiting = {0};
    waiting.fd = fd;
    waiting.events = POLLIN;
    CHECK(poll(&waiting, 1, timeout_ms) >= 0);
    return waiting.revents;
}

/* Waits for the agent to be freed. */
static void await_freed(svantic_mesh *mesh) {
    int32_t state;
    while (svantic_get_state(mesh, &state) == SVANTIC_STATUS_OK) sched_yield();
    CHECK_STATUS(svantic_get_state(mesh, &state), INVALID_HANDLE);
}

static int lifeline_of(svantic_mesh *mesh) {
    int fd = -1;
    CHECK_OK(svantic_lifeline_fd(mesh, &fd));
    CHECK(fd >= 0);
    return fd;
}

/* Puts a completion into the queue of an agent that is not connected. */
static void put_item(svantic_mesh *mesh, int tag) {
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, NULL, TAG(tag)));
}

static void take_item(svantic_mesh *mesh, int tag) {
    char part[32], *item = next_item(mesh);
    snprintf(part, sizeof part, "\"tag\":%d,", tag);
    CHECK_HOLDS(item, part);
    svantic_string_free(item);
}

static void tells_of_items(void) {
    svantic_mesh *mesh = create_pulling();
    char bytes[64], *item;
    int fd, round;
    put_item(mesh, 1); /* waits before anybody asks for the descriptor */
    fd = lifeline_of(mesh);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(polled(fd, 60000) == POLLIN);
    CHECK(read(fd, bytes, sizeof bytes) > 0);
    take_item(mesh, 1);
    CHECK_STATUS(svantic_next(mesh, 0, &item), TIMEOUT);
    CHECK(polled(fd, 0) == 0);
    for (round = 0; round < 1000; round++) {
        put_item(mesh, 1);
        put_item(mesh, 2);
        CHECK(polled(fd, 60000) == POLLIN);
        CHECK(read(fd, bytes, sizeof bytes) > 0);
        take_item(mesh, 1);
        CHECK(polled(fd, 60000) == POLLIN); /* one is left */
        if (round % 2) CHECK(read(fd, bytes, sizeof bytes) > 0); /* what is not read stays, and no more than that happens */
        take_item(mesh, 2);
        CHECK_STATUS(svantic_next(mesh, 0, &item), TIMEOUT);
    }
    while (read(fd, bytes, sizeof bytes) > 0) continue;
    CHECK(polled(fd, 0) == 0);
    CHECK(write(fd, "ignored", 7) == 7);
    put_item(mesh, 3);
    CHECK(polled(fd, 60000) == POLLIN);
    CHECK(read(fd, bytes, sizeof bytes) == 1);
    take_item(mesh, 3);
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    svantic_free(mesh);
    CHECK(polled(fd, 60000) & POLLHUP);
    while (read(fd, bytes, sizeof bytes) > 0) continue;
    CHECK(read(fd, bytes, sizeof bytes) == 0); /* the end of the stream */
    close(fd);
    CHECK_OK(svantic_shutdown(5000));
}

static void one_and_no_other(void) {
    svantic_mesh *mesh = create_pulling(), *notified = create_pulling(), *calling = create("");
    int fd = lifeline_of(mesh), other = -7;
    CHECK_STATUS(svantic_lifeline_fd(mesh, &other), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "[HAS_LIFELINE]");
    CHECK_STATUS(svantic_notify_fd(mesh, &other), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "[HAS_LIFELINE]");
    CHECK_STATUS(svantic_lifeline_fd(calling, &other), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "[NOT_PULLING]");
    CHECK(other == -7);
    CHECK_OK(svantic_notify_fd(notified, &other));
    CHECK_STATUS(svantic_lifeline_fd(notified, &other), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "[HAS_NOTIFY_FD]");
    close(other);
    CHECK(state_of(notified) == SVANTIC_STATE_IDLE); /* which is no lifeline */
    close(fd);
    await_freed(mesh);
    svantic_free(mesh);
    svantic_free(notified);
    svantic_free(calling);
    CHECK_OK(svantic_shutdown(5000));
}

/* Only the last copy counts. */
static void the_last_copy(void) {
    svantic_mesh *mesh = create_pulling();
    int fd = lifeline_of(mesh), copy = dup(fd);
    CHECK(copy >= 0 && close(fd) == 0);
    put_item(mesh, 1);
    CHECK(polled(copy, 60000) == POLLIN);
    take_item(mesh, 1);
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    put_item(mesh, 2); /* and its byte is left unread: the end is one all the same */
    close(copy);
    await_freed(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void count_release(void *gate) {
    gate_pass(gate);
}

/* Freed in every order, a thousand times, connected now and then: nothing is left, and nothing closed twice. */
static void a_thousand(void) {
    static struct gate released = GATE;
    int before, round, threads_before = threads();
    svantic_mesh *first = create_pulling();
    close(lifeline_of(first));
    await_freed(first);
    CHECK_OK(svantic_shutdown(5000)); /* what the first start leaves for ever is there now */
    wait_for_threads(threads_before);
    before = descriptors();
    for (round = 0; round < 1000; round++) {
        svantic_mesh *mesh = create_pulling();
        int fd = lifeline_of(mesh);
        CHECK_OK(svantic_define_capability(mesh, JSON({"name": "work", "description": "d"}), NULL, &released, count_release));
        if (round % 100 == 50) CHECK_OK(svantic_connect(mesh, 0));
        switch (round % 3) {
        case 0:
            close(fd);
            await_freed(mesh);
            svantic_free(mesh);
            break;
        case 1:
            svantic_free(mesh);
            close(fd);
            break;
        default: /* at the same time */
            close(fd);
            svantic_free(mesh);
        }
    }
    gate_wait(&released, 1000);
    CHECK_OK(svantic_shutdown(10000));
    wait_for_descriptors(before);
    CHECK(descriptors() == before);
    wait_for_threads(threads_before);
    CHECK(gate_count(&released) == 1000);
}

/* The program would die of a SIGPIPE. */
static void no_sigpipe(void) {
    int round;
    struct sigaction was;
    CHECK(sigaction(SIGPIPE, NULL, &was) == 0 && was.sa_handler == SIG_DFL);
    for (round = 0; round < 200; round++) {
        svantic_mesh *mesh = create_pulling();
        int fd = lifeline_of(mesh);
        close(fd);
        /* Signals until the library has seen the end. */
        while (svantic_create_session_async(mesh, NULL, 0, NULL, TAG(1)) == SVANTIC_STATUS_OK) {
            char *item;
            if (svantic_next(mesh, 0, &item) == SVANTIC_STATUS_OK) svantic_string_free(item);
        }
        CHECK_HOLDS(svantic_last_error(), "[INVALID_HANDLE]");
    }
    CHECK_OK(svantic_shutdown(5000));
}

static svantic_mesh *waited_for;
static struct gate waiting = GATE;

static void *wait_in_next(void *unused) {
    char *item;
    svantic_status status = SVANTIC_STATUS_OK;
    gate_pass(&waiting);
    while (status == SVANTIC_STATUS_OK) {
        status = svantic_next(waited_for, 60000, &item);
        if (status == SVANTIC_STATUS_OK) svantic_string_free(item);
    }
    CHECK(status == SVANTIC_STATUS_CANCELLED || status == SVANTIC_STATUS_INVALID_HANDLE);
    return unused;
}

/* The end comes while dispatches are with the program, and while another thread waits for items. */
static void while_dispatches_run(void) {
    pthread_t thread;
    char id[160], *item;
    int fd;
    waited_for = create_pulling();
    fd = lifeline_of(waited_for);
    define(waited_for, "work", NULL, NULL);
    CHECK_OK(svantic_connect(waited_for, 0));
    tell("connected");
    item = next_of_type(waited_for, "dispatch");
    field_of(item, "dispatch_id", id, sizeof id);
    svantic_string_free(item);
    CHECK_OK(svantic_request_async(waited_for, "/agents/heartbeat", JSON({"instance_id": "program"}), NULL, 0, NULL, TAG(9)));
    CHECK(pthread_create(&thread, NULL, wait_in_next, NULL) == 0);
    gate_wait(&waiting, 1);
    tell("running");
    await_line("close");
    close(fd);
    await_freed(waited_for);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(svantic_resolve(waited_for, id, "1"), INVALID_HANDLE);
    tell("freed");
    await_line("leave");
    CHECK_OK(svantic_shutdown(10000));
}

/* A process that only ever had the descriptor and shut it down. */
static void shut_down(void) {
    svantic_mesh *mesh = create_pulling();
    int fd = lifeline_of(mesh);
    CHECK(shutdown(fd, SHUT_RDWR) == 0);
    await_freed(mesh);
    close(fd);
    mesh = create_pulling();
    fd = lifeline_of(mesh);
    CHECK_OK(svantic_shutdown(5000)); /* frees it */
    CHECK(polled(fd, 60000) & POLLHUP);
    close(fd);
    mesh = create_pulling();
    fd = lifeline_of(mesh); /* on an I/O thread of its own again */
    close(fd);
    await_freed(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(tells_of_items), CASE(one_and_no_other), CASE(the_last_copy), CASE(a_thousand), CASE(no_sigpipe),
      CASE(while_dispatches_run), CASE(shut_down))
