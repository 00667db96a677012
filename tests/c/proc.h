/* What the kernel knows of this process. */
#ifndef PROC_H
#define PROC_H

#include <dirent.h>
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

/* Waits until there are no more than this. A joined thread may still be seen for a moment. */
static inline void wait_for_threads(int count) {
    while (threads() > count) sched_yield();
}

static inline void wait_for_descriptors(int count) {
    while (descriptors() > count) sched_yield();
}

#endif
