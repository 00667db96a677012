/* Arguments that no program should give: each is a status and a sentence, never a crash. */
#define _POSIX_C_SOURCE 200809L
#include "every_function.h"
#include "mesh.h"

/* The call is refused for this argument. */
#define CHECK_NAMES(call, argument)                              \
    do {                                                         \
        CHECK_STATUS(call, INVALID_ARGUMENT);                    \
        CHECK_HOLDS(svantic_last_error(), "`" argument "`");     \
    } while (0)

static const char good_config[] = JSON({"name": "tester", "description": "d"});
static const char good_options[] = JSON({"instance_id": "i", "shared_secret": "hush"});
static const char good_spec[] = JSON({"name": "spec", "description": "d"});

static void null_handle(void) {
    every_function_refuses(NULL, SVANTIC_STATUS_INVALID_HANDLE);
    CHECK_HOLDS(svantic_last_error(), "NULL");
    svantic_free(NULL);
    svantic_string_free(NULL);
}

static void garbage_handles(void) {
    long on_the_stack[8] = {0};
    void *on_the_heap = malloc(64);
    svantic_mesh *mesh = create("");
    every_function_refuses((svantic_mesh *)(void *)on_the_stack, SVANTIC_STATUS_INVALID_HANDLE);
    every_function_refuses(on_the_heap, SVANTIC_STATUS_INVALID_HANDLE);
    every_function_refuses((svantic_mesh *)(uintptr_t)1, SVANTIC_STATUS_INVALID_HANDLE);
    every_function_refuses((svantic_mesh *)(uintptr_t)0xdeadbeef, SVANTIC_STATUS_INVALID_HANDLE);
    every_function_refuses((svantic_mesh *)UINTPTR_MAX, SVANTIC_STATUS_INVALID_HANDLE);
    every_function_refuses((svantic_mesh *)((uintptr_t)mesh + 1), SVANTIC_STATUS_INVALID_HANDLE);
    svantic_free((svantic_mesh *)(void *)on_the_stack);
    svantic_free(on_the_heap);
    svantic_free((svantic_mesh *)(uintptr_t)0xdeadbeef);
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE); /* the good one is none the worse */
    svantic_free(mesh);
    free(on_the_heap);
}

static void use_after_free(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *pulling = create_pulling();
    svantic_free(mesh);
    svantic_free(pulling);
    every_function_refuses(mesh, SVANTIC_STATUS_INVALID_HANDLE);
    every_function_refuses(pulling, SVANTIC_STATUS_INVALID_HANDLE);
    CHECK_HOLDS(svantic_last_error(), "freed");
}

static void double_free(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *next;
    svantic_free(mesh);
    svantic_free(mesh);
    next = create("");
    CHECK(next != mesh); /* a stale handle never comes to mean another agent */
    svantic_free(mesh);
    CHECK(state_of(next) == SVANTIC_STATE_IDLE);
    svantic_free(next);
}

static void stale_after_shutdown(void) {
    svantic_mesh *mesh = create("");
    CHECK_OK(svantic_shutdown(1000));
    every_function_refuses(mesh, SVANTIC_STATUS_INVALID_HANDLE);
    svantic_free(mesh);
}

static void null_pointers(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *pulling = create_pulling();
    svantic_mesh *created = mesh;
    char *text = NULL;
    CHECK_NAMES(svantic_create(NULL, &created), "config_json");
    CHECK(created == mesh);
    CHECK_NAMES(svantic_create(good_config, NULL), "out_mesh");
    CHECK_NAMES(svantic_define_capability(mesh, NULL, never_run, NULL, never_free), "spec_json");
    CHECK_NAMES(svantic_define_capability(mesh, good_spec, NULL, NULL, never_free), "run");
    CHECK_NAMES(svantic_create_session(mesh, NULL, 0, NULL), "out_session_id");
    CHECK_NAMES(svantic_close_session(mesh, NULL, 0), "session_id");
    CHECK_NAMES(svantic_close_session_async(mesh, NULL, 0, never_done, NULL), "session_id");
    CHECK_NAMES(svantic_request(mesh, NULL, "{}", NULL, 0, &text), "path");
    CHECK_NAMES(svantic_request(mesh, "/x", NULL, NULL, 0, &text), "body_json");
    CHECK_NAMES(svantic_request(mesh, "/x", "{}", NULL, 0, NULL), "out_reply_json");
    CHECK_NAMES(svantic_request_async(mesh, NULL, "{}", NULL, 0, never_done, NULL), "path");
    CHECK_NAMES(svantic_request_async(mesh, "/x", NULL, NULL, 0, never_done, NULL), "body_json");
    CHECK_NAMES(svantic_lifeline_fd(pulling, NULL), "out_fd");
    CHECK_NAMES(svantic_extract_trace_context(NULL, NULL, &text), "data_json");
    CHECK_NAMES(svantic_extract_trace_context("{}", NULL, NULL), "out_json");
    CHECK_NAMES(svantic_get_state(mesh, NULL), "out_state");
    CHECK_NAMES(svantic_get_connected(mesh, NULL), "out_connected");
    CHECK_NAMES(svantic_get_svantic_url(mesh, NULL), "out_svantic_url");
    CHECK_NAMES(svantic_get_token(mesh, NULL), "out_token");
    CHECK_NAMES(svantic_get_deployment_mode(mesh, NULL), "out_deployment_mode");
    CHECK_NAMES(svantic_get_instance_id(mesh, NULL), "out_instance_id");
    CHECK_NAMES(svantic_get_agent_card(mesh, NULL), "out_card_json");
    CHECK_NAMES(svantic_get_snapshot(mesh, NULL), "out_snapshot_json");
    CHECK_NAMES(svantic_next(pulling, 0, NULL), "out_item_json");
    CHECK_NAMES(svantic_next_batch(pulling, 1, 0, NULL, NULL), "out_items_json");
    CHECK_NAMES(svantic_next_flat(pulling, 1, 0, NULL, NULL, NULL, NULL, NULL), "out_items_json");
    CHECK_NAMES(svantic_notify_fd(pulling, NULL), "out_fd");
    CHECK_NAMES(svantic_resolve(mesh, NULL, "1"), "dispatch_id");
    CHECK_NAMES(svantic_resolve(mesh, "d", NULL), "result_json");
    CHECK_NAMES(svantic_reject(mesh, NULL, "CODE", "no"), "dispatch_id");
    CHECK_NAMES(svantic_reject(mesh, "d", "CODE", NULL), "message");
    CHECK_NAMES(svantic_answer_batch(mesh, NULL, 0, NULL), "answers_json");
    CHECK_NAMES(svantic_answer_batch(mesh, NULL, 10, NULL), "answers_json");
    CHECK_NAMES(svantic_verify_dispatch_auth(NULL, good_options, &text), "data_json");
    CHECK_NAMES(svantic_verify_dispatch_auth("{}", NULL, &text), "options_json");
    CHECK_NAMES(svantic_verify_dispatch_auth("{}", good_options, NULL), "out_context_json");
    CHECK_NAMES(svantic_parse_traceparent(NULL, &text), "traceparent");
    CHECK_NAMES(svantic_parse_traceparent("", NULL), "out_json");
    CHECK_NAMES(svantic_parse_baggage(NULL, &text), "baggage");
    CHECK_NAMES(svantic_parse_baggage("", NULL), "out_json");
    CHECK(text == NULL);
    /* What may be NULL. */
    CHECK_OK(svantic_on_event(mesh, NULL, NULL, NULL));
    CHECK_OK(svantic_answer_batch(mesh, "[]", 2, NULL));
    CHECK_STATUS(svantic_reject(mesh, "d", NULL, "no"), NOT_FOUND);
    svantic_free(mesh);
    svantic_free(pulling);
}

static void misaligned_pointers(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *pulling = create_pulling();
    union {
        void *aligner;
        char bytes[32];
    } room;
    void *odd;
    char *text;
    memset(room.bytes, 0x5a, sizeof room.bytes);
    odd = room.bytes + 1;
    CHECK_NAMES(svantic_create(good_config, odd), "out_mesh");
    CHECK_NAMES(svantic_create_session(mesh, NULL, 0, odd), "out_session_id");
    CHECK_NAMES(svantic_get_state(mesh, odd), "out_state");
    CHECK_NAMES(svantic_get_svantic_url(mesh, odd), "out_svantic_url");
    CHECK_NAMES(svantic_get_token(mesh, odd), "out_token");
    CHECK_NAMES(svantic_get_deployment_mode(mesh, odd), "out_deployment_mode");
    CHECK_NAMES(svantic_get_instance_id(mesh, odd), "out_instance_id");
    CHECK_NAMES(svantic_get_agent_card(mesh, odd), "out_card_json");
    CHECK_NAMES(svantic_get_snapshot(mesh, odd), "out_snapshot_json");
    CHECK_NAMES(svantic_verify_dispatch_auth("{}", good_options, odd), "out_context_json");
    CHECK_NAMES(svantic_parse_traceparent("", odd), "out_json");
    CHECK_NAMES(svantic_parse_baggage("", odd), "out_json");
    CHECK_NAMES(svantic_extract_trace_context("{}", NULL, odd), "out_json");
    CHECK_NAMES(svantic_request(mesh, "/x", "{}", NULL, 0, odd), "out_reply_json");
    CHECK_NAMES(svantic_lifeline_fd(pulling, odd), "out_fd");
    /* An item waits, and must still be there afterwards. */
    CHECK_OK(svantic_refresh_token_async(pulling, "a.jwt.token", 0, NULL, (void *)(uintptr_t)7));
    CHECK_NAMES(svantic_next(pulling, 0, odd), "out_item_json");
    CHECK_NAMES(svantic_next_batch(pulling, 1, 0, odd, NULL), "out_items_json");
    CHECK_NAMES(svantic_next_batch(pulling, 8, 60000, &text, odd), "out_len");
    CHECK_NAMES(svantic_next_flat(pulling, 1, 0, odd, NULL, NULL, NULL, NULL), "out_items_json");
    CHECK_NAMES(svantic_next_flat(pulling, 8, 60000, &text, odd, NULL, NULL, NULL), "out_items_len");
    CHECK_NAMES(svantic_next_flat(pulling, 8, 60000, &text, NULL, odd, NULL, NULL), "out_contexts_json");
    CHECK_NAMES(svantic_next_flat(pulling, 8, 60000, &text, NULL, NULL, odd, NULL), "out_contexts_len");
    CHECK_NAMES(svantic_notify_fd(pulling, odd), "out_fd");
    CHECK_NAMES(svantic_answer_batch(mesh, "[]", 2, odd), "out_refused");
    text = next_of_type(pulling, "done");
    CHECK_HOLDS(text, "\"tag\":7,");
    svantic_string_free(text);
    for (size_t at = 0; at < sizeof room.bytes; at++) CHECK(room.bytes[at] == 0x5a);
    svantic_free(mesh);
    svantic_free(pulling);
}

static void invalid_utf8(void) {
    static const char bad[] = "\"\xff\xfe\"", cut[] = "{\"name\":\"\xe2\x82";
    svantic_mesh *mesh = create("");
    svantic_mesh *created = NULL;
    char *text = NULL;
    CHECK_STATUS(svantic_create(bad, &created), INVALID_JSON);
    CHECK_STATUS(svantic_create(cut, &created), INVALID_JSON);
    CHECK_HOLDS(svantic_last_error(), "UTF-8");
    CHECK_STATUS(svantic_define_capability(mesh, bad, never_run, NULL, never_free), INVALID_JSON);
    CHECK_STATUS(svantic_refresh_token(mesh, bad, 0), INVALID_JSON);
    CHECK_STATUS(svantic_refresh_token_async(mesh, bad, 0, never_done, NULL), INVALID_JSON);
    CHECK_STATUS(svantic_create_session(mesh, bad, 0, &text), INVALID_JSON);
    CHECK_STATUS(svantic_create_session_async(mesh, bad, 0, never_done, NULL), INVALID_JSON);
    CHECK_STATUS(svantic_close_session(mesh, bad, 0), INVALID_JSON);
    CHECK_STATUS(svantic_close_session_async(mesh, bad, 0, never_done, NULL), INVALID_JSON);
    CHECK_STATUS(svantic_request(mesh, bad, "{}", NULL, 0, &text), INVALID_JSON);
    CHECK_STATUS(svantic_request(mesh, "/x", bad, NULL, 0, &text), INVALID_JSON);
    CHECK_STATUS(svantic_request_async(mesh, "/x", "{}", bad, 0, never_done, NULL), INVALID_JSON);
    CHECK_STATUS(svantic_extract_trace_context(bad, NULL, &text), INVALID_JSON);
    CHECK_STATUS(svantic_extract_trace_context("{}", bad, &text), INVALID_JSON);
    CHECK_STATUS(svantic_resolve(mesh, bad, "1"), INVALID_JSON);
    CHECK_STATUS(svantic_reject(mesh, bad, NULL, "no"), INVALID_JSON);
    CHECK_STATUS(svantic_reject(mesh, "d", bad, "no"), INVALID_JSON);
    CHECK_STATUS(svantic_reject(mesh, "d", NULL, bad), INVALID_JSON);
    CHECK_STATUS(svantic_answer_batch(mesh, bad, strlen(bad), NULL), INVALID_JSON);
    CHECK_STATUS(svantic_verify_dispatch_auth(bad, good_options, &text), INVALID_JSON);
    CHECK_STATUS(svantic_verify_dispatch_auth("{}", bad, &text), INVALID_JSON);
    CHECK_STATUS(svantic_parse_traceparent(bad, &text), INVALID_JSON);
    CHECK_STATUS(svantic_parse_baggage(bad, &text), INVALID_JSON);
    CHECK(created == NULL && text == NULL);
    svantic_free(mesh);
}

static void out_of_range(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *pulling = create_pulling();
    char long_code[130], *text = NULL;
    memset(long_code, 'C', 129);
    long_code[129] = '\0';
    CHECK_NAMES(svantic_next_batch(pulling, 0, 0, &text, NULL), "max_items");
    CHECK_NAMES(svantic_next_batch(pulling, 4097, 0, &text, NULL), "max_items");
    CHECK_STATUS(svantic_next_batch(pulling, 4096, 0, &text, NULL), TIMEOUT);
    CHECK_NAMES(svantic_next_flat(pulling, 0, 0, &text, NULL, NULL, NULL, NULL), "max_items");
    CHECK_STATUS(svantic_next_flat(pulling, 4096, 0, &text, NULL, NULL, NULL, NULL), TIMEOUT);
    CHECK_NAMES(svantic_answer_batch(mesh, "[]", SIZE_MAX, NULL), "answers_json");
    CHECK_NAMES(svantic_reject(mesh, "d", "", "no"), "code");
    CHECK_NAMES(svantic_reject(mesh, "d", "NEW\nLINE", "no"), "code");
    CHECK_NAMES(svantic_reject(mesh, "d", long_code, "no"), "code");
    text = NULL;
    CHECK_NAMES(svantic_verify_dispatch_auth("{}", "{}", &text), "instance_id");
    CHECK_NAMES(svantic_verify_dispatch_auth("{}", JSON({"instance_id": "i"}), &text), "signing_secret");
    CHECK_NAMES(svantic_verify_dispatch_auth("{}", JSON({"instance_id": "i", "shared_secret": "hush", "clock_skew_s": 301}), &text),
                "clock_skew_s");
    CHECK_NAMES(svantic_verify_dispatch_auth("{}", JSON({"instance_id": "i", "shared_sceret": "hush"}), &text),
                "shared_secret");
    CHECK(strstr(svantic_last_error(), "hush") == NULL && text == NULL);
    CHECK_STATUS(svantic_request(mesh, "agents/register", "{}", NULL, 0, &text), INVALID_ARGUMENT);
    CHECK_HOLDS(svantic_last_error(), "[INVALID_PATH]");
    CHECK_STATUS(svantic_request(mesh, "https://evil.example/x", "{}", NULL, 0, &text), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_request_async(mesh, "", "{}", NULL, 0, never_done, NULL), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_request(mesh, "/x", "{}", JSON({"Authorization": "Bearer hush"}), 0, &text), INVALID_ARGUMENT);
    CHECK_HOLDS(svantic_last_error(), "svantic_refresh_token");
    CHECK(strstr(svantic_last_error(), "hush") == NULL);
    CHECK_STATUS(svantic_request(mesh, "/x", "{}", JSON({"Content-Type": "text/plain"}), 0, &text), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_request(mesh, "/x", "{}", JSON(["Bearer hush"]), 0, &text), INVALID_JSON);
    CHECK_STATUS(svantic_request(mesh, "/x", "{}", "\"Bearer hush\"", 0, &text), INVALID_JSON);
    CHECK(strstr(svantic_last_error(), "hush") == NULL);
    CHECK_STATUS(svantic_request(mesh, "/x", "{", NULL, 0, &text), INVALID_JSON);
    CHECK_STATUS(svantic_extract_trace_context("{", NULL, &text), INVALID_JSON);
    CHECK_STATUS(svantic_refresh_token(mesh, "not a token", 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_refresh_token(mesh, "", 0), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_refresh_token_async(mesh, "new\nline", 0, never_done, NULL), INVALID_ARGUMENT);
    svantic_free(mesh);
    svantic_free(pulling);
}

static void wrong_delivery(void) {
    svantic_mesh *mesh = create("");
    svantic_mesh *pulling = create_pulling();
    char *text = NULL;
    size_t length;
    int fd;
    CHECK_STATUS(svantic_next(mesh, 0, &text), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "\"delivery\":\"pull\"");
    CHECK_STATUS(svantic_next_batch(mesh, 1, 0, &text, &length), INVALID_STATE);
    CHECK_STATUS(svantic_next_flat(mesh, 1, 0, &text, NULL, NULL, NULL, NULL), INVALID_STATE);
    CHECK_STATUS(svantic_notify_fd(mesh, &fd), INVALID_STATE);
    CHECK_STATUS(svantic_lifeline_fd(mesh, &fd), INVALID_STATE);
    CHECK_STATUS(svantic_on_event(pulling, never_event, NULL, never_free), INVALID_ARGUMENT);
    CHECK_HOLDS(svantic_last_error(), "svantic_next");
    CHECK_NAMES(svantic_define_capability(pulling, good_spec, never_run, NULL, never_free), "run");
    CHECK_NAMES(svantic_connect_async(pulling, 0, never_done, NULL), "done");
    CHECK_NAMES(svantic_disconnect_async(pulling, 0, never_done, NULL), "done");
    CHECK_NAMES(svantic_refresh_token_async(pulling, NULL, 0, never_done, NULL), "done");
    CHECK_NAMES(svantic_re_register_async(pulling, 0, never_done, NULL), "done");
    CHECK_NAMES(svantic_create_session_async(pulling, NULL, 0, never_done, NULL), "done");
    CHECK_NAMES(svantic_close_session_async(pulling, "s", 0, never_done, NULL), "done");
    CHECK_NAMES(svantic_request_async(pulling, "/x", "{}", NULL, 0, never_done, NULL), "done");
    svantic_free(mesh);
    svantic_free(pulling);
}

static void last_error_json_has_the_parts(void) {
    svantic_mesh *mesh = create(""), *unused = NULL;
    const char *json;
    char before[512];
    CHECK_SAME(svantic_last_error_json(), "");
    CHECK_STATUS(svantic_connect(NULL, 0), INVALID_HANDLE);
    json = svantic_last_error_json();
    CHECK_HOLDS(json, "\"status\":2");
    CHECK_HOLDS(json, "\"code\":\"INVALID_HANDLE\"");
    CHECK_HOLDS(json, "\"message\":\"the mesh handle is NULL\"");
    CHECK_HOLDS(json, "\"hint\":\"");
    CHECK_HOLDS(json, "\"http_status\":null");
    CHECK_HOLDS(json, "\"retryable\":false");
    CHECK(json == svantic_last_error_json()); /* good until the next failure */
    CHECK_HOLDS(svantic_last_error(), "[INVALID_HANDLE]");
    snprintf(before, sizeof before, "%s", json);
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE); /* a success leaves it as it was */
    CHECK_SAME(svantic_last_error_json(), before);
    CHECK_STATUS(svantic_cancel(mesh, NULL), NOT_FOUND);
    CHECK_HOLDS(svantic_last_error_json(), "\"status\":7");
    CHECK_HOLDS(svantic_last_error_json(), "\"code\":\"NOT_PENDING\"");
    CHECK_HOLDS(svantic_last_error_json(), "\"hint\":\"");
    CHECK_STATUS(svantic_create("{\"name\":\"n\",\"description\":\"d\",\"a\\\"b\":1}", &unused), INVALID_ARGUMENT);
    CHECK_HOLDS(svantic_last_error(), "a\"b");
    CHECK_HOLDS(svantic_last_error_json(), "a\\\"b"); /* JSON, whatever it quotes */
    svantic_free(mesh);
}

static void *fail_in_another_way(void *barrier) {
    CHECK_SAME(svantic_last_error(), "");
    CHECK_SAME(svantic_last_error_json(), "");
    CHECK_STATUS(svantic_create("[]", (svantic_mesh **)barrier), INVALID_JSON);
    CHECK_HOLDS(svantic_last_error_json(), "\"status\":3");
    CHECK_HOLDS(svantic_last_error(), "not an object");
    return NULL;
}

static void last_error_is_each_threads_own(void) {
    pthread_t thread;
    svantic_mesh *unused = NULL;
    char mine[256];
    CHECK_SAME(svantic_last_error(), "");
    CHECK_STATUS(svantic_connect(NULL, 0), INVALID_HANDLE);
    snprintf(mine, sizeof mine, "%s", svantic_last_error());
    CHECK_HOLDS(mine, "[INVALID_HANDLE]");
    CHECK(pthread_create(&thread, NULL, fail_in_another_way, &unused) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_SAME(svantic_last_error(), mine);
    svantic_free(create("")); /* a success leaves it as it was */
    CHECK_SAME(svantic_last_error(), mine);
    CHECK_STATUS(svantic_create("[]", &unused), INVALID_JSON);
    CHECK(strcmp(svantic_last_error(), mine) != 0);
}

CASES(CASE(null_handle), CASE(garbage_handles), CASE(use_after_free), CASE(double_free), CASE(stale_after_shutdown),
      CASE(null_pointers), CASE(misaligned_pointers), CASE(invalid_utf8), CASE(out_of_range), CASE(wrong_delivery),
      CASE(last_error_is_each_threads_own), CASE(last_error_json_has_the_parts))
