/* Configurations and capabilities that are no good, and what the library says about them. */
#define _POSIX_C_SOURCE 200809L
#include "every_function.h"
#include "mesh.h"

static const char good_options[] = JSON({"instance_id": "i", "shared_secret": "hush"});

#define NAMED "\"name\":\"tester\",\"description\":\"d\""

static void refuse_config(const char *json, svantic_status expected, const char *said) {
    svantic_mesh *mesh = NULL;
    svantic_status got = svantic_create(json, &mesh);
    if (got != expected) FAIL("%.80s: %s: %s", json, svantic_status_name(got), svantic_last_error());
    CHECK_HOLDS(svantic_last_error(), said);
    CHECK(mesh == NULL);
}

static void malformed_config(void) {
    refuse_config("", SVANTIC_STATUS_INVALID_JSON, "not JSON");
    refuse_config("{", SVANTIC_STATUS_INVALID_JSON, "not JSON");
    refuse_config("{" NAMED "} {}", SVANTIC_STATUS_INVALID_JSON, "not JSON");
    refuse_config("{'name':'x'}", SVANTIC_STATUS_INVALID_JSON, "not JSON");
    refuse_config("[]", SVANTIC_STATUS_INVALID_JSON, "not an object");
    refuse_config("null", SVANTIC_STATUS_INVALID_JSON, "not an object");
    refuse_config("\"text\"", SVANTIC_STATUS_INVALID_JSON, "not an object");
}

static void wrong_values(void) {
    refuse_config(JSON({"description": "d"}), SVANTIC_STATUS_INVALID_ARGUMENT, "`name` is missing");
    refuse_config(JSON({"name": "n"}), SVANTIC_STATUS_INVALID_ARGUMENT, "`description` is missing");
    refuse_config(JSON({"name": 1, "description": "d"}), SVANTIC_STATUS_INVALID_ARGUMENT, "`name`");
    refuse_config("{" NAMED ",\"workers\":0}", SVANTIC_STATUS_INVALID_ARGUMENT, "`workers`");
    refuse_config("{" NAMED ",\"workers\":\"4\"}", SVANTIC_STATUS_INVALID_ARGUMENT, "`workers`");
    refuse_config("{" NAMED ",\"delivery\":\"push\"}", SVANTIC_STATUS_INVALID_ARGUMENT, "\"callbacks\", \"inline\" or \"pull\"");
    refuse_config("{" NAMED ",\"timeout_ms\":-1}", SVANTIC_STATUS_INVALID_ARGUMENT, "`timeout_ms`");
    refuse_config("{" NAMED ",\"max_frame_bytes\":1e99}", SVANTIC_STATUS_INVALID_ARGUMENT, "`max_frame_bytes`");
    refuse_config("{" NAMED ",\"ca_file\":\"/nowhere/ca.pem\"}", SVANTIC_STATUS_INVALID_ARGUMENT,
                  "/nowhere/ca.pem");
}

static void unknown_key(void) {
    refuse_config("{" NAMED ",\"client_sceret\":\"x\"}", SVANTIC_STATUS_INVALID_ARGUMENT,
                  "did you mean `client_secret`?");
    refuse_config("{" NAMED ",\"zzzzzzzzzzzz\":1}", SVANTIC_STATUS_INVALID_ARGUMENT, "`zzzzzzzzzzzz`");
}

static void deep_json(void) {
    enum { DEPTH = 100000 };
    char *json = malloc(2 * DEPTH + 128);
    svantic_mesh *mesh = create("");
    char *text = NULL;
    size_t at;
    CHECK(json != NULL);
    strcpy(json, "{" NAMED ",\"context\":");
    at = strlen(json);
    memset(json + at, '[', DEPTH);
    memset(json + at + DEPTH, ']', DEPTH);
    strcpy(json + at + 2 * DEPTH, "}");
    refuse_config(json, SVANTIC_STATUS_INVALID_JSON, "not JSON");
    memset(json, '[', DEPTH);
    json[DEPTH] = '\0';
    refuse_config(json, SVANTIC_STATUS_INVALID_JSON, "not JSON");
    CHECK_STATUS(svantic_define_capability(mesh, json, never_run, NULL, never_free), INVALID_JSON);
    CHECK_STATUS(svantic_create_session(mesh, json, 0, &text), INVALID_JSON);
    CHECK_STATUS(svantic_answer_batch(mesh, json, DEPTH, NULL), INVALID_JSON);
    CHECK_STATUS(svantic_verify_dispatch_auth(json, good_options, &text), AUTH);
    CHECK_STATUS(svantic_verify_dispatch_auth("{}", json, &text), INVALID_JSON);
    strcpy(json, "{\"svantic_auth\":");
    at = strlen(json);
    memset(json + at, '[', DEPTH);
    memset(json + at + DEPTH, ']', DEPTH);
    strcpy(json + at + 2 * DEPTH, "}");
    CHECK_STATUS(svantic_verify_dispatch_auth(json, good_options, &text), AUTH);
    svantic_free(mesh);
    free(json);
}

static void huge_json(void) {
    enum { SIZE = 2 << 20 };
    char *text = NULL;
    char *json = malloc(SIZE + 1);
    svantic_mesh *mesh = create("");
    CHECK(json != NULL);
    memset(json, ' ', SIZE);
    memcpy(json, "{" NAMED "}", strlen("{" NAMED "}"));
    json[SIZE] = '\0';
    refuse_config(json, SVANTIC_STATUS_INVALID_ARGUMENT, "1048576");
    refuse_config(json, SVANTIC_STATUS_INVALID_ARGUMENT, "the configuration has ");
    CHECK_STATUS(svantic_define_capability(mesh, json, never_run, NULL, never_free), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_verify_dispatch_auth("{}", json, &text), INVALID_ARGUMENT);
    CHECK(text == NULL);
    json[1 << 20] = '\0'; /* the limit itself is allowed */
    CHECK_OK(svantic_define_capability(mesh, json, never_run, NULL, NULL));
    svantic_free(mesh);
    free(json);
}

static void missing_credentials(void) {
    static const char *const ways[] = {"`client_id` and `client_secret`", "SVANTIC_CLIENT_ID", "SVANTIC_CLIENT_SECRET",
                                       "`token`", "SVANTIC_TOKEN"};
    size_t at;
    unsetenv("SVANTIC_CLIENT_ID");
    unsetenv("SVANTIC_CLIENT_SECRET");
    for (at = 0; at < sizeof ways / sizeof *ways; at++)
        refuse_config("{" NAMED "}", SVANTIC_STATUS_INVALID_ARGUMENT, ways[at]);
    refuse_config("{" NAMED ",\"client_id\":\"c\"}", SVANTIC_STATUS_INVALID_ARGUMENT, "`client_secret` is missing");
    refuse_config("{" NAMED ",\"client_secret\":\"hush\"}", SVANTIC_STATUS_INVALID_ARGUMENT, "`client_id` is missing");
    CHECK(strstr(svantic_last_error(), "hush") == NULL);
    CHECK(setenv("SVANTIC_TOKEN", "a.jwt.token", 1) == 0);
    svantic_free(create(""));
}

static void http_to_another_host(void) {
    svantic_mesh *mesh = NULL;
    refuse_config("{" NAMED ",\"svantic_url\":\"http://mesh.example\"}", SVANTIC_STATUS_INVALID_ARGUMENT,
                  "`allow_insecure`");
    refuse_config("{" NAMED ",\"svantic_url\":\"http://user:hush@mesh.example\"}", SVANTIC_STATUS_INVALID_ARGUMENT,
                  "`svantic_url`");
    CHECK(strstr(svantic_last_error(), "hush") == NULL);
    CHECK_OK(svantic_create("{" NAMED ",\"svantic_url\":\"http://mesh.example\",\"allow_insecure\":true}", &mesh));
    svantic_free(mesh);
}

static void refuse_spec(svantic_mesh *mesh, const char *json, svantic_status expected, const char *said) {
    svantic_status got = svantic_define_capability(mesh, json, never_run, NULL, never_free);
    if (got != expected) FAIL("%.80s: %s: %s", json, svantic_status_name(got), svantic_last_error());
    CHECK_HOLDS(svantic_last_error(), said);
}

static void bad_capabilities(void) {
    svantic_mesh *mesh = create("");
    define(mesh, "taken", never_run, NULL);
    refuse_spec(mesh, JSON({"name": "taken", "description": "d"}), SVANTIC_STATUS_INVALID_ARGUMENT, "already");
    refuse_spec(mesh, JSON({"name": "camelCase", "description": "d"}), SVANTIC_STATUS_INVALID_ARGUMENT, "snake_case");
    refuse_spec(mesh, JSON({"name": "9lives", "description": "d"}), SVANTIC_STATUS_INVALID_ARGUMENT, "snake_case");
    refuse_spec(mesh, JSON({"name": "", "description": "d"}), SVANTIC_STATUS_INVALID_ARGUMENT, "`name`");
    refuse_spec(mesh, JSON({"description": "d"}), SVANTIC_STATUS_INVALID_ARGUMENT, "`name` is missing");
    refuse_spec(mesh, JSON({"name": "a"}), SVANTIC_STATUS_INVALID_ARGUMENT, "`description` is missing");
    refuse_spec(mesh, JSON({"name": "a", "description": "d", "parameters": {"type": "array"}}),
                SVANTIC_STATUS_INVALID_ARGUMENT, "\"type\":\"object\"");
    refuse_spec(mesh, JSON({"name": "a", "description": "d", "parameters": {"type": "object", "required": 5}}),
                SVANTIC_STATUS_INVALID_ARGUMENT, "no JSON Schema");
    refuse_spec(mesh, JSON({"name": "a", "description": "d", "parameter": {}}), SVANTIC_STATUS_INVALID_ARGUMENT,
                "did you mean `parameters`?");
    refuse_spec(mesh, "{", SVANTIC_STATUS_INVALID_JSON, "not JSON");
    refuse_spec(mesh, "[]", SVANTIC_STATUS_INVALID_JSON, "not an object");
    svantic_free(mesh);
}

CASES(CASE(malformed_config), CASE(wrong_values), CASE(unknown_key), CASE(deep_json), CASE(huge_json),
      CASE(missing_credentials), CASE(http_to_another_host), CASE(bad_capabilities))
