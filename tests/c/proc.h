/* What the kernel knows of this process. */
#ifndef PROC_H
#define PROC_H

#include <dirent.h>
#include <limits.h>
#include <sched.h>

#include "check.h"

static inline int entries_of(const char *path) {
    DIR *directory = opendir(path);
    int count = 0;
    CHECK(directory != NULL);
    while (readdir(directory) != NULL) count++;
    closedir(directory);
    return count;
}

static inline int threads(void) {
    return entries_of("/proc/self/task");
}

static inline int descriptors(void) {
    return entries_of("/proc/self/fd");
}

/* How many descriptors are alarms of the clock that counts sleep. */
static inline int sleep_alarms(void) {
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    int count = 0;
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        char path[PATH_MAX], target[PATH_MAX];
        ssize_t length;
        snprintf(path, sizeof path, "/proc/self/fd/%.20s", entry->d_name);
        length = readlink(path, target, sizeof target - 1);
        if (length <= 0) continue; /* "." and "..", or closed meanwhile */
        target[length] = '\0';
        count += strstr(target, "timerfd") != NULL;
    }
    closedir(directory);
    return count;
}

/* Waits until there are no more than this. A joined thread may still be seen for a moment. */
static inline void wait_for_threads(int count) {
    while (threads() > count) sched_yield();
}

static inline void wait_for_descriptors(int count) {
    while (descriptors() > count) sched_yield();
}

#endif
