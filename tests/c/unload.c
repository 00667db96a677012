/* A program that loads the library by hand, lets it go, and loads it again. It is not linked with the library. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>

#include "check.h"

/* ISO C knows no way from an object pointer to a function pointer but this. */
#define LOAD(library, pointer, name)                    \
    do {                                                \
        void *symbol_ = dlsym(library, name);           \
        if (symbol_ == NULL) FAIL("%s", dlerror());     \
        memcpy(&(pointer), &symbol_, sizeof symbol_);   \
    } while (0)

static void load_connect_unload(int keep_running) {
    svantic_status (*create)(const char *, svantic_mesh **);
    svantic_status (*connect)(svantic_mesh *, uint32_t);
    void (*release)(svantic_mesh *);
    svantic_status (*shut_down)(uint32_t);
    svantic_mesh *mesh = NULL;
    void *library = dlopen(getenv("CHECK_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) FAIL("%s", dlerror());
    LOAD(library, create, "svantic_create");
    LOAD(library, connect, "svantic_connect");
    LOAD(library, release, "svantic_free");
    LOAD(library, shut_down, "svantic_shutdown");
    CHECK(create(JSON({"name": "loaded", "description": "d"}), &mesh) == SVANTIC_STATUS_OK);
    CHECK(connect(mesh, 0) == SVANTIC_STATUS_OK);
    if (!keep_running) {
        release(mesh);
        CHECK(shut_down(5000) == SVANTIC_STATUS_OK);
    }
    CHECK(dlclose(library) == 0);
}

static void twenty_times(void) {
    int round;
    for (round = 0; round < 20; round++) load_connect_unload(0);
}

/* The library stays mapped, so its threads do not run into nothing. */
static void while_its_threads_run(void) {
    load_connect_unload(1);
    tell("unloaded");
    await_line("go on");
}

CASES(CASE(twenty_times), CASE(while_its_threads_run))
