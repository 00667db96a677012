/* The desk of the A2A tests in C: the library listens by itself. `desk CONFIG` says where, and ends with its standard input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "svantic.h"

#define JSON(...) #__VA_ARGS__ /* JSON in C without a backslash before every quote */

static const char find_spec[] = JSON({"name": "find_order", "description": "Says where an order is",
    "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}});
static const char count_spec[] = JSON({"name": "count", "description": "Says what comes after a number",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}});
static const char recite_spec[] = JSON({"name": "recite", "description": "Says everything that JSON can say"});
static const char hear_spec[] = JSON({"name": "hear", "description": "Repeats a text",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}});

/* Ends of lines of every kind, in strings and between tokens. */
static const char everything[] =
    "{\"lines\":\"a\xe2\x80\xa8" "b\xe2\x80\xa9" "c\xc2\x85" "d\\ne\\r\\nf\",\r\n  \"quoted\": \"\\\"\\\\/\xc3\xa9\\ud83d\\ude00\",\n"
    "  \"rest\": [1, 2.5, -3e-7, true, false, null, \"\", [], {}],\n\n  \"deep\": {\"er\": {\"still\": [[[\"x\"]]]}}\r\n}\n";

static void find_order(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)length;
    if (strstr(request, "\"A17\""))
        svantic_resolve(mesh, dispatch_id, JSON({"order_id": "A17", "state": "shipped"}));
    else if (strstr(request, "\"C3\""))
        svantic_reject(mesh, dispatch_id, "ORDER_LOCKED", "the order is locked");
    else
        svantic_reject(mesh, dispatch_id, NULL, "no such order");
}

static void count(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    const char *n = strstr(request, "\"n\":");
    char result[64];
    (void)length;
    snprintf(result, sizeof result, "{\"next\":%.0f}", n ? strtod(n + 4, NULL) + 1 : -1.0);
    svantic_resolve(mesh, dispatch_id, result);
}

static void recite(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)request, (void)length;
    svantic_resolve(mesh, dispatch_id, everything);
}

static void hear(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    const char *text = strstr(request, "\"text\":"), *end = text ? strchr(text + 8, '"') : NULL;
    char result[256];
    (void)length;
    snprintf(result, sizeof result, "{\"heard\":%.*s}", end ? (int)(end - text) - 6 : 4, end ? text + 7 : "null");
    svantic_resolve(mesh, dispatch_id, result);
}

static void check(svantic_status status) {
    if (status == SVANTIC_STATUS_OK) return;
    fprintf(stderr, "desk: %s\n", svantic_last_error());
    exit(EXIT_FAILURE);
}

static void say_where(svantic_mesh *mesh) {
    char *snapshot, *address, *end;
    check(svantic_get_snapshot(mesh, &snapshot));
    address = strstr(snapshot, "\"listening\":\"");
    end = address ? strchr(address + 13, '"') : NULL;
    if (!end) exit(EXIT_FAILURE);
    printf("http://%.*s\n", (int)(end - address) - 13, address + 13);
    fflush(stdout);
    svantic_string_free(snapshot);
}

int main(int argc, char **argv) {
    svantic_mesh *mesh;
    check(svantic_create(argc > 1 ? argv[1] : "{}", &mesh));
    check(svantic_define_capability(mesh, find_spec, find_order, mesh, NULL));
    check(svantic_define_capability(mesh, count_spec, count, mesh, NULL));
    check(svantic_define_capability(mesh, recite_spec, recite, mesh, NULL));
    check(svantic_define_capability(mesh, hear_spec, hear, mesh, NULL));
    say_where(mesh);
    while (getchar() != EOF) {
    }
    svantic_free(mesh);
    return svantic_shutdown(10000); /* SVANTIC_STATUS_OK is 0 */
}
