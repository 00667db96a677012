/* An agent behind a server: the program is the server, and hands over what it would have taken in. */
#define _POSIX_C_SOURCE 200809L
#include "mesh.h"

#define POST "{\"method\":\"POST\",\"path\":\"/send\",\"headers\":{\"Content-Type\":\"application/json\"}}"
#define TAG(number) ((void *)(uintptr_t)(number))

/* A call of "work" as the mesh makes it. `method` is message/send or message/stream. */
static const char *call(char room[1024], const char *method, const char *dispatch_id, const char *auth) {
    int length = snprintf(room, 1024,
                          "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":{\"message\":{\"kind\":\"message\","
                          "\"role\":\"user\",\"messageId\":\"m-%s\",\"parts\":[{\"kind\":\"data\",\"data\":{"
                          "\"skill_id\":\"work\",\"args\":{},\"dispatch_id\":\"%s\"%s}}]}}}",
                          method, dispatch_id, dispatch_id, auth);
    CHECK(length > 0 && length < 1024);
    return room;
}

/* The whole response, which the caller frees. */
static char *serve(svantic_mesh *mesh, const char *request, const char *body) {
    char *response = NULL;
    CHECK_OK(svantic_serve(mesh, request, body, strlen(body), 0, &response));
    CHECK(response != NULL);
    return response;
}

static void serves(svantic_mesh *mesh, const char *request, const char *body, const char *status, const char *part) {
    char *response = serve(mesh, request, body);
    CHECK_HOLDS(response, status);
    CHECK_HOLDS(response, part);
    CHECK_HOLDS(response, "\"more\":false}");
    svantic_string_free(response);
}

static svantic_mesh *local(const char *more) {
    char config[512];
    snprintf(config, sizeof config, "\"local\":true%s%s", *more ? "," : "", more);
    return create(config);
}

static void fail_at_once(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)request, (void)length;
    CHECK_OK(svantic_reject(mesh, dispatch_id, NULL, "no hands"));
}

static void whole(void) {
    svantic_mesh *mesh = local("\"default_capability\":\"work\"");
    char room[1024], *card, *again, etag[64], request[256], *refused = NULL;
    define(mesh, "work", answer_ok, mesh);
    define(mesh, "fail", fail_at_once, mesh);

    card = serve(mesh, "{\"method\":\"GET\",\"path\":\"/.well-known/agent-card.json\",\"headers\":{\"host\":\"h:1\"}}", "");
    CHECK_HOLDS(card, "\"status\":200");
    CHECK_HOLDS(card, "\\\"url\\\":\\\"http://h:1/send\\\"");
    CHECK_HOLDS(card, "\\\"id\\\":\\\"work\\\"");
    field_of(card, "etag", etag, sizeof etag);
    CHECK(etag[0] == '\\' && etag[1] == '\0'); /* an escaped quote: the tag stands behind it */
    again = strstr(card, "\"etag\":\"\\\"") + strlen("\"etag\":\"\\\"");
    snprintf(request, sizeof request,
             "{\"method\":\"GET\",\"path\":\"/.well-known/agent-card.json\",\"headers\":{\"host\":\"h:1\","
             "\"if-none-match\":[\"\\\"%.16s\\\"\"]}}",
             again);
    serves(mesh, request, "", "\"status\":304", "\"body\":\"\"");
    define(mesh, "later", answer_ok, mesh);
    serves(mesh, request, "", "\"status\":200", "\\\"id\\\":\\\"later\\\"");
    svantic_string_free(card);

    serves(mesh, POST, call(room, "message/send", "d1", ""), "\"status\":200", "\\\"result\\\":\\\"ok\\\"");
    serves(mesh, POST, call(room, "message/stream", "d2", ""), "text/event-stream", "\"body\":\"data: {");
    serves(mesh, POST,
           JSON({"jsonrpc":"2.0","id":"x","method":"message/send","params":{"message":{"messageId":"m3",
"parts":[{"kind":"data","data":{"capability":"fail","inputs":{}}}]}}}),
           "\"status\":200", "\\\"state\\\":\\\"failed\\\"");
    serves(mesh, POST,
           JSON({"jsonrpc":"2.0","id":"x","method":"message/send","params":{"message":{"messageId":"m4",
"parts":[{"kind":"text","text":"hello"}]}}}),
           "\"status\":200", "\\\"result\\\":\\\"ok\\\"");
    /* The clients of A2A 0.3 take nothing but events for the answer to a stream, also of what is refused; those of 1.0 do. */
    serves(mesh, POST,
           JSON({"jsonrpc":"2.0","id":"x","method":"message/stream","params":{"message":{"messageId":"m5",
"parts":[{"kind":"data","data":{"skill_id":"none"}}]}}}),
           "text/event-stream", "UNKNOWN_SKILL");
    serves(mesh, POST,
           JSON({"jsonrpc":"2.0","id":"x","method":"message/stream","params":{"message":{"messageId":"m6","parts":[]}}}),
           "text/event-stream", "INVALID_DISPATCH");
    serves(mesh, POST,
           JSON({"jsonrpc":"2.0","id":"x","method":"SendStreamingMessage","params":{"message":{"messageId":"m7",
"parts":[{"data":{"skill_id":"none"}}]}}}),
           "application/json", "UNKNOWN_SKILL");
    serves(mesh, POST, "{", "\"status\":200", "-32700");
    serves(mesh, POST, "\xff", "\"status\":200", "-32700");
    serves(mesh, POST, "", "\"status\":200", "-32700");
    serves(mesh, "{\"method\":\"GET\",\"path\":\"/send\"}", "", "\"status\":405", "\"allow\":\"POST\"");
    serves(mesh, "{\"method\":\"POST\",\"path\":\"/\"}", "", "\"status\":404", "");
    serves(mesh, "{\"method\":\"POST\",\"path\":\"/send\"}", "{}", "\"status\":415", "");

    CHECK_STATUS(svantic_connect(mesh, 0), INVALID_STATE);
    CHECK_STATUS(svantic_serve(mesh, NULL, NULL, 0, 0, &refused), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, "[]", NULL, 0, 0, &refused), INVALID_JSON);
    CHECK_STATUS(svantic_serve(mesh, "{\"method\":\"GET\"}", NULL, 0, 0, &refused), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, "{\"method\":\"G T\",\"path\":\"/\"}", NULL, 0, 0, &refused), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, "{\"method\":\"GET\",\"path\":\"/\",\"headers\":[]}", NULL, 0, 0, &refused),
                 INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, "{\"method\":\"GET\",\"path\":\"/\",\"headers\":{\"a\":7}}", NULL, 0, 0, &refused),
                 INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, "{\"method\":\"GET\",\"path\":\"/\",\"body\":\"\"}", NULL, 0, 0, &refused),
                 INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, POST, NULL, 1, 0, &refused), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, POST, "x", (size_t)-1, 0, &refused), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve(mesh, POST, "", 0, 0, NULL), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_serve_async(mesh, POST, "", 0, NULL, NULL), INVALID_ARGUMENT);
    CHECK(refused == NULL);

    CHECK_OK(svantic_disconnect(mesh, 0));
    serves(mesh, POST, call(room, "message/send", "d9", ""), "\"status\":503", "AGENT_SHUTDOWN");
    svantic_free(mesh);
    mesh = create("");
    CHECK_STATUS(svantic_serve(mesh, POST, "{}", 2, 0, &refused), INVALID_STATE);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* What came of one request. */
struct taken {
    struct gate parts, last;
    char text[4][2048];
};

static void take(void *data, const char *response) {
    struct taken *taken = data;
    long at = gate_count(&taken->parts);
    CHECK(at < 4 && gate_count(&taken->last) == 0);
    CHECK((size_t)snprintf(taken->text[at], sizeof taken->text[at], "%s", response) < sizeof taken->text[at]);
    gate_pass(&taken->parts);
    if (strstr(response, "\"more\":false}") != NULL) gate_pass(&taken->last);
}

static struct gate started = GATE;
static char running[4][160];

static void answer_later(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    (void)user_data, (void)request, (void)length;
    snprintf(running[gate_count(&started)], sizeof running[0], "%s", dispatch_id);
    gate_pass(&started);
}

static void parts(void) {
    static struct taken stream = {GATE, GATE, {""}}, retry = {GATE, GATE, {""}}, gone = {GATE, GATE, {""}};
    svantic_mesh *mesh = local("");
    char room[1024];
    define(mesh, "work", answer_later, NULL);
    call(room, "message/stream", "d1", "");
    CHECK_OK(svantic_serve_async(mesh, POST, room, strlen(room), take, &stream));
    gate_wait(&stream.parts, 1);
    CHECK_HOLDS(stream.text[0], "text/event-stream");
    CHECK_HOLDS(stream.text[0], "\"body\":\"\",\"more\":true}");
    gate_wait(&started, 1);
    CHECK_SAME(running[0], "d1");
    CHECK_STATUS(svantic_cancel(mesh, TAG(7)), NOT_FOUND);

    /* Whoever hangs up cancels nothing, and whoever asks again waits for the same answer. */
    call(room, "message/send", "d1", "");
    CHECK_OK(svantic_serve_async(mesh, POST, room, strlen(room), take, &gone));
    CHECK_OK(svantic_serve_async(mesh, POST, room, strlen(room), take, &retry));
    CHECK_OK(svantic_cancel(mesh, &gone));
    gate_wait(&gone.last, 1);
    CHECK_SAME(gone.text[0], "{\"cancelled\":true,\"more\":false}");
    CHECK_STATUS(svantic_cancel(mesh, &gone), NOT_FOUND);
    CHECK_OK(svantic_resolve(mesh, "d1", "[1]"));
    gate_wait(&stream.last, 1);
    gate_wait(&retry.last, 1);
    CHECK_HOLDS(stream.text[1], "{\"body\":\"data: {");
    CHECK_HOLDS(stream.text[1], "\\\"result\\\":[1]");
    CHECK_HOLDS(retry.text[0], "\"status\":200");
    CHECK_HOLDS(retry.text[0], "\\\"result\\\":[1]");
    serves(mesh, POST, room, "\"status\":200", "\\\"result\\\":[1]");
    CHECK(gate_count(&started) == 1);
    svantic_free(mesh);
    CHECK(gate_count(&gone.last) == 1 && gate_count(&stream.last) == 1 && gate_count(&retry.last) == 1);
    CHECK_OK(svantic_shutdown(5000));
}

/* Freeing the agent answers everybody who waits. */
static void freed(void) {
    static struct taken send = {GATE, GATE, {""}}, stream = {GATE, GATE, {""}};
    svantic_mesh *mesh = local("");
    char room[1024];
    define(mesh, "work", answer_later, NULL);
    call(room, "message/send", "d1", "");
    CHECK_OK(svantic_serve_async(mesh, POST, room, strlen(room), take, &send));
    call(room, "message/stream", "d2", "");
    CHECK_OK(svantic_serve_async(mesh, POST, room, strlen(room), take, &stream));
    gate_wait(&started, 2);
    gate_wait(&stream.parts, 1);
    svantic_free(mesh);
    CHECK(gate_count(&send.last) == 1 && gate_count(&stream.last) == 1);
    CHECK_HOLDS(send.text[0], "\"status\":503");
    CHECK_HOLDS(send.text[0], "\"retry-after\":\"1\"");
    CHECK_HOLDS(stream.text[1], "AGENT_SHUTDOWN");
    CHECK_OK(svantic_shutdown(5000));
}

static struct gate refusal = GATE;

static void serve_inside(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    char *response = NULL;
    (void)request, (void)length;
    CHECK_STATUS(svantic_serve(mesh, POST, "{}", 2, 0, &response), WOULD_DEADLOCK);
    CHECK(response == NULL);
    gate_pass(&refusal);
    CHECK_OK(svantic_resolve(mesh, dispatch_id, "1"));
}

static void inside_a_handler(void) {
    svantic_mesh *mesh = local("");
    char room[1024];
    define(mesh, "work", serve_inside, mesh);
    serves(mesh, POST, call(room, "message/send", "d1", ""), "\"status\":200", "\\\"result\\\":1");
    CHECK(gate_count(&refusal) == 1);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void pulled(void) {
    svantic_mesh *mesh = local("\"delivery\":\"pull\"");
    char room[1024], *item, id[160];
    define(mesh, "work", NULL, NULL);
    call(room, "message/send", "d1", "");
    CHECK_STATUS(svantic_serve_async(mesh, POST, room, strlen(room), take, TAG(7)), INVALID_ARGUMENT);
    CHECK_OK(svantic_serve_async(mesh, POST, room, strlen(room), NULL, TAG(7)));
    CHECK_OK(svantic_serve_async(mesh, "{\"method\":\"POST\",\"path\":\"/x\"}", NULL, 0, NULL, TAG(8)));
    item = next_of_type(mesh, "response");
    CHECK_HOLDS(item, "{\"type\":\"response\",\"tag\":8,\"status\":404,\"headers\":{");
    svantic_string_free(item);
    item = next_of_type(mesh, "dispatch");
    CHECK_OK(svantic_resolve(mesh, field_of(item, "dispatch_id", id, sizeof id), "\"pulled\""));
    svantic_string_free(item);
    item = next_of_type(mesh, "response");
    CHECK_HOLDS(item, "{\"type\":\"response\",\"tag\":7,\"status\":200,\"headers\":{");
    CHECK_HOLDS(item, "\\\"result\\\":\\\"pulled\\\"");
    svantic_string_free(item);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void guarded(void) {
    svantic_mesh *mesh = local("\"shared_secret\":\"hush-hush-hush\",\"dispatch_auth\":{\"scheme\":\"shared_secret\",\"required\":true}");
    char room[1024], *one, *two, *snapshot = NULL;
    define(mesh, "work", answer_ok, mesh);
    one = serve(mesh, POST, call(room, "message/send", "d1", ""));
    two = serve(mesh, POST, call(room, "message/send", "d2", ",\"svantic_auth\":{\"scheme\":\"shared_secret\",\"token\":\"hush\"}"));
    CHECK_HOLDS(one, "{\"status\":401,");
    CHECK_SAME(one, two);
    svantic_string_free(one), svantic_string_free(two);
    call(room, "message/send", "d1", ",\"svantic_auth\":{\"scheme\":\"shared_secret\",\"token\":\"hush-hush-hush\"}");
    serves(mesh, POST, room, "\"status\":200", "\\\"result\\\":\\\"ok\\\"");
    CHECK_OK(svantic_get_snapshot(mesh, &snapshot));
    CHECK_HOLDS(snapshot, "\"dispatch_auth_refused\":{\"missing_envelope\":1,\"secret_mismatch\":1}");
    svantic_string_free(snapshot);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

#define CALLERS 8
#define CALLS 200

static void *call_often(void *data) {
    svantic_mesh *mesh = *(svantic_mesh **)data;
    char room[1024], id[64];
    for (int n = 0; n < CALLS; n++) {
        snprintf(id, sizeof id, "%p-%d", data, n);
        serves(mesh, POST, call(room, "message/send", id, ""), "\"status\":200", "\\\"result\\\":\\\"ok\\\"");
    }
    return NULL;
}

/* Servers call from as many threads as they like, and all of these want the same lock. */
static void from_many_threads(void) {
    svantic_mesh *mesh = local(""), *of_caller[CALLERS];
    pthread_t callers[CALLERS];
    define(mesh, "work", answer_ok, mesh);
    for (int n = 0; n < CALLERS; n++) {
        of_caller[n] = mesh;
        CHECK(pthread_create(&callers[n], NULL, call_often, &of_caller[n]) == 0);
    }
    for (int n = 0; n < CALLERS; n++) CHECK(pthread_join(callers[n], NULL) == 0);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(whole), CASE(parts), CASE(freed), CASE(inside_a_handler), CASE(pulled), CASE(guarded), CASE(from_many_threads))
