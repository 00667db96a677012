/* The conformance driver of the C face: conformance/README.md says what a driver is told and what it prints. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "svantic.h"

struct capability {
    char name[64], kind[16], *argument;
};

struct sleeper {
    char dispatch_id[160];
    long ms;
};

static svantic_mesh *mesh;
static int pulls, nothing;
static struct capability capabilities[64];
static size_t capability_count; /* only the main thread adds, before the mesh hears of the name */

static void on_end_signal(int number) {
    (void)number;
    dup2(nothing, STDIN_FILENO); /* the next read sees the end, and one that waits is interrupted */
}

static void fail(const char *what) {
    fprintf(stderr, "driver: %s: %s\n", what, svantic_last_error());
    _exit(1);
}

/* The string field `name` of flat JSON that the library wrote. */
static void read_field(const char *json, const char *name, char *value, size_t room) {
    char key[64];
    const char *start;
    size_t length;
    snprintf(key, sizeof key, "\"%s\":\"", name);
    if ((start = strstr(json, key)) == NULL) fail(json);
    start += strlen(key);
    if ((length = strcspn(start, "\"")) >= room) fail(json);
    memcpy(value, start, length), value[length] = '\0';
}

/* A copy of the object that stands under "args". */
static char *copy_args(const char *request) {
    const char *start = strstr(request, "\"args\":"), *at;
    int depth = 0, quoted = 0;
    char *copy;
    if (start == NULL) fail(request);
    for (at = start += strlen("\"args\":"); *at != '\0'; at++) {
        if (quoted && *at == '\\') at++;
        else if (*at == '"') quoted = !quoted;
        else if (!quoted && *at == '{') depth++;
        else if (!quoted && *at == '}' && --depth == 0) break;
    }
    copy = calloc(1, (size_t)(at - start) + 2);
    return copy ? memcpy(copy, start, (size_t)(at - start) + 1) : NULL;
}

static void ended(const char *dispatch_id, svantic_status status) {
    printf("{\"type\":\"end\",\"dispatch_id\":\"%s\",\"status\":%d}\n", dispatch_id, (int)status);
}

static void *sleep_and_answer(void *argument) {
    struct sleeper *sleeper = argument;
    struct timespec left = {sleeper->ms / 1000, sleeper->ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) continue;
    ended(sleeper->dispatch_id, svantic_resolve(mesh, sleeper->dispatch_id, "\"slept\""));
    free(sleeper);
    return NULL;
}

static void answer_later(const char *dispatch_id, long ms) {
    struct sleeper *sleeper = calloc(1, sizeof *sleeper);
    pthread_t thread;
    if (sleeper == NULL) fail("memory");
    snprintf(sleeper->dispatch_id, sizeof sleeper->dispatch_id, "%s", dispatch_id), sleeper->ms = ms;
    if (pthread_create(&thread, NULL, sleep_and_answer, sleeper) != 0) fail("a thread");
    pthread_detach(thread);
}

static void handle(void *capability, const char *dispatch_id, const char *request, size_t length) {
    const struct capability *its = capability;
    char *text = NULL;
    printf("{\"type\":\"start\",\"request\":%.*s}\n", (int)length, request);
    if (strcmp(its->kind, "echo") == 0) {
        text = copy_args(request);
        ended(dispatch_id, svantic_resolve(mesh, dispatch_id, text));
    } else if (strcmp(its->kind, "sleep") == 0) {
        answer_later(dispatch_id, atol(its->argument));
    } else if (strcmp(its->kind, "fail") == 0) { /* CODE:MESSAGE */
        char code[64] = "";
        size_t size = strcspn(its->argument, ":");
        memcpy(code, its->argument, size < sizeof code ? size : sizeof code - 1);
        ended(dispatch_id, svantic_reject(mesh, dispatch_id, *code ? code : NULL, its->argument + size + 1));
    } else if (strcmp(its->kind, "raw") == 0) {
        ended(dispatch_id, svantic_resolve(mesh, dispatch_id, its->argument));
    } else if (strcmp(its->kind, "big") == 0) {
        size_t bytes = (size_t)atol(its->argument);
        if ((text = calloc(1, bytes + 3)) == NULL) fail("memory");
        memset(text, 'x', bytes + 2), text[0] = text[bytes + 1] = '"';
        ended(dispatch_id, svantic_resolve(mesh, dispatch_id, text));
    } /* "block" answers when it is cancelled, which must be too late */
    free(text);
}

static void on_event(void *unused, int32_t event, const char *json, size_t length) {
    (void)unused;
    if (event == SVANTIC_EVENT_DISPATCH_CANCELLED) {
        char id[160];
        read_field(json, "dispatch_id", id, sizeof id);
        printf("{\"type\":\"late\",\"dispatch_id\":\"%s\",\"status\":%d}\n", id, (int)svantic_resolve(mesh, id, "0"));
    }
    printf("{\"type\":\"event\",\"event\":%d,\"data\":%.*s}\n", (int)event, (int)length, json);
}

static void on_done(void *tag, int32_t status, const char *result, size_t length) {
    printf("{\"type\":\"done\",\"tag\":%d,\"status\":%d,\"result\":%.*s}\n", (int)(intptr_t)tag, (int)status,
           (int)length, result);
}

static void *pull(void *unused) {
    char *item, name[64], id[160];
    svantic_status status;
    size_t at;
    while ((status = svantic_next(mesh, 60000, &item)) == SVANTIC_STATUS_OK || status == SVANTIC_STATUS_TIMEOUT) {
        if (status != SVANTIC_STATUS_OK) continue;
        if (strncmp(item, "{\"type\":\"dispatch\"", 18) == 0) {
            read_field(item, "skill_id", name, sizeof name), read_field(item, "dispatch_id", id, sizeof id);
            for (at = 0; strcmp(capabilities[at].name, name) != 0; at++) continue;
            handle(&capabilities[at], id, item, strlen(item));
        } else {
            if (strncmp(item, "{\"type\":\"event\",\"event\":4,", 25) == 0) {
                read_field(item, "dispatch_id", id, sizeof id);
                printf("{\"type\":\"late\",\"dispatch_id\":\"%s\",\"status\":%d}\n", id,
                       (int)svantic_resolve(mesh, id, "0"));
            }
            printf("%s\n", item);
        }
        svantic_string_free(item);
    }
    return unused;
}

/* NAME:KIND:ARGUMENT */
static svantic_status define(const char *text) {
    struct capability *its = &capabilities[capability_count++];
    char spec[256];
    if (capability_count == 64 || sscanf(text, "%63[^:]:%15[^:]", its->name, its->kind) != 2) fail(text);
    its->argument = strdup(text + strlen(its->name) + strlen(its->kind) + 2);
    snprintf(spec, sizeof spec, "{\"name\":\"%s\",\"description\":\"%s\",\"parameters\":{\"type\":\"object\","
             "\"properties\":{\"n\":{\"type\":\"integer\"}}}}", its->name, its->kind);
    return svantic_define_capability(mesh, spec, pulls ? NULL : handle, pulls ? NULL : its, NULL);
}

static void obey(const char *command, const char *argument, int number) {
    svantic_done_fn done = pulls ? NULL : on_done;
    void *tag = (void *)(intptr_t)number;
    svantic_status status;
    const char *options = *argument ? argument : NULL;
    if (strcmp(command, "connect") == 0) status = svantic_connect_async(mesh, 0, done, tag);
    else if (strcmp(command, "re_register") == 0) status = svantic_re_register_async(mesh, 0, done, tag);
    else if (strcmp(command, "refresh_token") == 0) status = svantic_refresh_token_async(mesh, NULL, 0, done, tag);
    else if (strcmp(command, "create_session") == 0)
        status = svantic_create_session_async(mesh, options, 0, done, tag);
    else if (strcmp(command, "close_session") == 0)
        status = svantic_close_session_async(mesh, argument, 0, done, tag);
    else if (strcmp(command, "disconnect") == 0)
        status = svantic_disconnect_async(mesh, (uint32_t)atol(argument), done, tag);
    else if ((status = define(argument)) == SVANTIC_STATUS_OK) /* "define" ends at once */
        on_done(tag, status, "null", 4);
    if (status != SVANTIC_STATUS_OK) on_done(tag, status, "null", 4);
}

int main(int argc, char **argv) {
    char line[1024], command[64];
    struct sigaction end = {0};
    pthread_t puller;
    svantic_status left;
    int32_t state = -1;
    int at, taken, number = 0;
    nothing = open("/dev/null", O_RDONLY);
    end.sa_handler = on_end_signal;
    sigaction(SIGTERM, &end, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3) return 2;
    pulls = strcmp(argv[1], "pull") == 0;
    if (svantic_create(argv[2], &mesh) != SVANTIC_STATUS_OK) fail("create");
    if (!pulls && svantic_on_event(mesh, on_event, NULL, NULL) != SVANTIC_STATUS_OK) fail("on_event");
    for (at = 3; at < argc; at++)
        if (define(argv[at]) != SVANTIC_STATUS_OK) fail(argv[at]);
    if (pulls && pthread_create(&puller, NULL, pull, NULL) != 0) fail("a thread");
    obey("connect", "", number);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%63s %n", command, &taken) != 1 || strcmp(command, "quit") == 0) break;
        obey(command, line + taken, ++number);
    }
    left = svantic_disconnect(mesh, 0);
    svantic_get_state(mesh, &state);
    /* A closed agent hands out its last item by itself, a failed one when it is freed. */
    if (pulls && state == SVANTIC_STATE_CLOSED) pthread_join(puller, NULL);
    svantic_free(mesh);
    if (pulls && state != SVANTIC_STATE_CLOSED) pthread_join(puller, NULL);
    on_done((void *)(intptr_t)-1, left, "null", 4);
    return svantic_shutdown(5000) == SVANTIC_STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
