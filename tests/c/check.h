/* The assertions of the C tests, the cases that a program is made of, and its talk with the Rust test that runs it.
 *
 * A test program holds named cases; its arguments say which to run. It tells the test how far it has come
 * with lines on stdout, and waits for the test with lines on stdin, so that neither ever sleeps. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "svantic.h"

/* JSON in C without a backslash before every quote. */
#define JSON(...) #__VA_ARGS__

#define FAIL(...)                                                          \
    do {                                                                   \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                    \
        fprintf(stderr, __VA_ARGS__);                                      \
        fputc('\n', stderr);                                               \
        _exit(1); /* not exit(): callbacks may be running on other threads */ \
    } while (0)

#define CHECK(condition)                          \
    do {                                          \
        if (!(condition)) FAIL("%s", #condition); \
    } while (0)

/* The call returns exactly this status, given without its prefix. */
#define CHECK_STATUS(call, expected)                                                                   \
    do {                                                                                               \
        svantic_status got_ = (call);                                                                  \
        if (got_ != SVANTIC_STATUS_##expected)                                                         \
            FAIL("%s is %s and not " #expected ": %s", #call, svantic_status_name(got_), svantic_last_error()); \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, OK)

/* The text holds the part. */
#define CHECK_HOLDS(text, part)                                                            \
    do {                                                                                   \
        const char *text_ = (text);                                                        \
        if (strstr(text_, (part)) == NULL) FAIL("\"%s\" is not in \"%s\"", (part), text_); \
    } while (0)

#define CHECK_SAME(left, right)                                                             \
    do {                                                                                    \
        const char *left_ = (left), *right_ = (right);                                      \
        if (strcmp(left_, right_) != 0) FAIL("\"%s\" is not \"%s\"", left_, right_);        \
    } while (0)

struct test_case {
    const char *name;
    void (*run)(void);
};

/* Kills the process if it hangs. A forked child inherits none, so it asks for its own. */
static inline void guard_against_hanging(void) {
    const char *seconds = getenv("CHECK_SECONDS");
    alarm(seconds ? (unsigned)atoi(seconds) : 60);
}

/* One line to the test. */
static inline void tell(const char *line) {
    if (printf("%s\n", line) < 0 || fflush(stdout) != 0) FAIL("the test has gone away");
}

/* Waits for this line from the test. */
static inline void await_line(const char *expected) {
    char line[256];
    if (fgets(line, sizeof line, stdin) == NULL) FAIL("the test has gone away before it said \"%s\"", expected);
    line[strcspn(line, "\n")] = '\0';
    CHECK_SAME(line, expected);
}

/* A connector's state. */
static inline int32_t state_of(svantic_mesh *mesh) {
    int32_t state = -1;
    CHECK_OK(svantic_get_state(mesh, &state));
    return state;
}

/* The value of a string field in flat JSON, copied to `value`. Enough for what the library writes. */
static inline const char *field_of(const char *json, const char *name, char *value, size_t room) {
    char key[64];
    const char *start, *end;
    snprintf(key, sizeof key, "\"%s\":\"", name);
    start = strstr(json, key);
    if (start == NULL) FAIL("there is no \"%s\" in %s", name, json);
    start += strlen(key);
    end = strchr(start, '"');
    CHECK(end != NULL && (size_t)(end - start) < room);
    memcpy(value, start, (size_t)(end - start));
    value[end - start] = '\0';
    return value;
}

static inline int run_cases(const struct test_case *cases, size_t count, int argc, char **argv) {
    size_t at;
    int argument;
    guard_against_hanging();
    for (argument = 1; argument < argc; argument++) {
        for (at = 0; at < count && strcmp(cases[at].name, argv[argument]) != 0; at++) continue;
        if (at == count) {
            fprintf(stderr, "there is no case \"%s\"\n", argv[argument]);
            return 2;
        }
        cases[at].run();
    }
    return argc > 1 ? EXIT_SUCCESS : 2;
}

#define CASE(name) {#name, name}
#define CASES(...)                                                                 \
    int main(int argc, char **argv) {                                              \
        static const struct test_case cases[] = {__VA_ARGS__};                     \
        return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);          \
    }

#endif
