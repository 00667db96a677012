/* The agent that most cases use, and the handlers that they give it. */
#ifndef MESH_H
#define MESH_H

#include "check.h"
#include "gate.h"

/* An agent with `more` in its configuration, such as "\"workers\":4". The rest comes from the environment. */
static inline svantic_mesh *create(const char *more) {
    char config[512];
    svantic_mesh *mesh = NULL;
    snprintf(config, sizeof config, "{\"name\":\"tester\",\"description\":\"tests the C ABI\"%s%s}",
             *more ? "," : "", more);
    CHECK_OK(svantic_create(config, &mesh));
    CHECK(mesh != NULL);
    return mesh;
}

static inline svantic_mesh *create_pulling(void) {
    return create("\"delivery\":\"pull\"");
}

static inline void define(svantic_mesh *mesh, const char *name, svantic_handler_fn run, void *user_data) {
    char spec[256];
    snprintf(spec, sizeof spec, "{\"name\":\"%s\",\"description\":\"a capability\"}", name);
    CHECK_OK(svantic_define_capability(mesh, spec, run, user_data, NULL));
}

/* Answers with its user_data, a mesh, at once. */
static inline void answer_ok(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    CHECK(strlen(request) == length);
    CHECK_OK(svantic_resolve(mesh, dispatch_id, "\"ok\""));
}

/* The item must come; the caller frees it. */
static inline char *next_item(svantic_mesh *mesh) {
    char *item = NULL;
    CHECK_OK(svantic_next(mesh, 60000, &item));
    CHECK(item != NULL);
    return item;
}

/* Takes items until one of this type comes, which the caller frees. */
static inline char *next_of_type(svantic_mesh *mesh, const char *type) {
    char start[64];
    snprintf(start, sizeof start, "{\"type\":\"%s\"", type);
    for (;;) {
        char *item = next_item(mesh);
        if (strncmp(item, start, strlen(start)) == 0) return item;
        svantic_string_free(item);
    }
}

#endif
