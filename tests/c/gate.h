/* A number that threads wait on. The hang guard of check.h bounds every wait. */
#ifndef GATE_H
#define GATE_H

#include <pthread.h>

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    long count;
};

#define GATE {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

/* Adds one and returns the new number. */
static inline long gate_pass(struct gate *gate) {
    long count;
    pthread_mutex_lock(&gate->mutex);
    count = ++gate->count;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
    return count;
}

/* Waits until so many have passed. */
static inline void gate_wait(struct gate *gate, long count) {
    pthread_mutex_lock(&gate->mutex);
    while (gate->count < count) pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static inline long gate_count(struct gate *gate) {
    long count;
    pthread_mutex_lock(&gate->mutex);
    count = gate->count;
    pthread_mutex_unlock(&gate->mutex);
    return count;
}

#endif
