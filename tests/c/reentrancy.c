/* Calls from inside callbacks: nearly all may be made there, and those that would wait for themselves say so. */
#define _POSIX_C_SOURCE 200809L
#include <sched.h>

#include "mesh.h"

static struct gate released = GATE;
static struct gate returned = GATE;

static void count_release(void *user_data) {
    (void)user_data;
    gate_pass(&released);
}

static void define_counted(svantic_mesh *mesh, const char *name, svantic_handler_fn run) {
    char spec[128];
    snprintf(spec, sizeof spec, "{\"name\":\"%s\",\"description\":\"d\"}", name);
    CHECK_OK(svantic_define_capability(mesh, spec, run, mesh, count_release));
}

/* Frees the agent whose callback this is, which must still be whole until the callback returns. */
static void free_self(svantic_mesh *mesh) {
    int32_t state;
    svantic_free(mesh);
    CHECK_STATUS(svantic_get_state(mesh, &state), INVALID_HANDLE);
    CHECK(gate_count(&released) == 0);
    gate_pass(&returned);
}

static void free_in_handler(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    free_self(mesh);
    CHECK_STATUS(svantic_resolve(mesh, dispatch_id, "1"), INVALID_HANDLE);
    CHECK(strlen(request) == length); /* its arguments are still there too */
}

static void freed_in_a_handler(void) {
    svantic_mesh *mesh = create("");
    define_counted(mesh, "free_me", free_in_handler);
    define_counted(mesh, "other", free_in_handler);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&released, 2);
    CHECK_OK(svantic_shutdown(10000));
    CHECK(gate_count(&released) == 2 && gate_count(&returned) == 1);
}

static void free_when_connected(void *mesh, int32_t event, const char *json, size_t length) {
    CHECK(strlen(json) == length);
    if (event == SVANTIC_EVENT_CONNECTED) free_self(mesh);
}

static void freed_in_an_event(void) {
    svantic_mesh *mesh = create("");
    svantic_status status;
    define_counted(mesh, "other", answer_ok);
    CHECK_OK(svantic_on_event(mesh, free_when_connected, mesh, count_release));
    status = svantic_connect(mesh, 0);
    CHECK(status == SVANTIC_STATUS_OK || status == SVANTIC_STATUS_CANCELLED);
    gate_wait(&released, 2);
    CHECK_OK(svantic_shutdown(10000));
    CHECK(gate_count(&released) == 2 && gate_count(&returned) == 1);
}

static void free_when_done(void *mesh, int32_t status, const char *json, size_t length) {
    CHECK(status == SVANTIC_STATUS_OK && strlen(json) == length);
    free_self(mesh);
}

static void freed_in_a_completion(void) {
    svantic_mesh *mesh = create("");
    define_counted(mesh, "other", answer_ok);
    CHECK_OK(svantic_connect_async(mesh, 0, free_when_done, mesh));
    gate_wait(&released, 1);
    CHECK_OK(svantic_shutdown(10000));
    CHECK(gate_count(&released) == 1 && gate_count(&returned) == 1);
}

static struct gate in_handler = GATE;
static struct gate go_on = GATE;

static void wait_in_handler(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)mesh, (void)dispatch_id, (void)request, (void)length;
    gate_pass(&in_handler);
    gate_wait(&go_on, 1);
    CHECK(gate_count(&released) == 0);
    gate_pass(&returned);
}

static void *free_and_look(void *mesh) {
    svantic_free(mesh);
    CHECK(gate_count(&returned) == 1); /* the callback has returned */
    CHECK(gate_count(&released) == 1); /* and what it used is released */
    return NULL;
}

static void free_waits_for_a_callback(void) {
    svantic_mesh *mesh = create("");
    pthread_t thread;
    int32_t state;
    define_counted(mesh, "wait", wait_in_handler);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&in_handler, 1);
    CHECK(pthread_create(&thread, NULL, free_and_look, mesh) == 0);
    while (svantic_get_state(mesh, &state) == SVANTIC_STATUS_OK) sched_yield(); /* until it has begun */
    /* The mesh has its answer while the callback still runs. */
    tell("freeing");
    await_line("answered");
    CHECK(gate_count(&released) == 0);
    gate_pass(&go_on);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_OK(svantic_shutdown(5000));
}

static void shutdown_tells_of_a_callback(void) {
    svantic_mesh *mesh = create("");
    define_counted(mesh, "wait", wait_in_handler);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&in_handler, 1);
    CHECK_STATUS(svantic_shutdown(100), TIMEOUT);
    CHECK_HOLDS(svantic_last_error(), "under way");
    CHECK(gate_count(&released) == 0);
    gate_pass(&go_on);
    gate_wait(&released, 1); /* finished in the background */
    CHECK(gate_count(&returned) == 1);
    CHECK_OK(svantic_shutdown(5000));
}

/* Two workers: one frees while the other is in its handler, which goes on as before. */
static void free_beside_another(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)length;
    if (strstr(request, "\"free\":true")) {
        gate_wait(&in_handler, 1);
        free_self(mesh);
        gate_pass(&go_on);
    } else {
        gate_pass(&in_handler);
        gate_wait(&go_on, 1);
        CHECK_STATUS(svantic_resolve(mesh, dispatch_id, "1"), INVALID_HANDLE);
        CHECK(gate_count(&released) == 0);
    }
}

static void freed_beside_another_handler(void) {
    svantic_mesh *mesh = create("\"workers\":2");
    define_counted(mesh, "work", free_beside_another);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&released, 1);
    CHECK_OK(svantic_shutdown(10000));
    CHECK(gate_count(&released) == 1 && gate_count(&returned) == 1);
}

static struct gate disconnected = GATE;

static void note_disconnected(void *mesh, int32_t status, const char *json, size_t length) {
    (void)length;
    if (status != SVANTIC_STATUS_OK) FAIL("%s", json);
    CHECK(state_of(mesh) == SVANTIC_STATE_CLOSED);
    gate_pass(&disconnected);
}

static void try_to_deadlock(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)request, (void)length;
    CHECK_STATUS(svantic_disconnect(mesh, 0), WOULD_DEADLOCK);
    CHECK_HOLDS(svantic_last_error(), "svantic_disconnect_async");
    CHECK_STATUS(svantic_shutdown(1000), WOULD_DEADLOCK);
    CHECK(state_of(mesh) == SVANTIC_STATE_CONNECTED); /* neither has done anything */
    CHECK_OK(svantic_disconnect_async(mesh, 0, note_disconnected, mesh));
    CHECK_OK(svantic_resolve(mesh, dispatch_id, "\"not yet closed\""));
}

static void would_deadlock(void) {
    svantic_mesh *mesh = create("");
    define_counted(mesh, "deadlock", try_to_deadlock);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    gate_wait(&disconnected, 1);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void call_everything(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    char *text = NULL;
    (void)request, (void)length;
    CHECK_OK(svantic_create_session(mesh, NULL, 0, &text));
    CHECK_OK(svantic_close_session(mesh, text, 0));
    svantic_string_free(text);
    CHECK_OK(svantic_refresh_token(mesh, NULL, 0));
    define_counted(mesh, "defined_in_a_callback", answer_ok);
    CHECK_OK(svantic_network_changed(mesh));
    CHECK_OK(svantic_re_register(mesh, 0));
    CHECK_STATUS(svantic_connect(mesh, 0), INVALID_STATE);
    CHECK_OK(svantic_get_agent_card(mesh, &text));
    CHECK_HOLDS(text, "defined_in_a_callback");
    svantic_string_free(text);
    CHECK_OK(svantic_on_event(mesh, NULL, NULL, NULL));
    CHECK_OK(svantic_resolve(mesh, dispatch_id, "\"all of them\""));
}

static void blocking_calls_in_a_handler(void) {
    svantic_mesh *mesh = create("");
    define_counted(mesh, "everything", call_everything);
    CHECK_OK(svantic_connect(mesh, 0));
    tell("connected");
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
    CHECK(gate_count(&released) == 2);
}

static void end_the_other(void *other, const char *dispatch_id, const char *request, size_t length) {
    (void)dispatch_id, (void)length;
    if (strstr(request, "\"disconnect\":true")) CHECK_OK(svantic_disconnect(other, 0));
    svantic_free(other);
    gate_pass(&returned);
}

static void another_agent_ended_in_a_handler(void) {
    svantic_mesh *mesh = create("\"instance_id\":\"one\"");
    svantic_mesh *second = create("\"instance_id\":\"two\"");
    svantic_mesh *third = create("\"instance_id\":\"three\",\"delivery\":\"pull\"");
    define(mesh, "end_second", end_the_other, second);
    define(mesh, "end_third", end_the_other, third);
    define_counted(second, "other", answer_ok);
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK_OK(svantic_connect(second, 0));
    CHECK_OK(svantic_connect(third, 0));
    tell("connected");
    gate_wait(&returned, 2);
    gate_wait(&released, 1);
    await_line("leave");
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(10000));
}

static svantic_mesh *issuer;

static void give_token(void *mesh, int32_t event, const char *json, size_t length) {
    char *jwt = NULL;
    CHECK(strlen(json) == length);
    if (event != SVANTIC_EVENT_TOKEN_WANTED) return;
    CHECK_HOLDS(json, "\"missing\"");
    CHECK_OK(svantic_get_token(issuer, &jwt));
    CHECK_OK(svantic_refresh_token(mesh, jwt, 0));
    svantic_string_free(jwt);
    gate_pass(&returned);
}

/* Another agent's token stands for what an application issues. */
static void a_token_given_in_an_event(void) {
    svantic_mesh *mesh = create("\"instance_id\":\"two\",\"token_provider\":true");
    issuer = create("");
    CHECK_OK(svantic_connect(issuer, 0));
    CHECK_OK(svantic_on_event(mesh, give_token, mesh, NULL));
    CHECK_OK(svantic_connect(mesh, 0));
    CHECK(gate_count(&returned) == 1);
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    svantic_free(issuer);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(freed_in_a_handler), CASE(freed_beside_another_handler), CASE(freed_in_an_event), CASE(freed_in_a_completion), CASE(free_waits_for_a_callback),
      CASE(shutdown_tells_of_a_callback), CASE(would_deadlock), CASE(blocking_calls_in_a_handler),
      CASE(another_agent_ended_in_a_handler), CASE(a_token_given_in_an_event))
