/* The _async twins: each ends exactly once, in its callback or as an item with its tag. */
#define _POSIX_C_SOURCE 200809L
#include "every_function.h"
#include "mesh.h"

/* What a done callback was told. */
struct outcome {
    struct gate done;
    int32_t status;
    char json[1024];
};

#define OUTCOME {GATE, -1, ""}

static void keep_outcome(void *user_data, int32_t status, const char *json, size_t length) {
    struct outcome *outcome = user_data;
    CHECK(strlen(json) == length && length < sizeof outcome->json);
    outcome->status = status;
    strcpy(outcome->json, json);
    gate_pass(&outcome->done);
}

static void check_outcome(struct outcome *outcome, svantic_status expected, const char *part) {
    gate_wait(&outcome->done, 1);
    if (outcome->status != expected) FAIL("%s: %s", svantic_status_name(outcome->status), outcome->json);
    CHECK_HOLDS(outcome->json, part);
}

static void callbacks_of_every_operation(void) {
    static struct outcome connect = OUTCOME, again = OUTCOME, refresh = OUTCOME, supply = OUTCOME, register_ = OUTCOME,
                          open = OUTCOME, close = OUTCOME, close_unknown = OUTCOME, disconnect = OUTCOME, late = OUTCOME;
    svantic_mesh *mesh = create("");
    char session_id[128];
    CHECK_OK(svantic_connect_async(mesh, 0, keep_outcome, &connect));
    check_outcome(&connect, SVANTIC_STATUS_OK, "null");
    CHECK_OK(svantic_connect_async(mesh, 0, keep_outcome, &again));
    check_outcome(&again, SVANTIC_STATUS_INVALID_STATE, "\"code\":\"ALREADY_CONNECTED\"");
    CHECK_HOLDS(again.json, "\"status\":4");
    CHECK_HOLDS(again.json, "\"hint\":");
    CHECK_OK(svantic_refresh_token_async(mesh, NULL, 0, keep_outcome, &refresh));
    check_outcome(&refresh, SVANTIC_STATUS_OK, "null");
    CHECK_OK(svantic_refresh_token_async(mesh, getenv("CHECK_TOKEN"), 0, keep_outcome, &supply));
    check_outcome(&supply, SVANTIC_STATUS_OK, "null");
    CHECK_OK(svantic_re_register_async(mesh, 0, keep_outcome, &register_));
    check_outcome(&register_, SVANTIC_STATUS_OK, "null");
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, keep_outcome, &open));
    check_outcome(&open, SVANTIC_STATUS_OK, "\"session_id\":\"");
    field_of(open.json, "session_id", session_id, sizeof session_id);
    CHECK_OK(svantic_close_session_async(mesh, session_id, 0, keep_outcome, &close));
    check_outcome(&close, SVANTIC_STATUS_OK, "null");
    CHECK_OK(svantic_close_session_async(mesh, "no-such-session", 0, keep_outcome, &close_unknown));
    check_outcome(&close_unknown, SVANTIC_STATUS_NOT_FOUND, "\"retryable\":false");
    CHECK_OK(svantic_re_register_async(mesh, 0, NULL, NULL)); /* nobody asks how that ends */
    CHECK_OK(svantic_disconnect_async(mesh, 0, keep_outcome, &disconnect));
    check_outcome(&disconnect, SVANTIC_STATUS_OK, "null");
    CHECK_OK(svantic_connect_async(mesh, 0, keep_outcome, &late)); /* begun, and ended at once */
    check_outcome(&late, SVANTIC_STATUS_INVALID_STATE, "closed");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
    CHECK(connect.done.count == 1 && again.done.count == 1 && refresh.done.count == 1 && supply.done.count == 1 &&
          register_.done.count == 1 && open.done.count == 1 && close.done.count == 1 && close_unknown.done.count == 1 &&
          disconnect.done.count == 1 && late.done.count == 1);
}

static void free_cancels(void) {
    enum { SESSIONS = 20 };
    static struct outcome outcomes[SESSIONS];
    static struct outcome connect = OUTCOME;
    svantic_mesh *mesh = create("");
    int at;
    CHECK_OK(svantic_connect(mesh, 0));
    for (at = 0; at < SESSIONS; at++) {
        const struct outcome fresh = OUTCOME;
        outcomes[at] = fresh;
        CHECK_OK(svantic_create_session_async(mesh, NULL, 0, keep_outcome, &outcomes[at]));
    }
    tell("asked"); /* the mesh keeps silent about them */
    await_line("free");
    svantic_free(mesh);
    for (at = 0; at < SESSIONS; at++) {
        CHECK(outcomes[at].done.count == 1); /* when free returns they have all been called */
        check_outcome(&outcomes[at], SVANTIC_STATUS_CANCELLED, "\"code\":\"CANCELLED\"");
    }
    mesh = create("");
    CHECK_OK(svantic_connect_async(mesh, 0, keep_outcome, &connect));
    svantic_free(mesh);
    CHECK(connect.done.count == 1);
    CHECK(connect.status == SVANTIC_STATUS_CANCELLED || connect.status == SVANTIC_STATUS_OK);
    CHECK_OK(svantic_shutdown(5000));
}

static void *connect_blocking(void *mesh) {
    CHECK_STATUS(svantic_connect(mesh, 0), CANCELLED);
    return NULL;
}

static void free_ends_a_blocking_call(void) {
    svantic_mesh *mesh = create("");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, connect_blocking, mesh) == 0);
    await_line("free"); /* the mesh has read the registration, and keeps silent */
    svantic_free(mesh);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_OK(svantic_shutdown(5000));
}

static void shutdown_cancels(void) {
    static struct outcome connect = OUTCOME;
    svantic_mesh *mesh = create("");
    CHECK_OK(svantic_connect_async(mesh, 0, keep_outcome, &connect));
    await_line("shut down"); /* the mesh has read the registration, and keeps silent */
    (void)svantic_shutdown(0);
    CHECK_OK(svantic_shutdown(5000));
    check_outcome(&connect, SVANTIC_STATUS_CANCELLED, "CANCELLED");
    CHECK(connect.done.count == 1);
}

static struct gate ended = GATE;

static void count_end(void *user_data, int32_t status, const char *json, size_t length) {
    (void)user_data, (void)json, (void)length;
    CHECK(status != SVANTIC_STATUS_OK);
    gate_pass(&ended);
}

/* The I/O thread may be told to end before it has looked at the connector for the first time. */
static void shutdown_at_the_start(void) {
    int round;
    for (round = 0; round < 100; round++) {
        svantic_mesh *mesh = create("");
        CHECK_OK(svantic_connect_async(mesh, 0, count_end, NULL));
        (void)svantic_shutdown(0);
        gate_wait(&ended, round + 1);
    }
    CHECK_OK(svantic_shutdown(5000));
    CHECK(gate_count(&ended) == 100);
}

/* Every operation as an item; user_data comes back as the tag. */
static void expect_done(svantic_mesh *mesh, uintptr_t tag, const char *part) {
    char start[64];
    char *item = next_of_type(mesh, "done");
    snprintf(start, sizeof start, "{\"type\":\"done\",\"tag\":%lu,", (unsigned long)tag);
    if (strncmp(item, start, strlen(start)) != 0) FAIL("%s does not start with %s", item, start);
    CHECK_HOLDS(item, part);
    svantic_string_free(item);
}

#define TAG(number) ((void *)(uintptr_t)(number))

static void items_of_every_operation(void) {
    svantic_mesh *mesh = create_pulling();
    char *item;
    char session_id[128];
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, NULL, TAG(1)));
    expect_done(mesh, 1, "\"status\":4,\"error\":{");
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(UINTPTR_MAX)));
    expect_done(mesh, UINTPTR_MAX, "\"status\":0,\"result\":null}");
    CHECK_OK(svantic_refresh_token_async(mesh, NULL, 0, NULL, TAG(2)));
    expect_done(mesh, 2, "\"status\":0,");
    CHECK_OK(svantic_re_register_async(mesh, 0, NULL, TAG(3)));
    expect_done(mesh, 3, "\"status\":0,");
    CHECK_OK(svantic_create_session_async(mesh, "{}", 0, NULL, TAG(4)));
    item = next_of_type(mesh, "done");
    CHECK_HOLDS(item, "\"tag\":4,");
    field_of(item, "session_id", session_id, sizeof session_id);
    svantic_string_free(item);
    CHECK_OK(svantic_close_session_async(mesh, session_id, 0, NULL, NULL));
    expect_done(mesh, 0, "\"status\":0,");
    CHECK_OK(svantic_close_session_async(mesh, "no-such-session", 0, NULL, TAG(5)));
    expect_done(mesh, 5, "\"status\":7,\"error\":{");
    CHECK_OK(svantic_disconnect_async(mesh, 0, NULL, TAG(6)));
    expect_done(mesh, 6, "\"status\":0,");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* The mesh reads registrations and opened sessions, and keeps silent about them. */
static void cancel_ends_callbacks(void) {
    static struct outcome connect = OUTCOME, again = OUTCOME, open = OUTCOME, other = OUTCOME, register_ = OUTCOME;
    svantic_mesh *mesh = create("");
    CHECK_STATUS(svantic_cancel(mesh, &connect), NOT_FOUND);
    CHECK_HOLDS(svantic_last_error(), "[NOT_PENDING]");
    CHECK_OK(svantic_connect_async(mesh, 0, keep_outcome, &connect));
    await_line("cancel connect");
    CHECK_STATUS(svantic_cancel(mesh, NULL), NOT_FOUND); /* which is another one's */
    CHECK_OK(svantic_cancel(mesh, &connect));
    CHECK_STATUS(svantic_cancel(mesh, &connect), NOT_FOUND);
    check_outcome(&connect, SVANTIC_STATUS_CANCELLED, "connect was cancelled");
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    tell("cancelled");
    await_line("connect");
    CHECK_OK(svantic_connect_async(mesh, 0, keep_outcome, &again));
    check_outcome(&again, SVANTIC_STATUS_OK, "null");
    CHECK_STATUS(svantic_cancel(mesh, &again), NOT_FOUND); /* it has ended */
    tell("connected");
    await_line("cancel the rest");
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, keep_outcome, &open));
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, keep_outcome, &other));
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, count_end, NULL));
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, NULL, NULL));
    CHECK_OK(svantic_cancel(mesh, &open));
    CHECK_OK(svantic_cancel(mesh, NULL));
    CHECK_STATUS(svantic_cancel(mesh, NULL), NOT_FOUND);
    check_outcome(&open, SVANTIC_STATUS_CANCELLED, "\"code\":\"CANCELLED\"");
    gate_wait(&ended, 1);
    tell("cancelled");
    await_line("cancel an announcement");
    CHECK_OK(svantic_re_register_async(mesh, 0, keep_outcome, &register_));
    CHECK_OK(svantic_cancel(mesh, &register_));
    check_outcome(&register_, SVANTIC_STATUS_CANCELLED, "re_register was cancelled");
    CHECK(other.done.count == 0 && state_of(mesh) == SVANTIC_STATE_CONNECTED);
    svantic_free(mesh);
    CHECK_STATUS(svantic_cancel(mesh, &other), INVALID_HANDLE);
    CHECK(connect.done.count == 1 && again.done.count == 1 && open.done.count == 1 && other.done.count == 1 &&
          register_.done.count == 1 && gate_count(&ended) == 1);
    CHECK_OK(svantic_shutdown(5000));
}

/* From another thread and inside completions: whoever wins, each completion comes once. */
static void *cancel_a_lot(void *mesh) {
    int round;
    for (round = 0; round < 2000; round++) (void)svantic_cancel(mesh, TAG(7));
    return NULL;
}

static struct gate raced = GATE;
static svantic_mesh *raced_mesh;

static void count_any_end(void *user_data, int32_t status, const char *json, size_t length) {
    (void)json, (void)length;
    CHECK(user_data == TAG(7));
    CHECK(status == SVANTIC_STATUS_OK || status == SVANTIC_STATUS_CANCELLED);
    (void)svantic_cancel(raced_mesh, TAG(7));
    gate_pass(&raced);
}

static void cancel_races_with_the_outcome(void) {
    enum { ROUNDS = 200 };
    svantic_mesh *mesh = create("");
    pthread_t thread;
    int round;
    raced_mesh = mesh;
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK(pthread_create(&thread, NULL, cancel_a_lot, mesh) == 0);
    for (round = 0; round < ROUNDS; round++) {
        CHECK_OK(svantic_create_session_async(mesh, NULL, 0, count_any_end, TAG(7)));
        CHECK_OK(svantic_refresh_token_async(mesh, NULL, 0, count_any_end, TAG(7)));
        gate_wait(&raced, 2 * (round + 1));
    }
    CHECK(pthread_join(thread, NULL) == 0);
    svantic_free(mesh);
    CHECK(gate_count(&raced) == 2 * ROUNDS);
    CHECK_OK(svantic_shutdown(5000));
}

static void cancel_ends_items(void) {
    svantic_mesh *mesh = create_pulling();
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(8)));
    await_line("cancel connect");
    CHECK_STATUS(svantic_cancel(mesh, TAG(9)), NOT_FOUND);
    CHECK_OK(svantic_cancel(mesh, TAG(8)));
    expect_done(mesh, 8, "\"status\":21,\"error\":{\"code\":\"CANCELLED\"");
    tell("cancelled");
    await_line("connect");
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, NULL));
    expect_done(mesh, 0, "\"status\":0,");
    tell("connected");
    await_line("cancel the rest");
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, NULL, TAG(9)));
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, NULL, TAG(9)));
    CHECK_OK(svantic_create_session_async(mesh, NULL, 0, NULL, NULL));
    CHECK_OK(svantic_cancel(mesh, NULL)); /* a tag of 0 */
    expect_done(mesh, 0, "\"status\":21,");
    CHECK_OK(svantic_cancel(mesh, TAG(9))); /* all that have it */
    expect_done(mesh, 9, "\"status\":21,");
    expect_done(mesh, 9, "\"status\":21,");
    CHECK_STATUS(svantic_cancel(mesh, TAG(9)), NOT_FOUND);
    tell("cancelled");
    await_line("cancel an announcement");
    CHECK_OK(svantic_re_register_async(mesh, 0, NULL, TAG(10)));
    CHECK_OK(svantic_cancel(mesh, TAG(10)));
    expect_done(mesh, 10, "re_register was cancelled");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(callbacks_of_every_operation), CASE(free_cancels), CASE(free_ends_a_blocking_call),
      CASE(shutdown_cancels), CASE(shutdown_at_the_start), CASE(items_of_every_operation), CASE(cancel_ends_callbacks),
      CASE(cancel_races_with_the_outcome), CASE(cancel_ends_items))
