/* A program with a fault, for the proof that valgrind finds it through the library. */
#include "mesh.h"

static void a_string_that_nobody_frees(void) {
    svantic_mesh *mesh = create("");
    char *lost = NULL;
    CHECK_OK(svantic_get_instance_id(mesh, &lost));
    CHECK(*lost != '\0');
    lost = NULL;
    svantic_free(mesh);
}

CASES(CASE(a_string_that_nobody_frees))
