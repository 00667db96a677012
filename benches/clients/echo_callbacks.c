/* An echo agent for a load generator, through callbacks: `echo_callbacks PORT [CONNECTIONS]`; see README.md in this folder.
 * BENCH_DELIVERY is the "delivery" of the configuration: "callbacks" (default) or another one that calls back;
 * BENCH_BUSY_POLL_US its "busy_poll_us" (0).
 * Goes through the whole of svantic_connect() and stays until it is killed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "svantic.h"

static void echo(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    /* "args" is the last field of a request, so its value ends before the closing brace. */
    const char *args = strstr(request, ",\"args\":") + 8;
    size_t size = length - (size_t)(args - request) - 1;
    char small[4096], *result = size < sizeof small ? small : malloc(size + 1);
    memcpy(result, args, size);
    result[size] = '\0';
    svantic_resolve(mesh, dispatch_id, result);
    if (result != small) free(result);
}

int main(int argc, char **argv) {
    int count = argc > 2 ? atoi(argv[2]) : 1, n;
    const char *delivery = getenv("BENCH_DELIVERY"), *busy_poll = getenv("BENCH_BUSY_POLL_US");
    char config[512];
    for (n = 0; n < count; n++) {
        svantic_mesh *mesh;
        snprintf(config, sizeof config,
                 "{\"name\":\"echo\",\"description\":\"echoes\",\"svantic_url\":\"http://127.0.0.1:%s\","
                 "\"client_id\":\"bench\",\"client_secret\":\"bench\",\"instance_id\":\"bench-%d\",\"delivery\":\"%s\",\"busy_poll_us\":%d}",
                 argv[1], n, delivery && *delivery ? delivery : "callbacks", busy_poll ? atoi(busy_poll) : 0);
        if (svantic_create(config, &mesh) || svantic_define_capability(mesh,
                "{\"name\":\"echo\",\"description\":\"echoes its arguments\"}", echo, mesh, NULL) ||
            (count == 1 ? svantic_connect(mesh, 0) : svantic_connect_async(mesh, 0, NULL, NULL))) {
            fprintf(stderr, "%s\n", svantic_last_error());
            return 1;
        }
    }
    pause();
    return 0;
}
