/* An order desk behind the HTTP server of its own program: libmicrohttpd, with a thread for each connection, and cJSON. The
   argument is the port, 0 is any. Ctrl-C or SIGTERM ends it. A server with one thread for all uses svantic_serve_async().

   cc hosted_microhttpd.c -lsvantic -lmicrohttpd -lcjson -pthread */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "svantic.h"

#define JSON(...) #__VA_ARGS__ /* JSON in C without a backslash before every quote */
enum { BODY_LIMIT = 4 << 20, SLOWEST_CLIENT_S = 30, MOST_CONNECTIONS = 256 };

static svantic_mesh *mesh;
static unsigned running; /* requests */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t nothing_runs = PTHREAD_COND_INITIALIZER;

struct body { size_t length; char bytes[BODY_LIMIT + 1]; }; /* one byte too many, and the library says 413 */

static enum MHD_Result add_header(void *headers, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    return cJSON_AddStringToObject(headers, name, value ? value : "") ? MHD_YES : MHD_NO;
}

/* Lets the library answer: all that stands between a server and the mesh. */
static enum MHD_Result answer(struct MHD_Connection *connection, const char *method, const char *path, struct body *body) {
    cJSON *request = cJSON_CreateObject(), *response, *header;
    cJSON_AddStringToObject(request, "method", method);
    cJSON_AddStringToObject(request, "path", path);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char peer[INET_ADDRSTRLEN] = "", *response_json = NULL;
    inet_ntop(AF_INET, &((const struct sockaddr_in *)info->client_addr)->sin_addr, peer, sizeof peer);
    cJSON_AddStringToObject(request, "peer", peer); /* whoever sends forged calls is slowed down */
    MHD_get_connection_values(connection, MHD_HEADER_KIND, add_header, cJSON_AddObjectToObject(request, "headers"));
    char *request_json = cJSON_PrintUnformatted(request);
    svantic_status status = svantic_serve(mesh, request_json, body->bytes, body->length, 0, &response_json);
    cJSON_free(request_json), cJSON_Delete(request);
    if (status != SVANTIC_STATUS_OK) return MHD_NO; /* hangs up */
    response = cJSON_Parse(response_json);
    char *text = cJSON_GetStringValue(cJSON_GetObjectItem(response, "body"));
    struct MHD_Response *sent = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
    cJSON_ArrayForEach(header, cJSON_GetObjectItem(response, "headers"))
        MHD_add_response_header(sent, header->string, cJSON_GetStringValue(header));
    enum MHD_Result queued = MHD_queue_response(connection, cJSON_GetObjectItem(response, "status")->valueint, sent);
    MHD_destroy_response(sent), cJSON_Delete(response), svantic_string_free(response_json);
    return queued;
}

/* Called when the headers are there, for each piece of the body, and at its end. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *piece, size_t *length, void **user_data) {
    struct body *body = *user_data;
    (void)cls, (void)version;
    if (!body) {
        if (!(*user_data = body = malloc(sizeof *body))) return MHD_NO;
        body->length = 0;
        pthread_mutex_lock(&lock), running++, pthread_mutex_unlock(&lock);
    } else if (*length) {
        size_t room = sizeof body->bytes - body->length, taken = *length < room ? *length : room;
        memcpy(body->bytes + body->length, piece, taken), body->length += taken, *length = 0;
    } else {
        MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u); /* a handler may take its time */
        enum MHD_Result queued = answer(connection, method, path, body);
        MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)SLOWEST_CLIENT_S);
        return queued;
    }
    return MHD_YES;
}

static void on_end(void *cls, struct MHD_Connection *connection, void **user_data, enum MHD_RequestTerminationCode why) {
    (void)cls, (void)connection, (void)why;
    pthread_mutex_lock(&lock);
    if (*user_data && --running == 0) pthread_cond_signal(&nothing_runs);
    pthread_mutex_unlock(&lock);
    free(*user_data);
}

static void find_order(void *user_data, const char *dispatch_id, const char *request, size_t length) {
    (void)user_data, (void)length;
    if (strstr(request, "\"A17\"")) svantic_resolve(mesh, dispatch_id, JSON({"order_id": "A17", "state": "shipped"}));
    else svantic_reject(mesh, dispatch_id, NULL, "no such order");
}

int main(int argc, char **argv) {
    const char *spec = JSON({"name": "find_order", "description": "Says where an order is"});
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char config[200];
    int number, status;
    sigset_t signals;
    sigemptyset(&signals), sigaddset(&signals, SIGINT), sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (argc > 1) address.sin_port = htons((unsigned short)atoi(argv[1]));
    pthread_mutex_lock(&lock); /* nobody is answered before there is an agent */
    struct MHD_Daemon *server = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, NULL,
        MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SLOWEST_CLIENT_S, MHD_OPTION_CONNECTION_LIMIT, (unsigned)MOST_CONNECTIONS, MHD_OPTION_END);
    if (!server) return perror("order-desk: cannot listen"), EXIT_FAILURE;
    snprintf(config, sizeof config,
             JSON({"name": "order-desk", "description": "Knows every order", "public_url": "http://127.0.0.1:%d"}),
             MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT)->port);
    status = svantic_create(config, &mesh);
    pthread_mutex_unlock(&lock);
    if (!status) status = svantic_define_capability(mesh, spec, find_order, NULL, NULL);
    if (!status) status = svantic_connect(mesh, 0); /* the mesh reads the agent's card at once */
    if (!status) sigwait(&signals, &number), status = svantic_disconnect(mesh, 0); /* finishes what runs */
    if (status) fprintf(stderr, "order-desk: %s\n", svantic_last_error());
    MHD_quiesce_daemon(server);
    pthread_mutex_lock(&lock);
    while (running) pthread_cond_wait(&nothing_runs, &lock); /* the last responses are being written */
    pthread_mutex_unlock(&lock);
    MHD_stop_daemon(server), svantic_free(mesh);
    return status ? EXIT_FAILURE : svantic_shutdown(1000);
}
