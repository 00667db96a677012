/* An order desk behind its own URL, without a server of its own: the library listens. Ctrl-C or SIGTERM ends it. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "svantic.h"

#define JSON(...) #__VA_ARGS__ /* JSON in C without a backslash before every quote */

static void find_order(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)length;
    if (strstr(request, "\"A17\""))
        svantic_resolve(mesh, dispatch_id, JSON({"order_id": "A17", "state": "shipped"}));
    else
        svantic_reject(mesh, dispatch_id, NULL, "no such order");
}

static void check(svantic_status status) {
    if (status == SVANTIC_STATUS_OK) return;
    fprintf(stderr, "order-desk: %s\n", svantic_last_error());
    exit(EXIT_FAILURE);
}

int main(void) {
    svantic_mesh *mesh;
    int number;
    sigset_t signals;
    sigemptyset(&signals), sigaddset(&signals, SIGINT), sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    /* SVANTIC_URL, SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET, and SVANTIC_DISPATCH_SECRET, which proves who calls. Behind a
       proxy that speaks TLS, "public_url" says where the mesh reaches it: "https://desk.example.com". Port 0: any. */
    check(svantic_create(JSON({"name": "order-desk", "description": "Knows every order", "listen": "127.0.0.1:0"}), &mesh));
    check(svantic_define_capability(mesh, JSON({"name": "find_order", "description": "Says where an order is"}),
                                    find_order, mesh, NULL));
    check(svantic_connect(mesh, 0)); /* listens, then registers: the mesh reads the agent's card at once */
    sigwait(&signals, &number);
    check(svantic_disconnect(mesh, 0)); /* new calls get 503, running ones are finished */
    return svantic_free(mesh), svantic_shutdown(1000);
}
