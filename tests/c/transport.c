/* A transport over a real socket: the frames are the program's own, the link is the library's. */
#define _POSIX_C_SOURCE 200809L
#include "mesh.h"

#define TAG(number) ((void *)(uintptr_t)(number))

/* A transport to the gateway of the test for the instance that it has registered, with `more` in its configuration. */
static svantic_mesh *create_transport(const char *more) {
    char config[2048];
    svantic_mesh *mesh = NULL;
    snprintf(config, sizeof config,
             "{\"connect_url\":\"%s\",\"token\":\"%s\",\"hello\":{\"instance_id\":\"program\",\"agent_type\":\"tester\","
             "\"agent_version\":\"1.0.0\",\"sdk_version\":\"t-1\",\"big\":12345678901234567890123,\"agent_card\":"
             "{\"name\":\"by hand\"}},\"hello_id\":\"first-hello\",\"hello_ts\":\"2026-01-02T03:04:05.678Z\"%s%s}",
             getenv("CHECK_CONNECT_URL"), getenv("CHECK_TOKEN"), *more ? "," : "", more);
    CHECK_OK(svantic_create_transport(config, &mesh));
    CHECK(mesh != NULL);
    return mesh;
}

static void send_text(svantic_mesh *mesh, const char *frame) {
    CHECK_OK(svantic_send_frame(mesh, frame, strlen(frame)));
}

/* The next event with this name, whose item the caller frees. */
static char *next_event(svantic_mesh *mesh, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"name\":\"%s\"", name);
    for (;;) {
        char *item = next_of_type(mesh, "event");
        if (strstr(item, key) != NULL) return item;
        svantic_string_free(item);
    }
}

static void expect_event(svantic_mesh *mesh, const char *name, const char *part) {
    char *item = next_event(mesh, name);
    CHECK_HOLDS(item, part);
    svantic_string_free(item);
}

/* Hello, welcome, a dispatch and its answer, all of them seen from here; then a close with a code of our own. */
static void whole_life(void) {
    svantic_mesh *mesh = create_transport("");
    char id[160], frame[512], *item, *text;
    bool up = true;
    CHECK_OK(svantic_get_connected(mesh, &up));
    CHECK(!up && state_of(mesh) == SVANTIC_STATE_IDLE);
    CHECK_STATUS(svantic_send_frame(mesh, "{}", 2), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error_json(), "\"NOT_READY\"");
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(7)));

    expect_event(mesh, "state", "\"link\":\"dialing\"");
    expect_event(mesh, "state", "\"link\":\"handshaking\""); /* the socket is open, the welcome awaited */
    expect_event(mesh, "state", "\"link\":\"ready\"");
    item = next_of_type(mesh, "frame");
    CHECK_HOLDS(item, "{\"type\":\"frame\",\"frame\":{");
    CHECK_HOLDS(item, "\"type\":\"welcome\"");
    svantic_string_free(item);
    item = next_of_type(mesh, "done");
    CHECK_HOLDS(item, "\"tag\":7,\"status\":0");
    svantic_string_free(item);
    CHECK_OK(svantic_get_connected(mesh, &up));
    CHECK(up);
    CHECK_OK(svantic_get_snapshot(mesh, &text));
    CHECK_HOLDS(text, "\"link\":\"ready\"");
    svantic_string_free(text);
    CHECK_OK(svantic_get_instance_id(mesh, &text));
    CHECK_SAME(text, "program");
    svantic_string_free(text);
    CHECK_OK(svantic_get_agent_card(mesh, &text));
    CHECK_SAME(text, "{\"name\":\"by hand\"}");
    svantic_string_free(text);
    CHECK_OK(svantic_get_token(mesh, &text));
    CHECK_SAME(text, getenv("CHECK_TOKEN"));
    svantic_string_free(text);
    CHECK_OK(svantic_network_changed(mesh));
    tell("connected");

    item = next_of_type(mesh, "frame");
    CHECK_HOLDS(item, "\"type\":\"dispatch\"");
    CHECK_HOLDS(item, "\"skill_id\":\"work\"");
    field_of(item, "id", id, sizeof id);
    svantic_string_free(item);
    snprintf(frame, sizeof frame,
             " {\"v\":1,\"type\":\"dispatch_result\",\"id\":\"r-1\",\"ts\":\"2026-01-02T03:04:05.678Z\","
             "\"in_reply_to\":\"%s\",\"payload\":{\"result\":{\"by\":\"hand\"}}} ", id);
    send_text(mesh, frame);
    await_line("leave");
    CHECK_OK(svantic_close_transport(mesh, 4242, "enough", 0));
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED);
    expect_event(mesh, "disconnected", "\"code\":4242");
    item = next_of_type(mesh, "closed");
    svantic_string_free(item);
    CHECK_STATUS(svantic_close_transport(mesh, 0, NULL, 0), INVALID_STATE);
    CHECK_STATUS(svantic_send_frame(mesh, "{}", 2), INVALID_STATE);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* The gateway drops the link: it is made again, and says hello in words of its own. */
static void made_again(void) {
    svantic_mesh *mesh = create_transport("\"reconnect_delays_ms\":[1]");
    CHECK_OK(svantic_connect(mesh, 0));
    svantic_string_free(next_of_type(mesh, "frame"));
    tell("connected");
    expect_event(mesh, "disconnected", "\"code\":1012");
    expect_event(mesh, "state", "\"state\":\"reconnecting\"");
    expect_event(mesh, "state", "\"link\":\"handshaking\"");
    svantic_string_free(next_of_type(mesh, "frame"));
    tell("again");
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* The same without auto_reconnect: idle, and free to connect again. */
static void not_made_again(void) {
    svantic_mesh *mesh = create_transport("\"auto_reconnect\":false");
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_STATUS(svantic_connect(mesh, 0), INVALID_STATE);
    svantic_string_free(next_of_type(mesh, "frame"));
    tell("connected");
    expect_event(mesh, "disconnected", "\"code\":1012");
    expect_event(mesh, "state", "\"link\":\"idle\"");
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    CHECK_STATUS(svantic_send_frame(mesh, "{}", 2), INVALID_STATE);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("again");
    await_line("leave");
    CHECK_OK(svantic_close_transport(mesh, 0, NULL, 0));
    expect_event(mesh, "disconnected", "\"code\":1000");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* The token comes from the application, and is asked for again when the mesh refuses it. */
static void token_provider(void) {
    char config[1024], *item;
    svantic_mesh *mesh;
    snprintf(config, sizeof config,
             "{\"connect_url\":\"%s\",\"token_provider\":true,\"hello\":{\"instance_id\":\"program\","
             "\"agent_type\":\"tester\",\"agent_version\":\"1\",\"sdk_version\":\"1\",\"agent_card\":{\"name\":\"n\"}}}",
             getenv("CHECK_CONNECT_URL"));
    CHECK_OK(svantic_create_transport(config, &mesh));
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    expect_event(mesh, "token_wanted", "\"reason\":\"missing\"");
    CHECK_OK(svantic_refresh_token(mesh, "no.such.token", 0));
    expect_event(mesh, "token_wanted", "\"reason\":\"refused\"");
    CHECK_OK(svantic_refresh_token(mesh, getenv("CHECK_TOKEN"), 0));
    item = next_of_type(mesh, "done");
    CHECK_HOLDS(item, "\"tag\":1,\"status\":0");
    svantic_string_free(item);
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* An instance that nobody has registered: connect fails with the mesh's own code, and may be called again. */
static void not_registered(void) {
    svantic_mesh *mesh = create_transport("");
    CHECK_STATUS(svantic_connect(mesh, 0), REMOTE);
    CHECK_HOLDS(svantic_last_error_json(), "\"http_status\":404");
    CHECK_HOLDS(svantic_last_error(), "register");
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    svantic_free(mesh);
}

/* What is no configuration of a transport. */
static void refused_configurations(void) {
    static const struct {
        const char *config, *code, *part;
    } cases[] = {
        {"[]", "NOT_AN_OBJECT", "transport"},
        {"{", "INVALID_JSON", "transport"},
        {JSON({"token": "t", "hello": {"instance_id": "i"}}), "INVALID_CONFIG", "`connect_url`"},
        {JSON({"connect_url": "wss://m.example/c", "token": "t"}), "INVALID_CONFIG", "`hello`"},
        {JSON({"connect_url": "wss://m.example/c", "token": "t", "hello": {}}), "INVALID_CONFIG", "`hello.instance_id`"},
        {JSON({"connect_url": "wss://m.example/c", "token": "t", "hello": 5}), "INVALID_CONFIG", "`hello`"},
        {JSON({"connect_url": "wss://m.example/c", "hello": {"instance_id": "i"}}), "MISSING_CREDENTIALS", "`token`"},
        {JSON({"connect_url": "ws://m.example/c", "token": "t", "hello": {"instance_id": "i"}}), "INVALID_URL", "TLS"},
        {JSON({"connect_url": "https://m.example/c", "token": "t", "hello": {"instance_id": "i"}}), "INVALID_URL", "scheme"},
        {JSON({"connect_url": "wss://me:pw@m.example/c", "token": "t", "hello": {"instance_id": "i"}}), "INVALID_URL", "password"},
        {JSON({"connect_url": "wss://m.example/c", "token": "t", "hello": {"instance_id": "i"}, "nam": 1}), "UNKNOWN_KEY", "`nam`"},
        {JSON({"connect_url": "wss://m.example/c", "token": "t", "hello": {"instance_id": "i"}, "external_socket": 1}),
         "INVALID_CONFIG", "`external_socket`"},
    };
    svantic_mesh *mesh = NULL;
    size_t at;
    for (at = 0; at < sizeof cases / sizeof *cases; at++) {
        char code[64];
        svantic_status status = svantic_create_transport(cases[at].config, &mesh);
        CHECK(status == SVANTIC_STATUS_INVALID_ARGUMENT || status == SVANTIC_STATUS_INVALID_JSON);
        snprintf(code, sizeof code, "\"%s\"", cases[at].code);
        CHECK_HOLDS(svantic_last_error_json(), code);
        CHECK_HOLDS(svantic_last_error(), cases[at].part);
        CHECK(strstr(svantic_last_error(), "pw@") == NULL);
    }
    CHECK(mesh == NULL);
    CHECK_STATUS(svantic_create_transport(NULL, &mesh), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_create_transport("{}", NULL), INVALID_ARGUMENT);
}

static void never_done(void *user_data, int32_t status, const char *json, size_t length) {
    (void)user_data, (void)status, (void)json, (void)length;
    FAIL("an operation ended that never began");
}

/* Every argument that can be wrong, and every function that belongs to an agent, or to a transport. */
static void wrong_arguments_and_states(void) {
    svantic_mesh *transport = create_transport(""), *agent = create_pulling();
    char long_reason[125], *text = NULL;
    uint32_t refused = 7;
    memset(long_reason, 'x', sizeof long_reason - 1);
    long_reason[sizeof long_reason - 1] = '\0';

    CHECK_STATUS(svantic_send_frame(transport, NULL, 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_send_frame(transport, "[]", 2), INVALID_JSON);
    CHECK_STATUS(svantic_send_frame(transport, "{} {}", 5), INVALID_JSON);
    CHECK_STATUS(svantic_send_frame(transport, "{\"a\":", 5), INVALID_JSON);
    CHECK_STATUS(svantic_send_frame(transport, "\xff", 1), INVALID_JSON);
    CHECK_STATUS(svantic_send_frame(transport, "{}", 2), INVALID_STATE);
    CHECK_STATUS(svantic_close_transport(transport, 999, NULL, 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_close_transport(transport, 1006, NULL, 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_close_transport(transport, 70000, NULL, 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_close_transport(transport, 1000, long_reason, 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_close_transport(transport, 1000, "\xff", 0), INVALID_JSON);
    CHECK_STATUS(svantic_close_transport_async(transport, 1000, NULL, 0, never_done, NULL), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_close_transport_async(transport, 5, NULL, 0, NULL, NULL), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_socket_event(transport, NULL, 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_socket_event(transport, "{}", 2), INVALID_JSON);
    text = "{\"socket\":1,\"event\":\"open\"}";
    CHECK_STATUS(svantic_socket_event(transport, text, strlen(text)), INVALID_STATE);
    text = "{\"socket\":1,\"event\":\"sneeze\"}";
    CHECK_STATUS(svantic_socket_event(transport, text, strlen(text)), INVALID_JSON);

    text = NULL;
    CHECK_STATUS(svantic_define_capability(transport, JSON({"name": "a", "description": "d"}), NULL, NULL, NULL), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "svantic_define_capability: this is a transport");
    CHECK_STATUS(svantic_re_register(transport, 0), INVALID_STATE);
    CHECK_STATUS(svantic_re_register_async(transport, 0, NULL, NULL), INVALID_STATE);
    CHECK_STATUS(svantic_create_session(transport, NULL, 0, &text), INVALID_STATE);
    CHECK_STATUS(svantic_create_session_async(transport, NULL, 0, NULL, NULL), INVALID_STATE);
    CHECK_STATUS(svantic_close_session(transport, "s", 0), INVALID_STATE);
    CHECK_STATUS(svantic_close_session_async(transport, "s", 0, NULL, NULL), INVALID_STATE);
    CHECK_STATUS(svantic_resolve(transport, "d", "1"), INVALID_STATE);
    CHECK_STATUS(svantic_reject(transport, "d", NULL, "no"), INVALID_STATE);
    CHECK_STATUS(svantic_answer_batch(transport, "[]", 2, &refused), INVALID_STATE);
    CHECK_STATUS(svantic_request(transport, "/agents/heartbeat", "{}", NULL, 0, &text), INVALID_STATE);
    CHECK_STATUS(svantic_request_async(transport, "/agents/heartbeat", "{}", NULL, 0, NULL, NULL), INVALID_STATE);
    CHECK(text == NULL && refused == 7);

    text = "{\"socket\":1,\"event\":\"open\"}";
    CHECK_STATUS(svantic_socket_event(agent, text, strlen(text)), INVALID_STATE);
    CHECK_STATUS(svantic_send_frame(agent, "{}", 2), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error_json(), "\"NOT_A_TRANSPORT\"");
    CHECK_STATUS(svantic_close_transport(agent, 0, NULL, 0), INVALID_STATE);
    CHECK_STATUS(svantic_close_transport_async(agent, 0, NULL, 0, NULL, NULL), INVALID_STATE);
    CHECK(state_of(agent) == SVANTIC_STATE_IDLE && state_of(transport) == SVANTIC_STATE_IDLE);
    svantic_free(agent);
    svantic_free(transport);
    CHECK_STATUS(svantic_send_frame(transport, "{}", 2), INVALID_HANDLE);
}

/* A transport that is freed while its link is up leaves nothing behind. */
static void freed_while_up(void) {
    svantic_mesh *mesh = create_transport("");
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    await_line("leave");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* Sending to a peer that does not read is refused before memory is full, and goes on when it reads again. */
static void peer_that_does_not_read(void) {
    enum { SIZE = 1 << 20 };
    svantic_mesh *mesh = create_transport("\"dead_after_ms\":120000");
    char *frame = malloc(SIZE + 1);
    svantic_status status;
    int taken_on = 0;
    CHECK(frame != NULL);
    memset(frame, ' ', SIZE);
    /* One long text, which is quick to check: the kernel gives the link up when nothing is acknowledged for 10 s. */
    memcpy(frame, "{\"a\":\"", 6), memcpy(frame + SIZE - 2, "\"}", 3);
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    svantic_string_free(next_of_type(mesh, "done"));
    while ((status = svantic_send_frame(mesh, frame, SIZE)) == SVANTIC_STATUS_OK) CHECK(++taken_on < 200);
    CHECK_STATUS(status, INVALID_STATE);
    CHECK_HOLDS(svantic_last_error_json(), "\"BACKLOG_FULL\"");
    CHECK(taken_on >= 64 && state_of(mesh) == SVANTIC_STATE_CONNECTED);
    tell("full");
    while ((status = svantic_send_frame(mesh, "{\"type\":\"last\"}", 15)) == SVANTIC_STATUS_INVALID_STATE) sched_yield();
    CHECK_OK(status);
    free(frame);
    await_line("leave");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(whole_life), CASE(made_again), CASE(not_made_again), CASE(token_provider), CASE(not_registered),
      CASE(refused_configurations), CASE(wrong_arguments_and_states), CASE(freed_while_up), CASE(peer_that_does_not_read))
