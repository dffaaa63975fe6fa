/* Time the steps of a native library, and count what they allocate; JSON. Linked with --wrap=malloc and the like. */
#define _POSIX_C_SOURCE 200809L
#include "ntm.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STEPS 20000
#define SEQUENCE 41 /* 20 words, the delimiter, 20 words */

static long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    allocations++;
    return __real_realloc(memory, size);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e6 * (double)time.tv_sec + 1e-3 * (double)time.tv_nsec;
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    static double times[STEPS];
    static float x[SEQUENCE][NTM_SIZE_X], y[NTM_SIZE_Y];
    srand(0);
    for (int t = 0; t < SEQUENCE / 2; t++)
        for (int i = 0; i < NTM_SIZE_X; i++)
            x[t][i] = i % NTM_I < NTM_I - 1 ? (float)(rand() & 1) : 0.0f;
    for (int b = 0; b < NTM_B; b++)
        x[SEQUENCE / 2][b * NTM_I + NTM_I - 1] = 1.0f;
    ntm *network = ntm_create();
    long of_create = allocations;
    if (network == NULL || of_create == 0) /* then they are not counted */
        return 1;
    for (int i = 0; i < STEPS; i++) {
        if (i % SEQUENCE == 0)
            ntm_reset(network);
        double start = now();
        ntm_step(network, x[i % SEQUENCE], y);
        times[i] = now() - start;
    }
    long of_steps = allocations - of_create;
    ntm_free(network);
    qsort(times, STEPS, sizeof *times, order);
    printf("{\"p50\": %.3f, \"p99\": %.3f, \"allocations\": %ld}\n", times[STEPS / 2], times[STEPS / 100 * 99], of_steps);
    return 0;
}
