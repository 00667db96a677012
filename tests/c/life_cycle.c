/* From create to shutdown: every operation, in and out of order, and what the properties say meanwhile. */
#define _POSIX_C_SOURCE 200809L
#include "mesh.h"

#define CHECK_PROPERTY(getter, mesh, expected)   \
    do {                                         \
        char *value_ = NULL;                     \
        CHECK_OK(getter(mesh, &value_));         \
        CHECK_SAME(value_, expected);            \
        svantic_string_free(value_);             \
    } while (0)

/* The JSON that a getter writes holds the part. */
#define CHECK_DOCUMENT(getter, mesh, part)       \
    do {                                         \
        char *value_ = NULL;                     \
        CHECK_OK(getter(mesh, &value_));         \
        CHECK_HOLDS(value_, part);               \
        svantic_string_free(value_);             \
    } while (0)

static bool connected(svantic_mesh *mesh) {
    bool connected;
    CHECK_OK(svantic_get_connected(mesh, &connected));
    return connected;
}

static void created_and_freed(void) {
    svantic_free(create(""));
    svantic_free(create_pulling());
    CHECK_OK(svantic_shutdown(0));
    CHECK_OK(svantic_shutdown(0));
}

static void full_circle(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "echo", answer_ok, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);
    tell("connected");
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void connect_twice(void) {
    svantic_mesh *mesh = create("");
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_STATUS(svantic_connect(mesh, 0), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "already connected");
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);
    CHECK_OK(svantic_disconnect(mesh, 0));
    CHECK_STATUS(svantic_connect(mesh, 0), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "closed");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void disconnect_unconnected(void) {
    svantic_mesh *mesh = create("");
    CHECK_OK(svantic_network_changed(mesh)); /* which means nothing before connect, and nothing after the end */
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    CHECK_OK(svantic_disconnect(mesh, 0));
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED);
    CHECK_OK(svantic_network_changed(mesh));
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED);
    CHECK_STATUS(svantic_disconnect(mesh, 0), INVALID_STATE);
    CHECK_STATUS(svantic_connect(mesh, 0), INVALID_STATE);
    CHECK_STATUS(svantic_define_capability(mesh, JSON({"name": "late", "description": "d"}), answer_ok, NULL, NULL),
                 INVALID_STATE);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void before_connect(void) {
    svantic_mesh *mesh = create("");
    char *text = NULL;
    CHECK_STATUS(svantic_create_session(mesh, NULL, 0, &text), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "call connect first");
    CHECK_STATUS(svantic_close_session(mesh, "s", 0), INVALID_STATE);
    CHECK_STATUS(svantic_re_register(mesh, 0), INVALID_STATE);
    CHECK_STATUS(svantic_resolve(mesh, "d", "1"), NOT_FOUND);
    CHECK_STATUS(svantic_reject(mesh, "d", NULL, "no"), NOT_FOUND);
    CHECK(text == NULL);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void after_disconnect(void) {
    svantic_mesh *mesh = create("");
    char *text = NULL;
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_disconnect(mesh, 0));
    CHECK_STATUS(svantic_create_session(mesh, NULL, 0, &text), INVALID_STATE);
    CHECK_STATUS(svantic_close_session(mesh, "s", 0), INVALID_STATE);
    CHECK_STATUS(svantic_re_register(mesh, 0), INVALID_STATE);
    CHECK_STATUS(svantic_refresh_token(mesh, NULL, 0), INVALID_STATE);
    CHECK_STATUS(svantic_disconnect(mesh, 0), INVALID_STATE);
    CHECK_STATUS(svantic_get_token(mesh, &text), INVALID_STATE);
    CHECK(!connected(mesh) && text == NULL);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void sessions(void) {
    svantic_mesh *mesh = create("");
    char *first = NULL, *second = NULL;
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_create_session(mesh, NULL, 0, &first));
    CHECK_OK(svantic_create_session(mesh, JSON({"user_id": "u1"}), 0, &second));
    CHECK(strcmp(first, second) != 0);
    tell("opened");
    await_line("close");
    CHECK_OK(svantic_close_session(mesh, first, 0));
    CHECK_STATUS(svantic_close_session(mesh, "no-such-session", 0), NOT_FOUND);
    CHECK_HOLDS(svantic_last_error(), "closing a session");
    CHECK_HOLDS(svantic_last_error(), "[SESSION_NOT_FOUND]");
    CHECK_OK(svantic_close_session(mesh, second, 0));
    svantic_string_free(first);
    svantic_string_free(second);
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void tokens(void) {
    svantic_mesh *mesh = create("");
    char *first = NULL, *second = NULL;
    const char *supplied = getenv("CHECK_TOKEN");
    CHECK_STATUS(svantic_get_token(mesh, &first), INVALID_STATE);
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_get_token(mesh, &first));
    CHECK_OK(svantic_refresh_token(mesh, NULL, 0));
    CHECK_OK(svantic_get_token(mesh, &second));
    CHECK(strcmp(first, second) != 0);
    CHECK_OK(svantic_refresh_token(mesh, supplied, 0));
    CHECK_PROPERTY(svantic_get_token, mesh, supplied);
    CHECK_OK(svantic_re_register(mesh, 0)); /* with the token that was supplied */
    svantic_string_free(first);
    svantic_string_free(second);
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void second_capability(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "first", answer_ok, mesh);
    CHECK_OK(svantic_connect(mesh, 0));
    define(mesh, "second", answer_ok, mesh);
    tell("one");
    await_line("go on");
    CHECK_OK(svantic_re_register(mesh, 0));
    CHECK_DOCUMENT(svantic_get_agent_card, mesh, "\"second\"");
    tell("two");
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void properties(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *hosted = create("\"public_url\":\"https://agent.example/a\",\"instance_id\":\"chosen\"");
    char *token = NULL, *snapshot = NULL;
    const char *url = getenv("SVANTIC_URL");
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE && !connected(mesh));
    CHECK_PROPERTY(svantic_get_svantic_url, mesh, url);
    CHECK_PROPERTY(svantic_get_deployment_mode, mesh, "connected");
    CHECK_PROPERTY(svantic_get_deployment_mode, hosted, "hosted");
    CHECK_PROPERTY(svantic_get_instance_id, mesh, getenv("SVANTIC_INSTANCE_ID"));
    CHECK_PROPERTY(svantic_get_instance_id, hosted, "chosen");
    CHECK_DOCUMENT(svantic_get_agent_card, mesh, "\"name\":\"tester\"");
    CHECK_DOCUMENT(svantic_get_snapshot, mesh, "\"state\":\"idle\"");
    define(mesh, "echo", answer_ok, mesh);
    CHECK_DOCUMENT(svantic_get_agent_card, mesh, "\"echo\"");
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED && connected(mesh));
    CHECK_OK(svantic_get_token(mesh, &token));
    CHECK_OK(svantic_get_snapshot(mesh, &snapshot));
    CHECK_HOLDS(snapshot, "\"state\":\"connected\"");
    CHECK(strstr(snapshot, token) == NULL && strstr(snapshot, getenv("SVANTIC_CLIENT_SECRET")) == NULL);
    svantic_string_free(token);
    svantic_string_free(snapshot);
    CHECK_OK(svantic_disconnect(mesh, 0));
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED && !connected(mesh));
    CHECK_PROPERTY(svantic_get_svantic_url, mesh, url);
    CHECK_DOCUMENT(svantic_get_snapshot, mesh, "\"state\":\"closed\"");
    svantic_free(mesh);
    svantic_free(hosted);
    CHECK_OK(svantic_shutdown(5000));
}

static void again_after_shutdown(void) {
    int round;
    for (round = 0; round < 3; round++) {
        svantic_mesh *mesh = create("");
        CHECK_OK(svantic_connect(mesh, 0));
        CHECK_OK(svantic_shutdown(5000));
        CHECK_STATUS(svantic_connect(mesh, 0), INVALID_HANDLE);
    }
}

static void two_agents(void) {
    svantic_mesh *left = create("\"instance_id\":\"left\"");
    svantic_mesh *right = create("\"instance_id\":\"right\"");
    define(left, "left_skill", answer_ok, left);
    define(right, "right_skill", answer_ok, right);
    CHECK_OK(svantic_connect(left, 0));
    CHECK_OK(svantic_connect(right, 0));
    tell("connected");
    await_line("free left");
    svantic_free(left);
    CHECK(state_of(right) == SVANTIC_STATE_CONNECTED);
    tell("freed left");
    await_line("leave");
    svantic_free(right);
    CHECK_OK(svantic_shutdown(5000));
}

static void id_of(svantic_mesh *mesh, char *id, size_t size) {
    char *text;
    CHECK_OK(svantic_get_instance_id(mesh, &text));
    snprintf(id, size, "%s", text);
    svantic_string_free(text);
}

/* Ids that nobody chose: no two agents of a process share one, and one made anew finds its own again. */
static void generated_ids(void) {
    char first[512], second[512], again[512];
    svantic_mesh *one, *two, *left;
    unsetenv("SVANTIC_INSTANCE_ID");
    one = create("");
    two = create("");
    id_of(one, first, sizeof first);
    id_of(two, second, sizeof second);
    CHECK(strncmp(first, second, strlen(first)) == 0 && strcmp(second + strlen(first), "-2") == 0);
    svantic_free(one);
    one = create("");
    id_of(one, again, sizeof again);
    CHECK(strcmp(again, first) == 0);
    CHECK_OK(svantic_disconnect(two, 0));
    left = create("");
    id_of(left, again, sizeof again);
    CHECK(strcmp(again, second) == 0);
    svantic_free(left);
    svantic_free(one);
    svantic_free(two);
    CHECK_OK(svantic_shutdown(1000));
}

CASES(CASE(created_and_freed), CASE(full_circle), CASE(connect_twice), CASE(disconnect_unconnected),
      CASE(before_connect), CASE(after_disconnect), CASE(sessions), CASE(tokens), CASE(second_capability),
      CASE(properties), CASE(again_after_shutdown), CASE(two_agents), CASE(generated_ids))
