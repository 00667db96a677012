/* Dispatches that the application receives itself, verified without any agent. The tokens come from the test. */
#define _POSIX_C_SOURCE 200809L
#include <sys/wait.h>

#include "mesh.h"

#define THREADS 64

/* The test's answer to a question: the data part of a dispatch. The caller frees it. */
static char *ask(const char *question) {
    size_t room = 1 << 16, length;
    char *line = malloc(room);
    CHECK(line != NULL);
    tell(question);
    if (fgets(line, (int)room, stdin) == NULL) FAIL("the test has gone away before it answered \"%s\"", question);
    length = strcspn(line, "\n");
    CHECK(line[length] == '\n');
    line[length] = '\0';
    return line;
}

static const char *options(void) {
    const char *json = getenv("CHECK_OPTIONS");
    CHECK(json != NULL);
    return json;
}

static bool accepted(const char *data) {
    char *context = NULL;
    svantic_status status = svantic_verify_dispatch_auth(data, options(), &context);
    if (status == SVANTIC_STATUS_OK) {
        CHECK(context != NULL);
        svantic_string_free(context);
        return true;
    }
    CHECK(status == SVANTIC_STATUS_AUTH && context == NULL);
    return false;
}

#define CHECK_REFUSED(data, code)                                                            \
    do {                                                                                     \
        char *refused_ = NULL;                                                               \
        CHECK_STATUS(svantic_verify_dispatch_auth((data), options(), &refused_), AUTH);      \
        CHECK_HOLDS(svantic_last_error(), "[" code "]");                                     \
        CHECK(refused_ == NULL);                                                             \
    } while (0)

static void good_then_replayed(void) {
    char *data = ask("good"), *other = ask("good"), *shared = ask("shared"), *context = NULL, value[128];
    CHECK_OK(svantic_verify_dispatch_auth(data, options(), &context));
    CHECK_SAME(field_of(context, "scheme", value, sizeof value), "svantic_jwt");
    CHECK_SAME(field_of(context, "instance_id", value, sizeof value), "i1");
    CHECK_SAME(field_of(context, "tenant_id", value, sizeof value), "t1");
    CHECK_HOLDS(context, "\"agent_type\":null");
    CHECK_HOLDS(context, "\"expires_at\":1");
    CHECK(*field_of(context, "dispatch_id", value, sizeof value) != '\0');
    svantic_string_free(context);
    CHECK_REFUSED(data, "replayed");
    CHECK(accepted(other));
    CHECK_REFUSED(data, "replayed");
    CHECK_OK(svantic_shutdown(0)); /* which ends agents, and makes nothing forgotten */
    CHECK_REFUSED(other, "replayed");
    CHECK(accepted(shared) && accepted(shared));
    free(data), free(other), free(shared);
}

/* The test says what it is and what it must be refused for, until it says "done". */
static void forged(void) {
    for (;;) {
        char *code = ask("code"), *data, *context = NULL;
        if (strcmp(code, "done") == 0) {
            free(code);
            return;
        }
        data = ask("data");
        CHECK_STATUS(svantic_verify_dispatch_auth(data, options(), &context), AUTH);
        CHECK_HOLDS(svantic_last_error(), code);
        CHECK(context == NULL);
        CHECK(strstr(svantic_last_error(), "hush") == NULL && strstr(svantic_last_error(), "eyJ") == NULL);
        free(code), free(data);
    }
}

static struct gate ready = GATE, verified = GATE;

static void *verify_with_the_others(void *data) {
    gate_pass(&ready);
    gate_wait(&ready, THREADS);
    if (accepted(data)) gate_pass(&verified);
    return NULL;
}

static void one_of_many_threads(void) {
    pthread_t threads[THREADS];
    char *data = ask("good");
    int at;
    for (at = 0; at < THREADS; at++)
        CHECK(pthread_create(&threads[at], NULL, verify_with_the_others, data) == 0);
    for (at = 0; at < THREADS; at++) CHECK(pthread_join(threads[at], NULL) == 0);
    CHECK(gate_count(&verified) == 1);
    free(data);
}

static struct gate busy = GATE, enough = GATE;

static void *keep_verifying(void *data) {
    while (gate_count(&enough) == 0) {
        CHECK(!accepted(data));
        gate_pass(&busy);
    }
    return NULL;
}

/* Whoever only verifies may fork, also while other threads verify: the child goes on with what the parent knew. */
static void forks_while_threads_verify(void) {
    pthread_t threads[4];
    char *known = ask("good"), *fresh = ask("good");
    int at, status;
    CHECK(accepted(known));
    for (at = 0; at < 4; at++) CHECK(pthread_create(&threads[at], NULL, keep_verifying, known) == 0);
    gate_wait(&busy, 100);
    for (at = 0; at < 50; at++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            guard_against_hanging();
            CHECK_REFUSED(known, "replayed");
            CHECK(accepted(fresh));
            CHECK_REFUSED(fresh, "replayed");
            if (at == 0) svantic_free(create("")); /* nor is anything else forbidden there */
            _exit(EXIT_SUCCESS);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    }
    gate_pass(&enough);
    for (at = 0; at < 4; at++) CHECK(pthread_join(threads[at], NULL) == 0);
    CHECK(accepted(fresh)); /* the parent does not know what its children accepted */
    free(known), free(fresh);
}

static void parses_as(svantic_status (*parse)(const char *, char **), const char *text, const char *expected) {
    char *json = NULL;
    CHECK_OK(parse(text, &json));
    CHECK_SAME(json, expected);
    svantic_string_free(json);
}

/* White space between the members is of no interest. */
static void extracts_as(const char *data, const char *headers, const char *expected) {
    char *json = NULL, wanted[1024];
    size_t length = 0;
    for (; *expected != '\0'; expected++)
        if (*expected != ' ' && *expected != '\n') wanted[length++] = *expected;
    wanted[length] = '\0';
    CHECK_OK(svantic_extract_trace_context(data, headers, &json));
    CHECK_SAME(json, wanted);
    svantic_string_free(json);
}

static void parse_all(void) {
    parses_as(svantic_parse_traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
              JSON({"flags":"01","span_id":"00f067aa0ba902b7","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}));
    parses_as(svantic_parse_traceparent, "", "null");
    parses_as(svantic_parse_traceparent, "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "null");
    parses_as(svantic_parse_baggage, "user=alice%20b;p=1, tier = gold ,broken,tier=\"x\"",
              "{\"tier\":\"\\\"x\\\"\",\"user\":\"alice b\"}");
    parses_as(svantic_parse_baggage, "", "{}");
    extracts_as(JSON({"traceparent":"00-x","session_context":{"baggage":"user=alice"}}),
                JSON({"TraceParent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","Baggage":["user=bob"]}),
                JSON({"baggage":{"user":"alice"},"parent_span_id":"00f067aa0ba902b7",
"parent_trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","propagation_headers":{"baggage":"user=alice",
"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}));
    extracts_as("{}", NULL, "{\"baggage\":{},\"propagation_headers\":{}}");
    extracts_as("[7]", "7", "{\"baggage\":{},\"propagation_headers\":{}}");
}

static void trace_context(void) {
    svantic_mesh *mesh;
    pid_t child;
    int status;
    parse_all();
    mesh = create("");
    CHECK((child = fork()) >= 0);
    if (child == 0) {
        guard_against_hanging();
        CHECK_STATUS(svantic_get_connected(mesh, NULL), FORKED);
        parse_all(); /* in a child that may do nothing else */
        _exit(EXIT_SUCCESS);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    svantic_free(mesh);
}

CASES(CASE(good_then_replayed), CASE(forged), CASE(one_of_many_threads), CASE(forks_while_threads_verify),
      CASE(trace_context))
