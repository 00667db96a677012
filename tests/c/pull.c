/* Pull delivery: everything comes as JSON from svantic_next(), to as many threads as ask. */
#define _POSIX_C_SOURCE 200809L
#include "mesh.h"

#define TAG(number) ((void *)(uintptr_t)(number))

/* Creates a pulling agent with one capability and connects it. */
static svantic_mesh *connected(const char *more) {
    char config[256];
    svantic_mesh *mesh;
    snprintf(config, sizeof config, "\"delivery\":\"pull\"%s%s", *more ? "," : "", more);
    mesh = create(config);
    define(mesh, "work", NULL, NULL);
    CHECK_OK(svantic_connect(mesh, 0));
    return mesh;
}

static void end(svantic_mesh *mesh) {
    CHECK_OK(svantic_disconnect(mesh, 0));
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void nothing_to_take(void) {
    svantic_mesh *mesh = create_pulling();
    char untouched, *item = &untouched;
    size_t length = 7;
    CHECK_STATUS(svantic_next(mesh, 0, &item), TIMEOUT);
    CHECK_STATUS(svantic_next(mesh, 10, &item), TIMEOUT);
    CHECK_STATUS(svantic_next_batch(mesh, 10, 0, &item, &length), TIMEOUT);
    CHECK_STATUS(svantic_next_flat(mesh, 10, 0, &item, &length, &item, &length, NULL), TIMEOUT);
    CHECK(item == &untouched && length == 7);
    svantic_free(mesh);
}

static void items(void) {
    svantic_mesh *mesh = connected("");
    char id[160], *item;
    item = next_of_type(mesh, "event");
    CHECK_HOLDS(item, "\"event\":1,\"name\":\"state\",\"data\":{");
    svantic_string_free(item);
    tell("connected");
    item = next_of_type(mesh, "dispatch");
    CHECK_HOLDS(item, "\"skill_id\":\"work\"");
    CHECK_HOLDS(item, "\"args\":{\"n\":1}");
    CHECK_HOLDS(item, "\"deadline_ms\":");
    CHECK_OK(svantic_resolve(mesh, field_of(item, "dispatch_id", id, sizeof id), "\"taken\""));
    CHECK_STATUS(svantic_resolve(mesh, id, "2"), NOT_FOUND);
    svantic_string_free(item);
    item = next_of_type(mesh, "dispatch");
    CHECK_OK(svantic_reject(mesh, field_of(item, "dispatch_id", id, sizeof id), "BUSY", "no hands"));
    svantic_string_free(item);
    await_line("leave");
    end(mesh);
}

/* Copies the ids of the dispatches in a batch to `ids`, at the places that their args {"n":n} name. */
static int gather_ids(const char *batch, char ids[][160]) {
    const char *item = batch;
    int count = 0;
    while ((item = strstr(item, "{\"type\":\"dispatch\"")) != NULL) {
        const char *n = strstr(item, "\"args\":{\"n\":");
        CHECK(n != NULL);
        field_of(item, "dispatch_id", ids[atoi(n + strlen("\"args\":{\"n\":"))], sizeof *ids);
        count++;
        item++;
    }
    return count;
}

static void batches(void) {
    svantic_mesh *mesh = connected("");
    char *items, ids[5][160], answers[2048];
    size_t length;
    uint32_t refused = 99;
    int count = 0, all;
    CHECK_OK(svantic_next_batch(mesh, 4096, 60000, &items, NULL));
    CHECK_HOLDS(items, "},{\"type\":\"event\""); /* connecting has left several */
    svantic_string_free(items);
    tell("connected"); /* now five dispatches come */
    while (count < 5) {
        CHECK_OK(svantic_next_batch(mesh, 2, 60000, &items, &length));
        CHECK(strlen(items) == length && items[0] == '[' && items[length - 1] == ']');
        all = gather_ids(items, ids);
        CHECK(all <= 2);
        count += all;
        svantic_string_free(items);
    }

    /* Not an array of answers: none of it counts. */
    snprintf(answers, sizeof answers, "[{\"dispatch_id\":\"%s\",\"result\":1},{\"result\":2}]", ids[0]);
    CHECK_STATUS(svantic_answer_batch(mesh, answers, strlen(answers), &refused), INVALID_JSON);
    snprintf(answers, sizeof answers, "[{\"dispatch_id\":\"%s\",\"result\":1}", ids[0]);
    CHECK_STATUS(svantic_answer_batch(mesh, answers, strlen(answers), &refused), INVALID_JSON);
    snprintf(answers, sizeof answers, "[{\"dispatch_id\":\"%s\",\"result\":1},{\"dispatch_id\":\"%s\",\"error\":"
             "{\"code\":\"\",\"message\":\"m\"}}]", ids[0], ids[1]);
    CHECK_STATUS(svantic_answer_batch(mesh, answers, strlen(answers), &refused), INVALID_ARGUMENT);
    CHECK_STATUS(svantic_answer_batch(mesh, "{}", 2, &refused), INVALID_JSON);
    CHECK_STATUS(svantic_answer_batch(mesh, "", 0, &refused), INVALID_JSON);
    CHECK(refused == 99);

    snprintf(answers, sizeof answers,
             "[{\"dispatch_id\":\"%s\",\"result\":{\"a\":[1,null]}},{\"dispatch_id\":\"%s\"},"
             "{\"dispatch_id\":\"%s\",\"error\":{\"message\":\"broke\"}},"
             "{\"dispatch_id\":\"%s\",\"error\":{\"code\":\"SOLD_OUT\",\"message\":\"none \\\"left\\\"\"}},"
             "{\"dispatch_id\":\"no-such-dispatch\",\"result\":1},{\"dispatch_id\":\"%s\",\"result\":2}]garbage",
             ids[0], ids[1], ids[2], ids[3], ids[0]);
    CHECK_OK(svantic_answer_batch(mesh, answers, strlen(answers) - strlen("garbage"), &refused));
    CHECK(refused == 2); /* the unknown one and the one answered twice */
    snprintf(answers, sizeof answers, "[{\"dispatch_id\":\"%s\",\"result\":\"\xe2\x82\xac\"}]", ids[4]);
    CHECK_OK(svantic_answer_batch(mesh, answers, strlen(answers), NULL));
    CHECK_OK(svantic_answer_batch(mesh, "[]", 2, &refused));
    CHECK(refused == 0);
    await_line("leave");
    end(mesh);
}

/* Takes batches until there is a dispatch, which is the last item of its batch, and reads its id. */
static char *next_flat_dispatch(svantic_mesh *mesh, char **contexts, bool *long_integers, char *id, size_t size) {
    char *items, *end, *start;
    size_t items_len, contexts_len;
    for (;;) {
        CHECK_OK(svantic_next_flat(mesh, 4096, 60000, &items, &items_len, contexts, &contexts_len, long_integers));
        CHECK(strlen(items) == items_len && strlen(*contexts) == contexts_len);
        end = strstr(items, "\",\"work\",{\"n\":");
        if (end != NULL) break;
        CHECK_SAME(*contexts, "[]");
        svantic_string_free(items);
        svantic_string_free(*contexts);
    }
    for (start = end; start[-1] != '"'; start--) CHECK(start > items + 1);
    CHECK((size_t)(end - start) < size);
    memcpy(id, start, (size_t)(end - start));
    id[end - start] = '\0';
    return items;
}

/* Dispatches as three elements each, what else is known of them apart, and answers side by side. */
static void flat_batches(void) {
    svantic_mesh *mesh = connected("");
    char *items, *contexts, id[160], answers[512];
    uint32_t refused = 99;
    bool long_integers = true;
    CHECK_OK(svantic_next_flat(mesh, 4096, 60000, &items, NULL, NULL, NULL, NULL));
    CHECK_HOLDS(items, "},{\"type\":\"event\""); /* connecting has left several */
    svantic_string_free(items);
    tell("connected"); /* now a dispatch comes, and the next one when it is answered */
    items = next_flat_dispatch(mesh, &contexts, &long_integers, id, sizeof id);
    CHECK_HOLDS(items, "\",\"work\",{\"n\":123456789012345678}]");
    CHECK(!long_integers && strncmp(contexts, "[{\"deadline_ms\":", 16) == 0 && strstr(contexts, "args") == NULL);
    svantic_string_free(items);
    svantic_string_free(contexts);

    /* An id without a result: none of it counts. */
    snprintf(answers, sizeof answers, "[\"%s\",1,\"%s\"]", id, id);
    CHECK_STATUS(svantic_answer_batch(mesh, answers, strlen(answers), &refused), INVALID_JSON);
    snprintf(answers, sizeof answers, "[\"%s\",1,{},2]", id);
    CHECK_STATUS(svantic_answer_batch(mesh, answers, strlen(answers), &refused), INVALID_JSON);
    CHECK(refused == 99);
    snprintf(answers, sizeof answers, " [ \"%s\", {\"a\":[\"]\"]}, \"%s\", 2, \"no-such-dispatch\", 3 ] ", id, id);
    CHECK_OK(svantic_answer_batch(mesh, answers, strlen(answers), &refused));
    CHECK(refused == 2); /* the one answered twice and the unknown one */

    /* A result that cannot be carried: the dispatch ends with an error. */
    items = next_flat_dispatch(mesh, &contexts, &long_integers, id, sizeof id);
    CHECK_HOLDS(items, "\",\"work\",{\"n\":1234567890123456789}]");
    CHECK(long_integers);
    svantic_string_free(items);
    svantic_string_free(contexts);
    snprintf(answers, sizeof answers, "[\"%s\",1e999]", id);
    CHECK_OK(svantic_answer_batch(mesh, answers, strlen(answers), &refused));
    CHECK(refused == 1);
    await_line("leave");
    end(mesh);
}

static struct gate taken = GATE, closed = GATE;

static void *take_and_answer(void *mesh) {
    char id[160], *item;
    svantic_status status;
    while ((status = svantic_next(mesh, 60000, &item)) == SVANTIC_STATUS_OK) {
        if (strncmp(item, "{\"type\":\"dispatch\"", 18) == 0) {
            CHECK_OK(svantic_resolve(mesh, field_of(item, "dispatch_id", id, sizeof id), "true"));
            gate_pass(&taken);
        } else if (strcmp(item, "{\"type\":\"closed\"}") == 0) {
            gate_pass(&closed);
        }
        svantic_string_free(item);
    }
    CHECK(status == SVANTIC_STATUS_CANCELLED);
    return NULL;
}

/* Each item once, and each thread sent home at the end. */
static void four_threads(void) {
    svantic_mesh *mesh = connected("");
    pthread_t threads[4];
    int at;
    for (at = 0; at < 4; at++) CHECK(pthread_create(&threads[at], NULL, take_and_answer, mesh) == 0);
    tell("connected");
    await_line("leave");
    CHECK_OK(svantic_disconnect(mesh, 0));
    for (at = 0; at < 4; at++) CHECK(pthread_join(threads[at], NULL) == 0);
    CHECK(gate_count(&taken) == 400 && gate_count(&closed) == 1);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static void disconnect_wakes_and_closes(void) {
    svantic_mesh *mesh = connected("");
    char *item, last[64] = "";
    svantic_status status;
    CHECK_OK(svantic_disconnect_async(mesh, 0, NULL, TAG(1)));
    while ((status = svantic_next(mesh, 60000, &item)) == SVANTIC_STATUS_OK) {
        snprintf(last, sizeof last, "%s", item);
        svantic_string_free(item);
    }
    CHECK(status == SVANTIC_STATUS_CANCELLED);
    CHECK_SAME(last, "{\"type\":\"closed\"}");
    CHECK_STATUS(svantic_next(mesh, 0, &item), CANCELLED);
    CHECK_STATUS(svantic_next_batch(mesh, 5, 60000, &item, NULL), CANCELLED);
    CHECK_STATUS(svantic_next_flat(mesh, 5, 60000, &item, NULL, NULL, NULL, NULL), CANCELLED);
    svantic_free(mesh);
    CHECK_STATUS(svantic_next(mesh, 0, &item), INVALID_HANDLE);
    CHECK_OK(svantic_shutdown(5000));
}

/* An agent that never connected ends like any other. */
static void closed_unconnected(void) {
    svantic_mesh *mesh = create_pulling();
    char *item;
    CHECK_OK(svantic_disconnect_async(mesh, 0, NULL, TAG(9)));
    item = next_of_type(mesh, "done");
    CHECK_HOLDS(item, "\"tag\":9,\"status\":0");
    svantic_string_free(item);
    svantic_string_free(next_of_type(mesh, "closed"));
    CHECK_STATUS(svantic_next(mesh, 60000, &item), CANCELLED);
    svantic_free(mesh);
    CHECK_OK(svantic_shutdown(5000));
}

static struct gate waiting = GATE;

static void *wait_for_the_end(void *mesh) {
    char *item;
    svantic_status status;
    do {
        gate_pass(&waiting);
        status = svantic_next(mesh, 60000, &item);
        if (status == SVANTIC_STATUS_OK) svantic_string_free(item);
    } while (status == SVANTIC_STATUS_OK);
    /* It was on its way into svantic_next(), or in it. */
    CHECK(status == SVANTIC_STATUS_INVALID_HANDLE || status == SVANTIC_STATUS_CANCELLED);
    return NULL;
}

static void free_while_threads_wait(void) {
    int round, at;
    for (round = 0; round < 20; round++) {
        svantic_mesh *mesh = round % 2 ? create_pulling() : connected("");
        pthread_t threads[3];
        for (at = 0; at < 3; at++) CHECK(pthread_create(&threads[at], NULL, wait_for_the_end, mesh) == 0);
        gate_wait(&waiting, 3 * (round + 1));
        if (round % 3 == 2)
            CHECK_OK(svantic_shutdown(5000));
        else
            svantic_free(mesh);
        for (at = 0; at < 3; at++) CHECK(pthread_join(threads[at], NULL) == 0);
    }
    CHECK_OK(svantic_shutdown(5000));
}

/* Events that nobody takes are not kept for ever, and the reader is told. */
static void events_that_nobody_takes(void) {
    svantic_mesh *mesh = connected("");
    char *item;
    int at;
    for (at = 0; at < 1200; at++) CHECK_OK(svantic_refresh_token(mesh, getenv("CHECK_TOKEN"), 0));
    CHECK_OK(svantic_re_register(mesh, 0)); /* behind all of them */
    item = next_item(mesh);
    CHECK_HOLDS(item, "\"name\":\"missed\",\"data\":{\"count\":");
    svantic_string_free(item);
    for (at = 0; svantic_next(mesh, 0, &item) == SVANTIC_STATUS_OK; at++) svantic_string_free(item);
    CHECK(at <= 1024);
    end(mesh);
}

CASES(CASE(nothing_to_take), CASE(items), CASE(batches), CASE(flat_batches), CASE(four_threads), CASE(disconnect_wakes_and_closes),
      CASE(closed_unconnected), CASE(free_while_threads_wait), CASE(events_that_nobody_takes))
