/* An order desk on the Svantic mesh. SIGHUP teaches it to cancel orders; Ctrl-C or SIGTERM ends it. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "svantic.h"

#define JSON(...) #__VA_ARGS__ /* JSON in C without a backslash before every quote */

static const char find_spec[] = JSON({"name": "find_order", "description": "Says where an order is",
    "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}});
static const char cancel_spec[] = JSON({"name": "cancel_order", "description": "Cancels an order"});

/* A handler runs on a thread of the library, with arguments that match the spec. Real ones would parse them. */
static void find_order(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)length;
    if (strstr(request, "\"A17\""))
        svantic_resolve(mesh, dispatch_id, JSON({"order_id": "A17", "state": "shipped"}));
    else
        svantic_reject(mesh, dispatch_id, NULL, "no such order");
}

static void cancel_order(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    (void)request, (void)length;
    svantic_resolve(mesh, dispatch_id, JSON({"state": "cancelled"}));
}

static void check(svantic_status status) {
    if (status == SVANTIC_STATUS_OK) return;
    fprintf(stderr, "order-desk: %s\n", svantic_last_error());
    exit(EXIT_FAILURE);
}

int main(void) {
    svantic_mesh *mesh;
    char *session_id;
    int number, hangups = 0;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP), sigaddset(&signals, SIGINT), sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* they wait for sigwait() below */

    /* Where the mesh is and who we are: SVANTIC_URL, SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET. */
    check(svantic_create(JSON({"name": "order-desk", "description": "Knows every order"}), &mesh));
    check(svantic_define_capability(mesh, find_spec, find_order, mesh, NULL));
    check(svantic_connect(mesh, 0)); /* 0: the default time limit. A lost connection comes back by itself. */
    while (sigwait(&signals, &number) == 0 && number == SIGHUP) {
        check(svantic_refresh_token(mesh, NULL, 0)); /* NULL: exchange the credentials again */
        if (hangups++ == 0) check(svantic_define_capability(mesh, cancel_spec, cancel_order, mesh, NULL));
        check(svantic_re_register(mesh, 0));
        check(svantic_create_session(mesh, JSON({}), 0, &session_id));
        check(svantic_close_session(mesh, session_id, 0));
        svantic_string_free(session_id);
    }
    check(svantic_disconnect(mesh, 0)); /* lets running calls finish, then says goodbye */
    svantic_free(mesh);
    return svantic_shutdown(1000); /* SVANTIC_STATUS_OK is 0 */
}
