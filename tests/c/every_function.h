/* Every function that takes a handle, called with arguments that are otherwise good. */
#ifndef EVERY_FUNCTION_H
#define EVERY_FUNCTION_H

#include "check.h"

static inline void never_run(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    (void)user_data, (void)dispatch_id, (void)request, (void)length;
    FAIL("a handler ran that nobody may call");
}

static inline void never_event(void *user_data, int32_t event, const char *json, size_t length) {
    (void)user_data, (void)event, (void)json, (void)length;
    FAIL("an event came to whom nobody may call");
}

static inline void never_done(void *user_data, int32_t status, const char *json, size_t length) {
    (void)user_data, (void)status, (void)json, (void)length;
    FAIL("an operation ended that never began");
}

static inline void never_response(void *user_data, const char *response) {
    (void)user_data, (void)response;
    FAIL("a response came to a request that was never taken");
}

static inline void never_free(void *user_data) {
    (void)user_data;
    FAIL("a user_data was released that stayed the caller's");
}

#define REFUSED(call)                                                                                \
    do {                                                                                             \
        svantic_status got_ = (call);                                                                \
        if (got_ != expected)                                                                        \
            FAIL("%s is %s and not %s", #call, svantic_status_name(got_), svantic_status_name(expected)); \
        CHECK(*svantic_last_error() != '\0' && *svantic_last_error_json() == '{');                                                        \
    } while (0)

/* Each refuses with `expected`, writes nothing and calls nothing back. */
static inline void every_function_refuses(svantic_mesh *mesh, svantic_status expected) {
    char nothing, *text = &nothing;
    int32_t state = -7;
    bool connected = true, flag = true;
    size_t length = 7;
    int fd = -7;
    uint32_t refused = 7;
    const char *event = JSON({"socket": 1, "event": "open"});
    const char *get = JSON({"method": "GET", "path": "/"});
    const char *spec = JSON({"name": "refused", "description": "d"});

    REFUSED(svantic_on_event(mesh, never_event, NULL, never_free));
    REFUSED(svantic_define_capability(mesh, spec, never_run, NULL, never_free));
    REFUSED(svantic_connect(mesh, 0));
    REFUSED(svantic_connect_async(mesh, 0, never_done, NULL));
    REFUSED(svantic_disconnect(mesh, 0));
    REFUSED(svantic_disconnect_async(mesh, 0, never_done, NULL));
    REFUSED(svantic_refresh_token(mesh, NULL, 0));
    REFUSED(svantic_refresh_token_async(mesh, NULL, 0, never_done, NULL));
    REFUSED(svantic_re_register(mesh, 0));
    REFUSED(svantic_re_register_async(mesh, 0, never_done, NULL));
    REFUSED(svantic_create_session(mesh, "{}", 0, &text));
    REFUSED(svantic_create_session_async(mesh, "{}", 0, never_done, NULL));
    REFUSED(svantic_close_session(mesh, "s", 0));
    REFUSED(svantic_close_session_async(mesh, "s", 0, never_done, NULL));
    REFUSED(svantic_request(mesh, "/agents/register", "{}", NULL, 0, &text));
    REFUSED(svantic_request_async(mesh, "/agents/register", "{}", NULL, 0, never_done, NULL));
    REFUSED(svantic_cancel(mesh, NULL));
    REFUSED(svantic_network_changed(mesh));
    REFUSED(svantic_get_state(mesh, &state));
    REFUSED(svantic_get_connected(mesh, &connected));
    REFUSED(svantic_get_svantic_url(mesh, &text));
    REFUSED(svantic_get_token(mesh, &text));
    REFUSED(svantic_get_deployment_mode(mesh, &text));
    REFUSED(svantic_get_instance_id(mesh, &text));
    REFUSED(svantic_get_agent_card(mesh, &text));
    REFUSED(svantic_get_snapshot(mesh, &text));
    REFUSED(svantic_next(mesh, 0, &text));
    REFUSED(svantic_next_batch(mesh, 1, 0, &text, &length));
    REFUSED(svantic_next_flat(mesh, 1, 0, &text, &length, &text, &length, &flag));
    REFUSED(svantic_notify_fd(mesh, &fd));
    REFUSED(svantic_lifeline_fd(mesh, &fd));
    REFUSED(svantic_resolve(mesh, "d", "1"));
    REFUSED(svantic_reject(mesh, "d", NULL, "no"));
    REFUSED(svantic_answer_batch(mesh, "[]", 2, &refused));
    REFUSED(svantic_serve(mesh, get, NULL, 0, 0, &text));
    REFUSED(svantic_serve_async(mesh, get, NULL, 0, never_response, NULL));
    REFUSED(svantic_send_frame(mesh, "{}", 2));
    REFUSED(svantic_close_transport(mesh, 1000, "bye", 0));
    REFUSED(svantic_close_transport_async(mesh, 1000, "bye", 0, never_done, NULL));
    REFUSED(svantic_socket_event(mesh, event, strlen(event)));
    CHECK(text == &nothing && state == -7 && connected && flag && length == 7 && fd == -7 && refused == 7);
}

#endif
