/* Which threads run callbacks, how many at once, in which order; and whose user_data is released when. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <signal.h>

#include "mesh.h"

/* The kernel's name of the calling thread. */
static const char *thread_name(char *name, size_t room) {
    FILE *file = fopen("/proc/thread-self/comm", "r");
    CHECK(file != NULL && fgets(name, (int)room, file) != NULL);
    fclose(file);
    name[strcspn(name, "\n")] = '\0';
    return name;
}

static void check_delivery_thread(void) {
    char name[32];
    CHECK_SAME(thread_name(name, sizeof name), "svantic-call");
}

/* How many callbacks run at this moment. */
static struct gate inside = GATE;

static void enter_alone(void) {
    check_delivery_thread();
    CHECK(gate_pass(&inside) == 1);
}

static void go_out(void) {
    pthread_mutex_lock(&inside.mutex);
    inside.count--;
    pthread_mutex_unlock(&inside.mutex);
}

static struct gate handled = GATE, events = GATE, completed = GATE;

static void handle_alone(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    enter_alone();
    answer_ok(mesh, dispatch_id, request, length);
    go_out();
    gate_pass(&handled);
}

static void event_alone(void *user_data, int32_t event, const char *json, size_t length) {
    enter_alone();
    (void)user_data;
    CHECK(event > 0 && strlen(json) == length);
    go_out();
    gate_pass(&events);
}

static void done_alone(void *user_data, int32_t status, const char *json, size_t length) {
    enter_alone();
    (void)user_data, (void)json, (void)length;
    CHECK(status == SVANTIC_STATUS_OK);
    go_out();
    gate_pass(&completed);
}

static void one_worker(void) {
    svantic_mesh *mesh = create("");
    int at;
    CHECK_OK(svantic_on_event(mesh, event_alone, NULL, NULL));
    define(mesh, "work", handle_alone, mesh);
    CHECK_OK(svantic_connect_async(mesh, 0, done_alone, NULL));
    gate_wait(&completed, 1);
    tell("connected");
    for (at = 0; at < 20; at++) CHECK_OK(svantic_refresh_token_async(mesh, NULL, 0, done_alone, NULL));
    for (at = 0; at < 20; at++) CHECK_OK(svantic_create_session_async(mesh, NULL, 0, done_alone, NULL));
    gate_wait(&handled, 200);
    gate_wait(&completed, 41);
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK(gate_count(&handled) == 200 && gate_count(&completed) == 41 && gate_count(&events) > 0);
    CHECK_OK(svantic_shutdown(5000));
}

static struct gate slow_done = GATE;

static void handle_slowly(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    await_line("go on");
    answer_ok(mesh, dispatch_id, request, length);
    gate_pass(&slow_done);
}

/* Quick answers given just before a slow handler on the same thread. */
static void slow_behind_quick(void) {
    /* No timer of the connector's own may come to the answers' help. */
    svantic_mesh *mesh = create("\"heartbeat_interval_ms\":3600000,\"ping_interval_ms\":600000,\"dead_after_ms\":3600000");
    define(mesh, "quick", answer_ok, mesh);
    define(mesh, "slow", handle_slowly, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&slow_done, 30);
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void handle_together(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    check_delivery_thread();
    gate_pass(&handled);
    gate_wait(&handled, 4); /* none returns before all four run */
    answer_ok(mesh, dispatch_id, request, length);
}

static void four_workers(void) {
    svantic_mesh *mesh = create("\"workers\":4");
    int at;
    CHECK_OK(svantic_on_event(mesh, event_alone, NULL, NULL));
    define(mesh, "together", handle_together, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    for (at = 0; at < 50; at++) CHECK_OK(svantic_refresh_token_async(mesh, NULL, 0, done_alone, NULL));
    gate_wait(&completed, 50); /* events and completions one at a time, whatever thread they are on */
    tell("connected");
    gate_wait(&handled, 4);
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static char seen[8192];

static struct gate blocked = GATE, unblock = GATE;

/* Blocks its thread as a long computation would, and says nothing meanwhile. */
static void handle_blocking(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    gate_pass(&blocked);
    gate_wait(&unblock, 1);
    answer_ok(mesh, dispatch_id, request, length);
}

static void all_workers_blocked(void) {
    svantic_mesh *mesh = create("\"workers\":64,\"heartbeat_interval_ms\":50,\"ping_interval_ms\":1000,\"dead_after_ms\":2000");
    define(mesh, "block", handle_blocking, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&blocked, 64);
    tell("blocked");
    await_line("go on");
    gate_pass(&unblock);
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void note_stall(void *user_data, int32_t event, const char *json, size_t length) {
    (void)user_data, (void)length;
    if (event == SVANTIC_EVENT_STALLED) strcat(seen, strstr(json, "\"stalled\":true") != NULL ? "stalled " : "moving ");
    CHECK(strlen(seen) < sizeof seen - 64);
}

/* The one delivery thread hangs in a handler, and others wait behind it. */
static void wedged(void) {
    svantic_mesh *mesh = create("\"workers\":1,\"heartbeat_interval_ms\":50,\"pick_up_timeout_ms\":1000");
    CHECK_OK(svantic_on_event(mesh, note_stall, NULL, NULL));
    define(mesh, "block", handle_blocking, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&blocked, 1);
    tell("blocked");
    await_line("go on");
    gate_pass(&unblock);
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh); /* delivers what is left */
    CHECK_OK(svantic_shutdown(5000));
    tell(seen);
}

static void note_event(void *user_data, int32_t event, const char *json, size_t length) {
    char state[32];
    (void)user_data, (void)length;
    switch (event) {
    case SVANTIC_EVENT_STATE:
        strcat(seen, field_of(json, "state", state, sizeof state));
        break;
    case SVANTIC_EVENT_TOKEN_REFRESHED: strcat(seen, "TOKEN"); break;
    case SVANTIC_EVENT_REGISTERED: strcat(seen, "REGISTERED"); break;
    case SVANTIC_EVENT_CONNECTED: strcat(seen, "CONNECTED"); break;
    case SVANTIC_EVENT_DISCONNECTED: strcat(seen, "DISCONNECTED"); break;
    case SVANTIC_EVENT_DRAINING: strcat(seen, "DRAINING"); break;
    default: return; /* unknown ones are to be ignored */
    }
    strcat(seen, " ");
    CHECK(strlen(seen) < sizeof seen - 64);
}

static void events_in_order(void) {
    svantic_mesh *mesh = create("");
    CHECK_OK(svantic_on_event(mesh, note_event, NULL, NULL));
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh); /* delivers what is left */
    CHECK_OK(svantic_shutdown(5000));
    tell(seen);
}

static volatile sig_atomic_t signals_here;
static pthread_t main_thread;
static volatile sig_atomic_t signals_elsewhere;

static void on_signal(int number) {
    (void)number;
    if (pthread_equal(pthread_self(), main_thread))
        signals_here++;
    else
        signals_elsewhere++;
}

static unsigned long long blocked_signals(const char *task) {
    char path[300], line[256];
    unsigned long long mask = 0;
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    file = fopen(path, "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "SigBlk:", 7) == 0) mask = strtoull(line + 7, NULL, 16);
    }
    fclose(file);
    return mask;
}

#define BIT(signal) (1ULL << ((signal) - 1))

static void signals_are_the_hosts(void) {
    static const unsigned long long asynchronous = BIT(SIGINT) | BIT(SIGTERM) | BIT(SIGHUP) | BIT(SIGCHLD) |
                                                   BIT(SIGALRM) | BIT(SIGUSR1) | BIT(SIGUSR2) | BIT(SIGPIPE);
    static const unsigned long long raised = BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGABRT);
    svantic_mesh *mesh = create("\"workers\":2");
    struct sigaction action;
    DIR *tasks;
    struct dirent *task;
    char self[32];
    int others = 0, at;
    main_thread = pthread_self();
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGINT, &action, NULL) == 0);
    CHECK_OK(svantic_on_event(mesh, event_alone, NULL, NULL));
    CHECK_OK(svantic_connect(mesh, 0));
    gate_wait(&events, 1); /* the delivery threads run */
    snprintf(self, sizeof self, "%ld", (long)getpid());
    tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    while ((task = readdir(tasks)) != NULL) {
        if (*task->d_name == '.' || strcmp(task->d_name, self) == 0) continue;
        CHECK((blocked_signals(task->d_name) & asynchronous) == asynchronous);
        CHECK((blocked_signals(task->d_name) & raised) == 0);
        others++;
    }
    closedir(tasks);
    CHECK(others >= 3); /* one for I/O, two for callbacks */
    CHECK((blocked_signals(self) & asynchronous) == 0); /* the host's own mask is its own */
    for (at = 0; at < 100; at++) CHECK(kill(getpid(), at % 2 ? SIGTERM : SIGINT) == 0);
    CHECK(signals_here > 0 && signals_elsewhere == 0);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static struct gate handler_data = GATE, old_event_data = GATE, new_event_data = GATE;

static void release(void *gate) {
    char name[32];
    CHECK(strcmp(thread_name(name, sizeof name), "svantic-io") != 0);
    CHECK(gate_pass(gate) == 1); /* never twice */
}

static void user_data_is_released_once(void) {
    const char *spec = JSON({"name": "work", "description": "d"});
    svantic_mesh *mesh = create("\"workers\":4");
    CHECK_OK(svantic_define_capability(mesh, spec, answer_ok, &handler_data, release));
    CHECK_STATUS(svantic_define_capability(mesh, spec, answer_ok, &handler_data, release), INVALID_ARGUMENT);
    CHECK_OK(svantic_on_event(mesh, event_alone, &old_event_data, release));
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK(gate_count(&old_event_data) == 0);
    CHECK_OK(svantic_on_event(mesh, event_alone, &new_event_data, release));
    gate_wait(&old_event_data, 1); /* replaced */
    CHECK(gate_count(&new_event_data) == 0);
    CHECK_OK(svantic_on_event(mesh, NULL, NULL, NULL));
    gate_wait(&new_event_data, 1); /* removed */
    CHECK(gate_count(&handler_data) == 0);
    svantic_free(mesh);
    CHECK(gate_count(&handler_data) == 1);
    CHECK_OK(svantic_shutdown(5000));
}

static void user_data_is_released_at_the_end(void) {
    const char *spec = JSON({"name": "work", "description": "d"});
    svantic_mesh *mesh = create("");
    svantic_mesh *pulling = create_pulling();
    CHECK_OK(svantic_define_capability(mesh, spec, answer_ok, &handler_data, release));
    CHECK_OK(svantic_on_event(mesh, event_alone, &old_event_data, release));
    CHECK_OK(svantic_define_capability(pulling, spec, NULL, &new_event_data, release));
    CHECK_OK(svantic_shutdown(5000)); /* frees both, unconnected as they are */
    CHECK(gate_count(&handler_data) == 1 && gate_count(&old_event_data) == 1 && gate_count(&new_event_data) == 1);
}

CASES(CASE(one_worker), CASE(slow_behind_quick), CASE(four_workers), CASE(all_workers_blocked), CASE(wedged),
      CASE(events_in_order), CASE(signals_are_the_hosts), CASE(user_data_is_released_once),
      CASE(user_data_is_released_at_the_end))
