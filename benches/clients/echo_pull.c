/* An echo agent for a load generator, through svantic_next_batch() and svantic_answer_batch(): `echo_pull PORT`; see
 * README.md in this folder. Goes through the whole of svantic_connect() and stays until it is killed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "svantic.h"

/* How many dispatches one call hands out at most. */
enum { BATCH = 256 };

static char *answers;
static size_t used, room;

static void append(const char *text, size_t length) {
    if (used + length > room) {
        room = 2 * (used + length);
        answers = realloc(answers, room);
        if (!answers) abort();
    }
    memcpy(answers + used, text, length);
    used += length;
}

/* What is behind a string whose opening quote is here. */
static const char *behind_string(const char *at) {
    for (at++; *at != '"'; at++) {
        at += strcspn(at, "\"\\");
        if (*at == '"') break;
        at++; /* the backslash; what it escapes goes with the loop */
    }
    return at + 1;
}

/* What is behind an object or array that begins here. */
static const char *behind_value(const char *at) {
    int depth = 0;
    do {
        at += strcspn(at, "\"{}[]");
        if (*at == '"') {
            at = behind_string(at);
        } else {
            depth += *at == '{' || *at == '[' ? 1 : -1;
            at++;
        }
    } while (depth > 0);
    return at;
}

/* Answers every dispatch of an array of items. A dispatch says so first, then its id; "args" is its last field. */
static int answer(svantic_mesh *mesh, const char *items) {
    static const char lead[] = "{\"type\":\"dispatch\",\"dispatch_id\":";
    const char *at = items + 1;
    used = 0;
    while (*at == '{') {
        const char *end, *id, *args;
        if (strncmp(at, lead, sizeof lead - 1) == 0) {
            id = at + sizeof lead - 1;
            args = behind_string(id);
            append(used ? "," : "[", 1);
            append("{\"dispatch_id\":", 15);
            append(id, (size_t)(args - id));
            args = strstr(args, ",\"args\":") + 8;
            end = behind_value(args);
            append(",\"result\":", 10);
            append(args, (size_t)(end - args));
            append("}", 1);
            end++;
        } else {
            end = behind_value(at);
        }
        at = *end == ',' ? end + 1 : end;
    }
    if (used == 0) return 0;
    append("]", 1);
    return svantic_answer_batch(mesh, answers, used, NULL);
}

int main(int argc, char **argv) {
    svantic_mesh *mesh;
    char config[512], *items;
    svantic_status status;
    if (argc < 2) return 2;
    snprintf(config, sizeof config,
             "{\"name\":\"echo\",\"description\":\"echoes\",\"svantic_url\":\"http://127.0.0.1:%s\","
             "\"client_id\":\"bench\",\"client_secret\":\"bench\",\"instance_id\":\"bench\",\"delivery\":\"pull\"}",
             argv[1]);
    if (svantic_create(config, &mesh) || svantic_define_capability(mesh,
            "{\"name\":\"echo\",\"description\":\"echoes its arguments\"}", NULL, NULL, NULL) ||
        svantic_connect(mesh, 0)) {
        fprintf(stderr, "%s\n", svantic_last_error());
        return 1;
    }
    for (;;) {
        status = svantic_next_batch(mesh, BATCH, 60000, &items, NULL);
        if (status == SVANTIC_STATUS_TIMEOUT) continue;
        if (status != SVANTIC_STATUS_OK || answer(mesh, items) != SVANTIC_STATUS_OK) break;
        svantic_string_free(items);
    }
    fprintf(stderr, "%s\n", svantic_last_error());
    return 1;
}
