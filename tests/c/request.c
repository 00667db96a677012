/* What a program asks the mesh by itself. */
#define _POSIX_C_SOURCE 200809L
#include "mesh.h"

#define TAG(number) ((void *)(uintptr_t)(number))

static const char registration[] =
    JSON({"agent_type": "tester", "instance_id": "by-hand", "deployment_mode": "connected", "agent_card": {"name": "tester"}});

/* Without connect(), and with a token that is got for it. */
static void registers_by_itself(void) {
    svantic_mesh *mesh = create("");
    char *reply = NULL, *token = NULL;
    CHECK_STATUS(svantic_get_token(mesh, &token), INVALID_STATE);
    CHECK_OK(svantic_request(mesh, "/agents/register", registration, JSON({"X-Tenant": "t1"}), 0, &reply));
    CHECK(*reply == '{');
    CHECK_HOLDS(reply, "\"connect_url\":\"ws");
    svantic_string_free(reply);
    CHECK_OK(svantic_get_token(mesh, &token));
    svantic_string_free(token);
    CHECK(state_of(mesh) == SVANTIC_STATE_IDLE);
    reply = NULL;
    CHECK_STATUS(svantic_request(mesh, "/sessions/close", JSON({"session_id": "none"}), NULL, 0, &reply), REMOTE);
    CHECK(reply == NULL);
    CHECK_HOLDS(svantic_last_error_json(), "\"http_status\":404");
    CHECK_OK(svantic_request(mesh, "/agents/deregister", JSON({"agent_type": "tester", "instance_id": "by-hand"}), NULL, 0, &reply));
    svantic_string_free(reply);
    svantic_free(mesh);
    CHECK_STATUS(svantic_request(mesh, "/x", "{}", NULL, 0, &reply), INVALID_HANDLE);
    CHECK_OK(svantic_shutdown(5000));
}

static void closed_is_closed(void) {
    svantic_mesh *mesh = create("");
    char *reply = NULL;
    CHECK_OK(svantic_disconnect(mesh, 0));
    CHECK_STATUS(svantic_request(mesh, "/x", "{}", NULL, 0, &reply), INVALID_STATE);
    CHECK_HOLDS(svantic_last_error(), "[CLOSED]");
    svantic_free(mesh);
    CHECK(reply == NULL);
    CHECK_OK(svantic_shutdown(5000));
}

struct outcome {
    struct gate gate;
    int32_t status;
    char json[512];
};

static void keep(void *user_data, int32_t status, const char *json, size_t length) {
    struct outcome *outcome = user_data;
    CHECK(strlen(json) == length);
    outcome->status = status;
    snprintf(outcome->json, sizeof outcome->json, "%s", json);
    gate_pass(&outcome->gate);
}

/* The gateway is silent about registrations. */
static void ends_early(void) {
    static struct outcome cancelled = {GATE, -1, ""}, freed = {GATE, -1, ""};
    svantic_mesh *mesh = create("");
    CHECK_OK(svantic_request_async(mesh, "/agents/register", registration, NULL, 0, keep, &cancelled));
    tell("asked");
    await_line("cancel");
    CHECK_OK(svantic_cancel(mesh, &cancelled));
    gate_wait(&cancelled.gate, 1);
    CHECK(cancelled.status == SVANTIC_STATUS_CANCELLED);
    CHECK_HOLDS(cancelled.json, "request was cancelled");
    CHECK_STATUS(svantic_cancel(mesh, &cancelled), NOT_FOUND);
    CHECK_OK(svantic_request_async(mesh, "/agents/register", registration, NULL, 0, keep, &freed));
    svantic_free(mesh);
    CHECK(gate_count(&freed.gate) == 1 && gate_count(&cancelled.gate) == 1);
    CHECK(freed.status == SVANTIC_STATUS_CANCELLED);
    CHECK_OK(svantic_shutdown(5000));
}

static void an_item_with_the_reply(void) {
    svantic_mesh *mesh = create_pulling();
    char *item;
    CHECK_OK(svantic_request_async(mesh, "/agents/register", registration, NULL, 0, NULL, TAG(7)));
    item = next_of_type(mesh, "done");
    CHECK_HOLDS(item, "\"tag\":7,\"status\":0,\"result\":{");
    CHECK_HOLDS(item, "connect_url");
    svantic_string_free(item);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

CASES(CASE(registers_by_itself), CASE(closed_is_closed), CASE(ends_early), CASE(an_item_with_the_reply))
