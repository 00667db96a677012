/* Programs that end without saying goodbye, that fork, or that come and go many times. */
#define _POSIX_C_SOURCE 200809L
#include <sys/wait.h>

#include "every_function.h"
#include "mesh.h"
#include "proc.h"

static void return_from_main(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "echo", answer_ok, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
}

static void return_without_connecting(void) {
    (void)create("");
    (void)create_pulling();
}

static struct gate in_handler = GATE;
static struct gate never = GATE;

static void hang(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    (void)user_data, (void)dispatch_id, (void)request, (void)length;
    gate_pass(&in_handler);
    gate_wait(&never, 1);
}

static void exit_during_a_callback(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "hang", hang, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&in_handler, 1);
    exit(EXIT_SUCCESS);
}

static void *wait_for_an_item(void *mesh) {
    char *item;
    gate_pass(&in_handler);
    for (;;) {
        if (svantic_next(mesh, 60000, &item) == SVANTIC_STATUS_OK) svantic_string_free(item);
    }
    return NULL;
}

static void exit_while_a_thread_pulls(void) {
    svantic_mesh *mesh = create_pulling();
    pthread_t thread;
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK(pthread_create(&thread, NULL, wait_for_an_item, mesh) == 0);
    gate_wait(&in_handler, 1);
    exit(EXIT_SUCCESS);
}

static struct gate handlers_done = GATE;

static void count_free(void *user_data) {
    (void)user_data;
    gate_pass(&handlers_done);
}

static void ignore_event(void *user_data, int32_t event, const char *json, size_t length) {
    (void)user_data, (void)event, (void)json, (void)length;
}

static void fifty_lives(void) {
    int round, threads_before = 0, descriptors_before = 0;
    for (round = 0; round < 50; round++) {
        svantic_mesh *mesh = round % 2 ? create_pulling() : create("\"workers\":2");
        int fd = -1;
        if (round % 2) {
            CHECK_OK(svantic_notify_fd(mesh, &fd));
        } else {
            CHECK_OK(svantic_on_event(mesh, ignore_event, NULL, count_free));
            define(mesh, "echo", answer_ok, mesh);
        }
        CHECK_OK(svantic_connect(mesh, 0));
        CHECK_OK(svantic_disconnect(mesh, 0));
        if (fd >= 0) close(fd);
        svantic_free(mesh);
        /* The I/O thread and its descriptors stay for the process; what came with an agent goes with it. */
        if (round == 3) threads_before = threads(), descriptors_before = descriptors();
        if (round > 3) wait_for_threads(threads_before), wait_for_descriptors(descriptors_before);
    }
    CHECK(gate_count(&handlers_done) == 25);
    CHECK_OK(svantic_shutdown(5000));
    wait_for_threads(2 + 1); /* ".", ".." and this one */
}

#define AGENTS 12

/* Everything that takes a thread or a descriptor, many times over: TLS, a proxy, the watch for suspensions, which all
 * agents share, delivery threads and descriptors to wait on. Ended in good order, by shutdown, and in the middle. */
static void nothing_is_left(void) {
    int threads_before = threads(), descriptors_before, round, at;
    svantic_mesh *first = create("\"delivery\":\"pull\",\"fail_fast\":true");
    /* The test gateway has tokio built with its signal handling, which keeps a pair of sockets from then on. */
    CHECK_STATUS(svantic_connect(first, 0), TLS); /* without "ca_file" */
    CHECK_OK(svantic_shutdown(20000));
    wait_for_threads(threads_before);
    descriptors_before = descriptors();
    for (round = 0; round < 3; round++) {
        svantic_mesh *meshes[AGENTS];
        int fds[AGENTS];
        for (at = 0; at < AGENTS; at++) {
            char more[400];
            snprintf(more, sizeof more, "\"instance_id\":\"agent-%d\",\"delivery\":\"%s\",\"ca_file\":\"%s\",\"proxy\":\"%s\"",
                     at, at % 2 ? "pull" : "callbacks", getenv("CHECK_CA_FILE"), getenv("CHECK_PROXY"));
            meshes[at] = create(more);
            fds[at] = -1;
            if (at % 2)
                CHECK_OK(svantic_notify_fd(meshes[at], &fds[at]));
            else
                CHECK_OK(svantic_on_event(meshes[at], ignore_event, NULL, count_free));
            CHECK_OK(svantic_connect(meshes[at], 0));
            CHECK_OK(svantic_network_changed(meshes[at]));
        }
        CHECK(sleep_alarms() == 1);
        if (round == 0) {
            for (at = 0; at < AGENTS; at++) {
                CHECK_OK(svantic_disconnect(meshes[at], 0));
                svantic_free(meshes[at]);
            }
            while (sleep_alarms() > 0) sched_yield(); /* before the I/O thread ends: it watches for nobody */
        }
        if (round < 2)
            CHECK_OK(svantic_shutdown(20000));
        else
            (void)svantic_shutdown(0);
        for (at = 1; at < AGENTS; at += 2) close(fds[at]);
        wait_for_threads(threads_before);
        wait_for_descriptors(descriptors_before);
        CHECK(gate_count(&handlers_done) == (round + 1) * AGENTS / 2);
    }
}

/* In the child every function refuses or is harmless, and nothing hangs. */
static void fork_after_connect(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *pulling = create("\"delivery\":\"pull\",\"instance_id\":\"pulling\"");
    svantic_mesh *unused = NULL;
    char *text = NULL;
    pid_t child;
    int status;
    define(mesh, "echo", answer_ok, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_connect(pulling, 0));
    CHECK((child = fork()) >= 0);
    if (child == 0) {
        guard_against_hanging();
        every_function_refuses(mesh, SVANTIC_STATUS_FORKED);
        every_function_refuses(pulling, SVANTIC_STATUS_FORKED);
        CHECK_HOLDS(svantic_last_error(), "fork()");
        CHECK_STATUS(svantic_create(JSON({"name": "n", "description": "d"}), &unused), FORKED);
        CHECK_STATUS(svantic_create_transport("{}", &unused), FORKED);
        CHECK(svantic_abi_version() == SVANTIC_ABI_VERSION);
        CHECK_SAME(svantic_status_name(6), "SVANTIC_STATUS_FORKED");
        CHECK(*svantic_version() != '\0');
        CHECK_STATUS(svantic_verify_dispatch_auth("{}", JSON({"instance_id": "i", "shared_secret": "s"}), &text), FORKED);
        CHECK(text == NULL);
        CHECK_OK(svantic_parse_traceparent("", &text)); /* these know nothing but their arguments */
        svantic_string_free(text);
        CHECK_OK(svantic_parse_baggage("", &text));
        svantic_string_free(text);
        CHECK_OK(svantic_extract_trace_context("{}", NULL, &text));
        svantic_string_free(text);
        svantic_string_free(NULL);
        svantic_free(mesh);
        svantic_free(mesh);
        svantic_free(pulling);
        CHECK_STATUS(svantic_shutdown(60000), FORKED);
        exit(EXIT_SUCCESS); /* with every atexit handler and destructor */
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);
    tell("forked");
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    svantic_free(pulling);
    CHECK_OK(svantic_shutdown(5000));
}

static void fork_before_create(void) {
    svantic_mesh *mesh;
    pid_t child;
    int status;
    CHECK(svantic_abi_version() == SVANTIC_ABI_VERSION);
    CHECK_STATUS(svantic_connect(NULL, 0), INVALID_HANDLE);
    CHECK((child = fork()) >= 0);
    if (child == 0) guard_against_hanging();
    mesh = create(child == 0 ? "\"instance_id\":\"child\"" : "\"instance_id\":\"parent\"");
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
    if (child == 0) exit(EXIT_SUCCESS);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
}

/* A child that execs is a process like any other. */
static void fork_and_exec(void) {
    svantic_mesh *mesh = create("");
    pid_t child;
    int status;
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK((child = fork()) >= 0);
    if (child == 0) {
        CHECK(setenv("SVANTIC_INSTANCE_ID", "execed", 1) == 0);
        execl("/proc/self/exe", "exit", "return_from_main", (char *)NULL);
        _exit(9);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(return_from_main), CASE(return_without_connecting), CASE(exit_during_a_callback),
      CASE(exit_while_a_thread_pulls), CASE(fifty_lives), CASE(nothing_is_left), CASE(fork_after_connect),
      CASE(fork_before_create), CASE(fork_and_exec))
