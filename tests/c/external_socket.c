/* A transport whose bytes the program carries: it plays the socket and the mesh behind it by hand. */
#define _POSIX_C_SOURCE 200809L
#include "mesh.h"

#define TAG(number) ((void *)(uintptr_t)(number))

/* The token of these cases. It goes into the headers of the socket and nowhere else. */
#define TOKEN "e30.e30.external"

#define WELCOME "{\\\"v\\\":1,\\\"type\\\":\\\"welcome\\\",\\\"id\\\":\\\"w\\\",\\\"payload\\\":{\\\"resumed\\\":true}}"

static svantic_mesh *create_external(const char *more) {
    char config[1024];
    svantic_mesh *mesh = NULL;
    snprintf(config, sizeof config,
             "{\"connect_url\":\"wss://mesh.invalid/agents/connect?region=eu\",\"external_socket\":true,"
             "\"hello\":{\"instance_id\":\"by hand\"}%s%s}", *more ? "," : "", more);
    CHECK_OK(svantic_create_transport(config, &mesh));
    return mesh;
}

static svantic_mesh *create_with_token(const char *more) {
    char all[512];
    snprintf(all, sizeof all, "\"token\":\"" TOKEN "\"%s%s", *more ? "," : "", more);
    return create_external(all);
}

static void happens(svantic_mesh *mesh, int socket, const char *event) {
    char json[512];
    snprintf(json, sizeof json, "{\"socket\":%d,\"event\":%s}", socket, event);
    CHECK_OK(svantic_socket_event(mesh, json, strlen(json)));
}

/* The next item that is no event, which is there already if `timeout_ms` is 0. */
static char *next_but_events(svantic_mesh *mesh, uint32_t timeout_ms) {
    for (;;) {
        char *item;
        CHECK_OK(svantic_next(mesh, timeout_ms, &item));
        CHECK(strstr(item, TOKEN) == NULL || strstr(item, "\"do\":\"open\"") != NULL);
        if (strncmp(item, "{\"type\":\"event\"", 15) != 0) return item;
        svantic_string_free(item);
    }
}

static void expect_within(svantic_mesh *mesh, uint32_t timeout_ms, const char *part, const char *other) {
    char *item = next_but_events(mesh, timeout_ms);
    CHECK_HOLDS(item, part);
    CHECK_HOLDS(item, other);
    svantic_string_free(item);
}

/* What must be in the queue already, since it is the consequence of the call before. */
#define AT_ONCE(part, other) expect_within(mesh, 0, part, other)
/* What only time brings about. */
#define IN_TIME(part, other) expect_within(mesh, 60000, part, other)

static void nothing_but_events(svantic_mesh *mesh) {
    char *item;
    while (svantic_next(mesh, 0, &item) == SVANTIC_STATUS_OK) {
        CHECK_HOLDS(item, "{\"type\":\"event\"");
        svantic_string_free(item);
    }
}

static void end(svantic_mesh *mesh) {
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

/* All of it on this thread: each consequence is there when the call returns. */
static void a_conversation(void) {
    svantic_mesh *mesh = create_with_token("\"hello_id\":\"h-1\"");
    const char *frame = "{\"type\":\"x\",\"text\":\"\\u0000 \\\"q\\\" \xe2\x82\xac\"}";
    char *item, *snapshot;
    CHECK_STATUS(svantic_send_frame(mesh, "{}", 2), INVALID_STATE);
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    item = next_but_events(mesh, 0);
    CHECK_SAME(item,
               "{\"type\":\"socket\",\"do\":\"open\",\"socket\":1,"
               "\"url\":\"wss://mesh.invalid/agents/connect?region=eu&instance_id=by+hand\","
               "\"headers\":{\"Authorization\":\"Bearer " TOKEN "\",\"Sec-WebSocket-Protocol\":\"svantic.v1\"}}");
    svantic_string_free(item);
    nothing_but_events(mesh);

    /* A frame before the welcome, and the welcome right behind the open: nobody has looked at the hello yet. */
    happens(mesh, 1, "\"open\"");
    happens(mesh, 1, "\"message\",\"text\":\"{\\\"type\\\":\\\"early\\\"}\"");
    happens(mesh, 1, "\"message\",\"text\":\"" WELCOME "\"");
    happens(mesh, 1, "\"message\",\"text\":\"{\\\"type\\\":\\\"later\\\"}\"");
    happens(mesh, 1, "\"message\",\"text\":\"nonsense\"");
    AT_ONCE("\"do\":\"send\",\"socket\":1,\"text\":\"{\\\"v\\\":1,\\\"type\\\":\\\"hello\\\",\\\"id\\\":\\\"h-1\\\"",
            "\\\"payload\\\":{\\\"instance_id\\\":\\\"by hand\\\"}}");
    AT_ONCE("{\"type\":\"frame\",\"frame\":{\"v\":1,\"type\":\"welcome\"", "\"resumed\":true}}}");
    AT_ONCE("{\"type\":\"done\",\"tag\":1,\"status\":0", "");
    AT_ONCE("{\"type\":\"frame\",\"frame\":{\"type\":\"early\"}}", "");
    AT_ONCE("{\"type\":\"frame\",\"frame\":{\"type\":\"later\"}}", "");
    nothing_but_events(mesh);
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);
    CHECK_OK(svantic_get_snapshot(mesh, &snapshot));
    CHECK(strstr(snapshot, TOKEN) == NULL);
    svantic_string_free(snapshot);

    CHECK_OK(svantic_send_frame(mesh, frame, strlen(frame)));
    item = next_but_events(mesh, 0);
    CHECK_SAME(item, "{\"type\":\"socket\",\"do\":\"send\",\"socket\":1,\"text\":"
                     "\"{\\\"type\\\":\\\"x\\\",\\\"text\\\":\\\"\\\\u0000 \\\\\\\"q\\\\\\\" \xe2\x82\xac\\\"}\"}");
    svantic_string_free(item);

    /* A word about a socket that was never there changes nothing. */
    happens(mesh, 7, "\"close\",\"code\":1006,\"reason\":\"\"");
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);

    CHECK_OK(svantic_close_transport_async(mesh, 4001, "done here", 0, NULL, TAG(2)));
    AT_ONCE("\"do\":\"close\",\"socket\":1,\"code\":4001,\"reason\":\"done here\"", "");
    CHECK(state_of(mesh) == SVANTIC_STATE_DRAINING);
    CHECK_STATUS(svantic_send_frame(mesh, "{}", 2), INVALID_STATE);
    happens(mesh, 1, "\"message\",\"text\":\"{\\\"type\\\":\\\"too late\\\"}\"");
    happens(mesh, 1, "\"close\",\"code\":4001,\"reason\":\"done here\""); /* as if from inside the close */
    AT_ONCE("{\"type\":\"done\",\"tag\":2,\"status\":0", "");
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED);
    IN_TIME("{\"type\":\"closed\"}", "");
    end(mesh);
}

/* Without a welcome the socket is given up and another one asked for; the first one's last words are ignored. */
static void no_welcome(void) {
    svantic_mesh *mesh = create_with_token("\"welcome_timeout_ms\":200,\"reconnect_delays_ms\":[1]");
    char *item;
    int socket;
    CHECK_OK(svantic_connect_async(mesh, 50000, NULL, TAG(1)));
    AT_ONCE("\"do\":\"open\",\"socket\":1", "");
    happens(mesh, 1, "\"open\"");
    AT_ONCE("\"do\":\"send\",\"socket\":1", "hello");
    IN_TIME("\"do\":\"close\",\"socket\":1,\"code\":1000", "");
    for (socket = 2;; socket++) {
        char open[64];
        snprintf(open, sizeof open, "\"do\":\"open\",\"socket\":%d", socket);
        IN_TIME(open, "");
        happens(mesh, 1, "\"message\",\"text\":\"" WELCOME "\"");
        happens(mesh, 1, "\"close\"");
        happens(mesh, socket, "\"open\"");
        happens(mesh, socket, "\"message\",\"text\":\"" WELCOME "\"");
        IN_TIME("\"do\":\"send\"", "hello");
        item = next_but_events(mesh, 60000);
        if (strstr(item, "\"do\":\"close\"") == NULL) break; /* on a slow machine the time was too short again */
        svantic_string_free(item);
    }
    CHECK_HOLDS(item, "welcome");
    svantic_string_free(item);
    AT_ONCE("{\"type\":\"done\",\"tag\":1,\"status\":0", "");
    end(mesh);
}

/* Sockets that fail before they are open, and one that ends: each is followed by the next. */
static void redialed(void) {
    svantic_mesh *mesh = create_with_token("\"reconnect_delays_ms\":[1]");
    CHECK_OK(svantic_connect_async(mesh, 50000, NULL, TAG(1)));
    AT_ONCE("\"do\":\"open\",\"socket\":1", "");
    happens(mesh, 1, "\"error\",\"message\":\"no route\"");
    happens(mesh, 1, "\"close\",\"code\":1006,\"reason\":\"\"");
    IN_TIME("\"do\":\"open\",\"socket\":2", "");
    happens(mesh, 2, "\"close\",\"code\":1006");
    IN_TIME("\"do\":\"open\",\"socket\":3", "");
    happens(mesh, 3, "\"open\"");
    happens(mesh, 3, "\"message\",\"text\":\"" WELCOME "\"");
    AT_ONCE("hello", "");
    AT_ONCE("welcome", "");
    AT_ONCE("{\"type\":\"done\",\"tag\":1,\"status\":0", "");
    happens(mesh, 3, "\"close\",\"code\":1012,\"reason\":\"back soon\"");
    IN_TIME("\"do\":\"open\",\"socket\":4", "");
    CHECK(state_of(mesh) == SVANTIC_STATE_RECONNECTING);
    happens(mesh, 4, "\"open\"");
    happens(mesh, 4, "\"message\",\"text\":\"" WELCOME "\"");
    AT_ONCE("hello", "");
    AT_ONCE("welcome", "");
    happens(mesh, 4, "\"error\",\"message\":\"it broke\"");
    AT_ONCE("\"do\":\"close\",\"socket\":4", ""); /* whether it has said all or not */
    IN_TIME("\"do\":\"open\",\"socket\":5", "");
    end(mesh);
}

/* One attempt and no more: connect fails with what the socket said, and may be called again. */
static void without_auto_reconnect(void) {
    svantic_mesh *mesh = create_with_token("\"auto_reconnect\":false");
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    AT_ONCE("\"do\":\"open\",\"socket\":1", "");
    happens(mesh, 1, "\"error\",\"message\":\"no route\"");
    AT_ONCE("{\"type\":\"done\",\"tag\":1,\"status\":", "no route");
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(2)));
    AT_ONCE("\"do\":\"open\",\"socket\":2", "");
    happens(mesh, 2, "\"open\"");
    happens(mesh, 2, "\"message\",\"text\":\"" WELCOME "\"");
    AT_ONCE("hello", "");
    AT_ONCE("welcome", "");
    AT_ONCE("{\"type\":\"done\",\"tag\":2,\"status\":0", "");
    happens(mesh, 2, "\"close\",\"code\":1006");
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(3)));
    AT_ONCE("\"do\":\"open\",\"socket\":3", "");
    CHECK_OK(svantic_cancel(mesh, TAG(3)));
    AT_ONCE("\"do\":\"close\",\"socket\":3", "");
    AT_ONCE("{\"type\":\"done\",\"tag\":3,\"status\":21", "");
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    end(mesh);
}

/* Ends that nobody gives a reason for are told in whole sentences. */
static void ends_without_a_word(void) {
    svantic_mesh *mesh = create_with_token("\"auto_reconnect\":false");
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    AT_ONCE("\"do\":\"open\",\"socket\":1", "");
    happens(mesh, 1, "\"close\",\"code\":1006,\"reason\":\"\"");
    AT_ONCE("{\"type\":\"done\",\"tag\":1,\"status\":", ": the socket was closed with code 1006 before it was open\"");
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(2)));
    AT_ONCE("\"do\":\"open\",\"socket\":2", "");
    happens(mesh, 2, "\"error\",\"message\":\"\"");
    AT_ONCE("{\"type\":\"done\",\"tag\":2,\"status\":", ": the socket failed\"");
    end(mesh);
}

/* The upgrade is refused with 401: another token is asked for, and shown at once. */
static void a_refused_token(void) {
    svantic_mesh *mesh = create_external("\"token_provider\":true");
    char *item;
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    do {
        CHECK_OK(svantic_next(mesh, 0, &item));
    } while (strstr(item, "token_wanted") == NULL && (svantic_string_free(item), 1));
    CHECK_HOLDS(item, "missing");
    svantic_string_free(item);
    CHECK_OK(svantic_refresh_token_async(mesh, TOKEN, 0, NULL, TAG(2)));
    AT_ONCE("\"do\":\"open\",\"socket\":1", "Bearer " TOKEN "\"");
    AT_ONCE("{\"type\":\"done\",\"tag\":2,\"status\":0", "");
    happens(mesh, 1, "\"error\",\"message\":\"Unexpected server response: 401\",\"http_status\":401");
    do {
        CHECK_OK(svantic_next(mesh, 0, &item));
    } while (strstr(item, "token_wanted") == NULL && (svantic_string_free(item), 1));
    CHECK_HOLDS(item, "refused");
    svantic_string_free(item);
    CHECK_OK(svantic_refresh_token_async(mesh, TOKEN "2", 0, NULL, TAG(3)));
    AT_ONCE("\"do\":\"open\",\"socket\":2", "Bearer " TOKEN "2\"");
    AT_ONCE("{\"type\":\"done\",\"tag\":3,\"status\":0", "");
    end(mesh);
}

/* What is no event of a socket. */
static void refused_events(void) {
    static const char *const events[] = {
        "", "{}", "[]", "7", "{\"socket\":1}", "{\"event\":\"open\"}", "{\"socket\":-1,\"event\":\"open\"}",
        "{\"socket\":\"1\",\"event\":\"open\"}", "{\"socket\":1,\"event\":\"message\"}",
        "{\"socket\":1,\"event\":\"message\",\"text\":7}", "{\"socket\":1,\"event\":\"close\",\"code\":70000}",
        "{\"socket\":1,\"event\":\"open\"} x", "\xff",
    };
    svantic_mesh *mesh = create_with_token("");
    size_t at;
    for (at = 0; at < sizeof events / sizeof *events; at++)
        CHECK_STATUS(svantic_socket_event(mesh, events[at], strlen(events[at])), INVALID_JSON);
    CHECK_STATUS(svantic_socket_event(mesh, NULL, 5), INVALID_ARGUMENT);
    happens(mesh, 1, "\"open\""); /* of a socket that nobody has asked for */
    nothing_but_events(mesh);
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    svantic_free(mesh);
    CHECK_STATUS(svantic_socket_event(mesh, "{}", 2), INVALID_HANDLE);
}

/* Frames that nobody takes: the link is given up before memory is. */
static void frames_that_nobody_takes(void) {
    svantic_mesh *mesh = create_with_token("\"auto_reconnect\":false");
    int sent = 0;
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    happens(mesh, 1, "\"open\"");
    happens(mesh, 1, "\"message\",\"text\":\"" WELCOME "\"");
    for (; state_of(mesh) == SVANTIC_STATE_CONNECTED; sent++) {
        CHECK(sent < 20000);
        happens(mesh, 1, "\"message\",\"text\":\"{}\"");
    }
    CHECK(sent > 16000 && state_of(mesh) == SVANTIC_STATE_IDLE);
    end(mesh);
}

/* A socket that is slower than its program: sending is refused while too much waits, and that costs neither the link nor
   anything that was taken on. */
static void frames_for_a_slow_socket(void) {
    svantic_mesh *mesh = create_with_token("\"auto_reconnect\":false");
    const char *large;
    char *frame = NULL, *item;
    svantic_status status;
    int taken_on = 0, sent;
    CHECK_OK(svantic_connect_async(mesh, 0, NULL, TAG(1)));
    happens(mesh, 1, "\"open\"");
    happens(mesh, 1, "\"message\",\"text\":\"" WELCOME "\"");
    while ((status = svantic_send_frame(mesh, "{}", 2)) == SVANTIC_STATUS_OK) CHECK(++taken_on < 20000);
    CHECK_STATUS(status, INVALID_STATE);
    large = svantic_last_error_json();
    CHECK_HOLDS(large, "\"BACKLOG_FULL\"");
    CHECK_HOLDS(large, "\"retryable\":true");
    CHECK(taken_on > 16000);

    /* What comes in has room of its own. */
    happens(mesh, 1, "\"message\",\"text\":\"{\\\"type\\\":\\\"still here\\\"}\"");
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);
    AT_ONCE("\"do\":\"open\",\"socket\":1", "");
    AT_ONCE("hello", "");
    AT_ONCE("welcome", "");
    AT_ONCE("{\"type\":\"done\",\"tag\":1,\"status\":0", "");
    CHECK_OK(svantic_send_frame(mesh, "{\"type\":\"last\"}", 15));
    for (sent = 0; sent < taken_on; sent++) AT_ONCE("\"do\":\"send\",\"socket\":1,\"text\":\"{}\"", "");
    AT_ONCE("{\"type\":\"frame\",\"frame\":{\"type\":\"still here\"}}", "");
    AT_ONCE("\"do\":\"send\"", "last");

    /* The same by bytes: 64 MiB, in frames of 4 MiB. */
    CHECK((frame = malloc((4 << 20) + 1)) != NULL);
    memset(frame, ' ', 4 << 20);
    frame[0] = '{', frame[(4 << 20) - 1] = '}', frame[4 << 20] = '\0';
    for (sent = 0; svantic_send_frame(mesh, frame, 4 << 20) == SVANTIC_STATUS_OK; sent++) CHECK(sent < 17);
    CHECK(sent == 16);
    CHECK_HOLDS(svantic_last_error_json(), "\"BACKLOG_FULL\"");
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED);
    item = next_but_events(mesh, 0);
    svantic_string_free(item);
    CHECK_OK(svantic_send_frame(mesh, frame, 4 << 20));
    free(frame);
    end(mesh);
}

static struct gate turns = GATE;

/* Reads what is to be done, and does it, on a thread of its own. */
static void *carry(void *mesh) {
    char *item;
    svantic_status status;
    while ((status = svantic_next(mesh, 60000, &item)) == SVANTIC_STATUS_OK) {
        if (strstr(item, "\"do\":\"open\"") != NULL) {
            happens(mesh, 1, "\"open\"");
            happens(mesh, 1, "\"message\",\"text\":\"" WELCOME "\"");
        } else if (strstr(item, "\"do\":\"send\"") != NULL) {
            gate_pass(&turns);
        } else if (strstr(item, "\"do\":\"close\"") != NULL) {
            happens(mesh, 1, "\"close\",\"code\":1000");
        }
        svantic_string_free(item);
    }
    CHECK(status == SVANTIC_STATUS_CANCELLED);
    return NULL;
}

static void *send_many(void *mesh) {
    int at;
    for (at = 0; at < 500; at++) CHECK_OK(svantic_send_frame(mesh, "{\"type\":\"x\"}", 12));
    return NULL;
}

/* The blocking forms, with the socket on another thread, and frames from four. */
static void from_many_threads(void) {
    svantic_mesh *mesh = create_with_token("");
    pthread_t carrier, senders[4];
    int at;
    CHECK(pthread_create(&carrier, NULL, carry, mesh) == 0);
    CHECK_OK(svantic_connect(mesh, 50000));
    for (at = 0; at < 4; at++) CHECK(pthread_create(&senders[at], NULL, send_many, mesh) == 0);
    for (at = 0; at < 4; at++) CHECK(pthread_join(senders[at], NULL) == 0);
    gate_wait(&turns, 2001); /* and the hello */
    CHECK_OK(svantic_close_transport(mesh, 0, NULL, 0));
    CHECK(pthread_join(carrier, NULL) == 0);
    end(mesh);
}

CASES(CASE(a_conversation), CASE(no_welcome), CASE(redialed), CASE(without_auto_reconnect), CASE(ends_without_a_word),
      CASE(a_refused_token), CASE(refused_events), CASE(frames_that_nobody_takes),
      CASE(frames_for_a_slow_socket), CASE(from_many_threads))
