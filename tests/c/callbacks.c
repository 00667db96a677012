/* Dispatches by callbacks, and every way to answer them. The test sends; its ledger has the last word. */
#define _POSIX_C_SOURCE 200809L
#include "mesh.h"

#define MAX_IDS 64

static svantic_mesh *agent; /* for handlers that want more than one thing */

/* Handlers that have returned, where it matters: the test knows of their answers only. */
static struct gate handled = GATE;

/* Ids that handlers left for later. */
static struct gate kept = GATE;
static char kept_ids[MAX_IDS][160];

static void keep(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    char key[200];
    (void)user_data;
    CHECK(strlen(request) == length);
    snprintf(key, sizeof key, "\"dispatch_id\":\"%s\"", dispatch_id);
    CHECK_HOLDS(request, key);
    pthread_mutex_lock(&kept.mutex);
    CHECK(kept.count < MAX_IDS);
    snprintf(kept_ids[kept.count], sizeof *kept_ids, "%s", dispatch_id);
    pthread_mutex_unlock(&kept.mutex);
    gate_pass(&kept);
}

static void leave(svantic_mesh *mesh) {
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void answer_in_the_handler(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "echo", answer_ok, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    leave(mesh);
}

static void *answer_kept(void *mesh) {
    gate_wait(&kept, 1);
    CHECK_OK(svantic_resolve(mesh, kept_ids[0], JSON({"answered": "later"})));
    return NULL;
}

static void answer_later_from_another_thread(void) {
    svantic_mesh *mesh = create("");
    pthread_t thread;
    define(mesh, "later", keep, NULL);
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK(pthread_create(&thread, NULL, answer_kept, mesh) == 0);
    tell("connected");
    CHECK(pthread_join(thread, NULL) == 0);
    leave(mesh);
}

static void answer_twice(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)request, (void)length;
    CHECK_STATUS(svantic_resolve(mesh, dispatch_id, NULL), INVALID_ARGUMENT); /* that is no answer */
    CHECK_STATUS(svantic_reject(mesh, dispatch_id, "", "no"), INVALID_ARGUMENT);
    CHECK_OK(svantic_resolve(mesh, dispatch_id, "1"));
    CHECK_STATUS(svantic_resolve(mesh, dispatch_id, "2"), NOT_FOUND);
    CHECK_HOLDS(svantic_last_error(), "answered");
    CHECK_STATUS(svantic_reject(mesh, dispatch_id, NULL, "three"), NOT_FOUND);
    CHECK_STATUS(svantic_resolve(mesh, "no-such-dispatch", "1"), NOT_FOUND);
    gate_pass(&handled);
}

static void answered_twice(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "twice", answer_twice, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&handled, 1);
    leave(mesh);
}

static struct gate cancelled = GATE;
static char cancelled_id[160];

static void watch_cancelled(void *user_data, int32_t event, const char *json, size_t length) {
    (void)user_data, (void)length;
    if (event != SVANTIC_EVENT_DISPATCH_CANCELLED) return;
    CHECK_HOLDS(json, "\"reason\":\"deadline\"");
    field_of(json, "dispatch_id", cancelled_id, sizeof cancelled_id);
    gate_pass(&cancelled);
}

static void never_answered(void) {
    svantic_mesh *mesh = create("\"dispatch_timeout_ms\":200");
    CHECK_OK(svantic_on_event(mesh, watch_cancelled, NULL, NULL));
    define(mesh, "never", keep, NULL);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&cancelled, 1);
    CHECK_SAME(cancelled_id, kept_ids[0]);
    CHECK_STATUS(svantic_resolve(mesh, cancelled_id, "\"too late\""), NOT_FOUND);
    CHECK_STATUS(svantic_reject(mesh, cancelled_id, NULL, "too late"), NOT_FOUND);
    leave(mesh);
    CHECK(gate_count(&cancelled) == 1);
}

static void answer_badly(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    static const char *const broken[] = {"{\"a\":", "", "{} {}", "nul", "\"\x01\"", "NaN", "'x'", "\"\xff\xfe\"",
                                         "\"\\ud83d\"", "1e999", "{\"a\":[0,-1E400]}"};
    const char *which = strstr(request, "\"which\":");
    (void)length;
    CHECK(which != NULL);
    CHECK_STATUS(svantic_resolve(mesh, dispatch_id, broken[atoi(which + strlen("\"which\":"))]), INVALID_JSON);
    CHECK_STATUS(svantic_resolve(mesh, dispatch_id, "1"), NOT_FOUND); /* the mesh has been told */
    gate_pass(&handled);
}

static void broken_results(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "broken", answer_badly, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&handled, 11);
    leave(mesh);
}

static void answer_hugely(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    enum { SIZE = 100 << 20 };
    char *result = malloc(SIZE + 1);
    (void)request, (void)length;
    CHECK(result != NULL);
    memset(result, 'x', SIZE);
    result[0] = result[SIZE - 1] = '"';
    result[SIZE] = '\0';
    CHECK_STATUS(svantic_resolve(mesh, dispatch_id, result), INVALID_ARGUMENT);
    CHECK_HOLDS(svantic_last_error(), "max_frame_bytes");
    free(result);
}

static void huge_result(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "huge", answer_hugely, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    leave(mesh);
}

/* JSON in name, but nothing that a parser takes. */
static void answer_deeply(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    enum { DEPTH = 100000 };
    char *result = malloc(2 * DEPTH + 1);
    (void)length;
    CHECK(result != NULL);
    memset(result, '[', DEPTH);
    memset(result + DEPTH, ']', DEPTH);
    result[2 * DEPTH] = '\0';
    if (strstr(request, "\"levels\":64")) memmove(result + 64, result + 2 * DEPTH - 64, 65);
    CHECK(svantic_resolve(mesh, dispatch_id, result) ==
          (strlen(result) == 128 ? SVANTIC_STATUS_OK : SVANTIC_STATUS_INVALID_JSON));
    free(result);
}

static void deep_result(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "deep", answer_deeply, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    leave(mesh);
}

static void reject_as_told(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)length;
    if (strstr(request, "\"named\":true"))
        CHECK_OK(svantic_reject(mesh, dispatch_id, "OUT_OF_STOCK", "none \"left\" \xe2\x82\xac"));
    else
        CHECK_OK(svantic_reject(mesh, dispatch_id, NULL, "it broke"));
}

static void rejections(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "fail", reject_as_told, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    leave(mesh);
}

/* Answers with its arguments, byte for byte. */
static void answer_with_arguments(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    const char *args = strstr(request, "\"args\":"), *at;
    char *result;
    int depth = 0, quoted = 0;
    (void)length;
    CHECK(args != NULL);
    args += strlen("\"args\":");
    for (at = args; depth > 0 || at == args; at++) {
        if (*at == '"' && at[-1] != '\\') quoted = !quoted;
        if (!quoted && (*at == '{' || *at == '[')) depth++;
        if (!quoted && (*at == '}' || *at == ']')) depth--;
    }
    result = malloc((size_t)(at - args) + 1);
    CHECK(result != NULL);
    memcpy(result, args, (size_t)(at - args));
    result[at - args] = '\0';
    CHECK_OK(svantic_resolve(mesh, dispatch_id, result));
    free(result);
}

static void answer_kind(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    static const char *const kinds[] = {"null", "true", " false ", "-1.5e3", "\"\\u00e9 \xf0\x9f\xa6\x80 \\\" \\\\ \\u0000\"",
                                        "[]", "[1,[2,{\"a\":3}]]", "{}", "\n{\"nested\" : {\"deep\":[null]}}\t"};
    const char *which = strstr(request, "\"which\":");
    (void)length;
    CHECK(which != NULL);
    CHECK_OK(svantic_resolve(mesh, dispatch_id, kinds[atoi(which + strlen("\"which\":"))]));
}

static void every_kind_of_result(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "kind", answer_kind, mesh);
    define(mesh, "mirror", answer_with_arguments, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    leave(mesh);
}

static void answer_and_count(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    answer_ok(mesh, dispatch_id, request, length);
    gate_pass(&handled);
}

static void ten_thousand(void) {
    agent = create("\"max_pending_dispatches\":20000");
    define(agent, "many", answer_and_count, agent);
    CHECK_OK(svantic_connect(agent, 0));
    tell("connected");
    leave(agent);
    CHECK(gate_count(&handled) == 10000); /* all returned: free has waited for them */
}

static struct gate draining = GATE;

static void watch_draining(void *user_data, int32_t event, const char *json, size_t length) {
    (void)user_data, (void)length;
    if (event != SVANTIC_EVENT_DRAINING) return;
    CHECK_HOLDS(json, "\"in_flight\":1");
    gate_pass(&draining);
}

static void *disconnect_thread(void *mesh) {
    CHECK_OK(svantic_disconnect(mesh, 0));
    return NULL;
}

static void disconnect_drains(void) {
    svantic_mesh *mesh = create("");
    pthread_t thread;
    CHECK_OK(svantic_on_event(mesh, watch_draining, NULL, NULL));
    define(mesh, "slow", keep, NULL);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&kept, 1);
    CHECK(pthread_create(&thread, NULL, disconnect_thread, mesh) == 0);
    gate_wait(&draining, 1);
    CHECK(state_of(mesh) == SVANTIC_STATE_DRAINING);
    tell("draining");
    await_line("answer");
    CHECK_OK(svantic_resolve(mesh, kept_ids[0], "\"finished\""));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void disconnect_gives_up(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "slow", keep, NULL);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&kept, 1);
    CHECK_OK(svantic_disconnect(mesh, 50)); /* the drain's end is a normal end */
    CHECK_STATUS(svantic_resolve(mesh, kept_ids[0], "1"), NOT_FOUND);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void free_answers_what_runs(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "slow", keep, NULL);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&kept, 1);
    if (getenv("CHECK_BY_SHUTDOWN"))
        CHECK_OK(svantic_shutdown(5000));
    else
        svantic_free(mesh);
    CHECK_STATUS(svantic_resolve(mesh, kept_ids[0], "1"), INVALID_HANDLE);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(answer_in_the_handler), CASE(answer_later_from_another_thread), CASE(answered_twice), CASE(never_answered),
      CASE(broken_results), CASE(huge_result), CASE(deep_result), CASE(rejections), CASE(every_kind_of_result), CASE(ten_thousand),
      CASE(disconnect_drains), CASE(disconnect_gives_up), CASE(free_answers_what_runs))
