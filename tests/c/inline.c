/* Inline delivery: handlers on the I/O thread, everything else on a delivery thread; and what must not be called there. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <sched.h>

#include "mesh.h"

#define INLINE "\"delivery\":\"inline\""
/* No timer of the connector's own may come to the answers' help. */
#define NO_TIMERS ",\"heartbeat_interval_ms\":3600000,\"ping_interval_ms\":600000,\"dead_after_ms\":3600000"

static void check_thread(const char *expected) {
    char name[32];
    FILE *file = fopen("/proc/thread-self/comm", "r");
    CHECK(file != NULL && fgets(name, sizeof name, file) != NULL);
    fclose(file);
    name[strcspn(name, "\n")] = '\0';
    CHECK_SAME(name, expected);
}

static long threads_named(const char *expected) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    long count = 0;
    CHECK(tasks != NULL);
    while ((task = readdir(tasks)) != NULL) {
        char path[300], name[32] = "";
        FILE *file;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        file = fopen(path, "r");
        if (file == NULL) continue; /* . and .., and who has just ended */
        if (fgets(name, sizeof name, file) != NULL) name[strcspn(name, "\n")] = '\0';
        fclose(file);
        count += strcmp(name, expected) == 0;
    }
    closedir(tasks);
    return count;
}

static struct gate handled = GATE, released = GATE, returned = GATE, entered = GATE, go_on = GATE;

static void count_release(void *user_data) {
    (void)user_data;
    check_thread("svantic-call");
    gate_pass(&released);
}

static void define_counted(svantic_mesh *mesh, const char *name, svantic_handler_fn run, svantic_free_fn release) {
    char spec[128];
    snprintf(spec, sizeof spec, "{\"name\":\"%s\",\"description\":\"d\"}", name);
    CHECK_OK(svantic_define_capability(mesh, spec, run, mesh, release));
}

/* A connected agent with this handler, which gets the agent. */
static svantic_mesh *connected(const char *more, svantic_handler_fn run) {
    svantic_mesh *mesh = create(more);
    define(mesh, "work", run, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    return mesh;
}

static void leave(svantic_mesh *mesh) {
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void answer(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    check_thread("svantic-io");
    answer_ok(mesh, dispatch_id, request, length);
    gate_pass(&handled);
}

static void answered_on_the_io_thread(void) {
    svantic_mesh *mesh = connected(INLINE NO_TIMERS, answer);
    gate_wait(&handled, 200);
    CHECK(threads_named("svantic-call") == 0); /* nobody needs one */
    leave(mesh);
}

/* ---- later, by others ---- */

static char kept_id[160];

static void keep(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    (void)user_data, (void)request, (void)length;
    snprintf(kept_id, sizeof kept_id, "%s", dispatch_id);
    gate_pass(&entered);
}

static void answered_later(void) {
    svantic_mesh *mesh = connected(INLINE NO_TIMERS, keep);
    gate_wait(&entered, 1);
    CHECK_OK(svantic_resolve(mesh, kept_id, "\"later\""));
    leave(mesh);
}

static svantic_mesh *first, *second;

/* Of two agents: both answers leave, though only one of them is where its own driver looks by itself. */
static void answer_for_both(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    char batch[512];
    (void)user_data, (void)request, (void)length;
    snprintf(batch, sizeof batch, "[{\"dispatch_id\":\"%s\",\"result\":\"batch\"}]", kept_id);
    CHECK_OK(svantic_answer_batch(second, batch, strlen(batch), NULL));
    snprintf(batch, sizeof batch, "[{\"dispatch_id\":\"%s\",\"result\":\"batch\"}]", dispatch_id);
    CHECK_OK(svantic_answer_batch(first, batch, strlen(batch), NULL));
}

static void answer_the_other(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    (void)user_data, (void)request, (void)length;
    CHECK_OK(svantic_resolve(second, kept_id, "\"by the other\""));
    CHECK_OK(svantic_resolve(first, dispatch_id, "\"own\""));
}

static void two_agents(void) {
    first = create(INLINE NO_TIMERS ",\"instance_id\":\"one\"");
    second = create(INLINE NO_TIMERS ",\"instance_id\":\"two\"");
    define(first, "each", answer_the_other, NULL);
    define(first, "batch", answer_for_both, NULL);
    define(second, "keep", keep, NULL);
    CHECK_OK(svantic_connect(first, 0));
    CHECK_OK(svantic_connect(second, 0));
    tell("connected");
    gate_wait(&entered, 1);
    tell("kept");
    gate_wait(&entered, 2);
    tell("kept");
    await_line("leave");
    svantic_free(first);
    svantic_free(second);
    CHECK_OK(svantic_shutdown(5000));
}

/* ---- limits ---- */

static void one_at_a_time(void) {
    svantic_mesh *mesh = connected(INLINE NO_TIMERS ",\"max_in_flight\":1,\"max_queued_dispatches\":1000", answer);
    gate_wait(&handled, 200);
    leave(mesh);
}

static void never_answered(void) {
    svantic_mesh *mesh = connected(INLINE ",\"dispatch_timeout_ms\":200", keep);
    gate_wait(&entered, 1);
    await_line("answered");
    CHECK_STATUS(svantic_resolve(mesh, kept_id, "\"too late\""), NOT_FOUND);
    leave(mesh);
}

/* ---- what else is called back ---- */

static struct gate connected_event = GATE, done = GATE;
static svantic_mesh *agent;

/* A delivery thread as any other: it may wait, for a dispatch even. */
static void wait_in_event(void *user_data, int32_t event, const char *json, size_t length) {
    (void)user_data, (void)json, (void)length;
    check_thread("svantic-call");
    if (event != SVANTIC_EVENT_CONNECTED) return;
    gate_wait(&handled, 50);
    gate_pass(&connected_event);
}

static void opened_in_done(void *user_data, int32_t status, const char *json, size_t length) {
    char *session = NULL;
    (void)length;
    CHECK(user_data == &done);
    if (status != SVANTIC_STATUS_OK) FAIL("%s", json);
    check_thread("svantic-call");
    CHECK_OK(svantic_create_session(agent, NULL, 0, &session));
    svantic_string_free(session);
    gate_pass(&done);
}

static void call_asynchronously(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)request, (void)length;
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, opened_in_done, &done));
    define(mesh, "defined_inline", answer, mesh);
    CHECK_OK(svantic_re_register_async(mesh, 0, NULL, NULL));
    CHECK_OK(svantic_resolve(mesh, dispatch_id, "\"begun\""));
}

static void events_and_completions_may_wait(void) {
    agent = create(INLINE);
    CHECK_OK(svantic_on_event(agent, wait_in_event, NULL, NULL));
    define(agent, "work", answer, agent);
    define(agent, "async", call_asynchronously, agent);
    CHECK_OK(svantic_connect(agent, 0));
    tell("connected");
    gate_wait(&connected_event, 1);
    gate_wait(&done, 1);
    tell("done");
    leave(agent);
}

/* ---- what would wait for itself ---- */

static svantic_mesh *pulling, *calling, *local, *transport;

#define DEADLOCKS(call)                                       \
    do {                                                      \
        CHECK_STATUS(call, WOULD_DEADLOCK);                   \
        CHECK_HOLDS(svantic_last_error(), "inline handler");  \
    } while (0)

static void try_to_wait(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    static const char *const served = "{\"method\":\"GET\",\"path\":\"/.well-known/agent-card.json\"}";
    svantic_mesh *meshes[3];
    char *text = NULL;
    size_t at;
    (void)request, (void)length;
    meshes[0] = mesh, meshes[1] = pulling, meshes[2] = calling;
    for (at = 0; at < 3; at++) { /* whosever they are: one thread serves them all */
        DEADLOCKS(svantic_connect(meshes[at], 0));
        DEADLOCKS(svantic_disconnect(meshes[at], 0));
        DEADLOCKS(svantic_refresh_token(meshes[at], NULL, 0));
        DEADLOCKS(svantic_refresh_token(meshes[at], "a.b.c", 0));
        DEADLOCKS(svantic_re_register(meshes[at], 0));
        DEADLOCKS(svantic_create_session(meshes[at], NULL, 0, &text));
        CHECK_HOLDS(svantic_last_error(), "svantic_create_session_async");
        DEADLOCKS(svantic_close_session(meshes[at], "session", 0));
        DEADLOCKS(svantic_request(meshes[at], "/path", "{}", NULL, 0, &text));
    }
    DEADLOCKS(svantic_serve(local, served, NULL, 0, 0, &text));
    DEADLOCKS(svantic_close_transport(transport, 0, NULL, 0));
    DEADLOCKS(svantic_next(pulling, 1, &text));
    CHECK_HOLDS(svantic_last_error(), "`timeout_ms` of 0");
    DEADLOCKS(svantic_next_batch(pulling, 1, 1, &text, NULL));
    CHECK_STATUS(svantic_next(pulling, 0, &text), TIMEOUT);
    CHECK_STATUS(svantic_next_batch(pulling, 1, 0, &text, NULL), TIMEOUT);
    CHECK_STATUS(svantic_shutdown(1000), WOULD_DEADLOCK);
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED && state_of(calling) == SVANTIC_STATE_IDLE); /* none has done anything */
    CHECK_OK(svantic_resolve(mesh, dispatch_id, "\"none of them\""));
}

static void would_deadlock(void) {
    pulling = create("\"delivery\":\"pull\",\"instance_id\":\"pulling\"");
    calling = create("\"instance_id\":\"calling\"");
    local = create("\"local\":true,\"instance_id\":\"local\"");
    CHECK_OK(svantic_create_transport("{\"connect_url\":\"ws://127.0.0.1:9/\",\"token\":\"a.b.c\",\"hello\":{"
                                      "\"instance_id\":\"transport\",\"agent_type\":\"t\"}}", &transport));
    leave(connected(INLINE, try_to_wait));
}

/* ---- the end ---- */

static struct gate begun = GATE;

/* Lets others come in, which are then read at once. */
static void hold(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    tell("inside");
    await_line("go on");
    answer_ok(mesh, dispatch_id, request, length);
}

/* The first of them ends another agent and its own. */
static void free_itself(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    int32_t state;
    CHECK(gate_pass(&begun) == 1);
    svantic_free(second);
    svantic_free(mesh);
    CHECK_STATUS(svantic_get_state(mesh, &state), INVALID_HANDLE);
    CHECK_STATUS(svantic_resolve(mesh, dispatch_id, "1"), INVALID_HANDLE);
    CHECK(strlen(request) == length); /* its arguments are still there */
    CHECK(gate_count(&released) == 0);
    gate_pass(&returned);
}

static void freed_in_a_handler(void) {
    svantic_mesh *mesh = create(INLINE);
    second = create("\"instance_id\":\"two\"");
    define_counted(mesh, "work", free_itself, count_release);
    define_counted(mesh, "hold", hold, count_release);
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_connect(second, 0));
    tell("connected");
    gate_wait(&released, 2);
    CHECK_OK(svantic_shutdown(10000));
    CHECK(gate_count(&released) == 2 && gate_count(&returned) == 1 && gate_count(&begun) == 1);
}

static void note_release(void *user_data) {
    (void)user_data;
    gate_pass(&released);
}

static void wait_inside(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)mesh, (void)dispatch_id, (void)request, (void)length;
    gate_pass(&entered);
    gate_wait(&go_on, 1);
    CHECK(gate_count(&released) == 0);
    gate_pass(&returned);
}

/* An agent whose handler has begun, and waits to go on. */
static svantic_mesh *entered_agent(svantic_free_fn release) {
    svantic_mesh *mesh = create(INLINE);
    define_counted(mesh, "work", wait_inside, release);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&entered, 1);
    return mesh;
}

static void *free_and_look(void *mesh) {
    svantic_free(mesh);
    CHECK(gate_count(&returned) == 1); /* the handler has returned */
    CHECK(gate_count(&released) == 1); /* and what it used is released */
    return NULL;
}

static void free_waits_for_a_handler(void) {
    svantic_mesh *mesh = entered_agent(note_release);
    pthread_t thread;
    int32_t state;
    CHECK(pthread_create(&thread, NULL, free_and_look, mesh) == 0);
    while (svantic_get_state(mesh, &state) == SVANTIC_STATUS_OK) sched_yield(); /* until it has begun */
    CHECK(gate_count(&released) == 0);
    gate_pass(&go_on);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_OK(svantic_shutdown(5000));
}

static void shutdown_tells_of_a_handler(void) {
    entered_agent(count_release);
    CHECK_STATUS(svantic_shutdown(100), TIMEOUT);
    CHECK(gate_count(&released) == 0);
    gate_pass(&go_on);
    gate_wait(&released, 1); /* finished in the background */
    CHECK(gate_count(&returned) == 1);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(answered_on_the_io_thread), CASE(answered_later), CASE(two_agents), CASE(one_at_a_time), CASE(never_answered),
      CASE(events_and_completions_may_wait), CASE(would_deadlock), CASE(freed_in_a_handler),
      CASE(free_waits_for_a_handler), CASE(shutdown_tells_of_a_handler))
