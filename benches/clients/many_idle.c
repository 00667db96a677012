/* Many connectors of one process at rest: `many_idle PORT CONNECTIONS [SECONDS]`.
 * Connects them all, waits, and writes what that took and what it costs as one line of JSON. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "svantic.h"

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static long status(const char *name) {
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) value = atol(line + strlen(name));
    if (file) fclose(file);
    return value;
}

static void echo(void *mesh, const char *dispatch_id, const char *request, size_t length) {
    const char *args = strstr(request, ",\"args\":") + 8;
    char result[4096];
    size_t size = length - (size_t)(args - request) - 1;
    if (size >= sizeof result) return;
    memcpy(result, args, size);
    result[size] = '\0';
    svantic_resolve(mesh, dispatch_id, result);
}

int main(int argc, char **argv) {
    int count = argc > 2 ? atoi(argv[2]) : 1000, secs = argc > 3 ? atoi(argv[3]) : 1, n;
    svantic_mesh **meshes = calloc((size_t)count, sizeof *meshes);
    long before = status("VmRSS:");
    size_t live_before = mallinfo2().uordblks;
    double began = seconds(CLOCK_MONOTONIC), began_cpu, cpu, took;
    char config[512];
    for (n = 0; n < count; n++) {
        snprintf(config, sizeof config,
                 "{\"name\":\"echo\",\"description\":\"echoes\",\"svantic_url\":\"http://127.0.0.1:%s\","
                 "\"client_id\":\"bench\",\"client_secret\":\"bench\",\"instance_id\":\"bench-%d\"}",
                 argv[1], n);
        if (svantic_create(config, &meshes[n]) || svantic_define_capability(meshes[n],
                "{\"name\":\"echo\",\"description\":\"echoes its arguments\"}", echo, meshes[n], NULL) ||
            svantic_connect_async(meshes[n], 0, NULL, NULL)) {
            fprintf(stderr, "%s\n", svantic_last_error());
            return 1;
        }
    }
    for (n = 0; n < count; n++) {
        int32_t state = SVANTIC_STATE_IDLE;
        while (state != SVANTIC_STATE_CONNECTED) {
            if (svantic_get_state(meshes[n], &state)) return 1;
            if (state == SVANTIC_STATE_FAILED) {
                fprintf(stderr, "connector %d of %d has given up\n", n, count);
                return 1;
            }
            if (state != SVANTIC_STATE_CONNECTED) usleep(1000);
        }
    }
    took = seconds(CLOCK_MONOTONIC) - began;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    sleep(1);
    began_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    sleep((unsigned)secs);
    struct mallinfo2 heap = mallinfo2();
    printf("{\"connectors\":%d,\"connect_s\":%.3f,\"connect_cpu_s\":%.3f,\"threads\":%ld,\"rss_kb\":%ld,"
           "\"rss_per_connector\":%.0f,\"live_per_connector\":%.0f,\"free_in_heap_kb\":%zu,\"idle_cpu_percent\":%.3f",
           count, took, cpu, status("Threads:"), status("VmRSS:"),
           (double)(status("VmRSS:") - before) * 1024 / count,
           (double)(heap.uordblks + heap.hblkhd - live_before) / count, heap.fordblks >> 10,
           (seconds(CLOCK_PROCESS_CPUTIME_ID) - began_cpu) * 100 / secs);
    malloc_trim(0);
    printf(",\"rss_trimmed_kb\":%ld}\n", status("VmRSS:"));
    fflush(stdout);
    return 0;
}
