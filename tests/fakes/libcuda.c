/* A CUDA driver whose device is this process: its memory is the heap, its streams run at once. Compiled by the tests.
   As the real one, it refuses work from a thread that has made no context current. `fake_outstanding` counts what was
   allocated or retained and not given back, `fake_fail_next` makes the next copy fail. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT ((void *)0x1000)

static __thread void *current;
static int outstanding, failing;

int fake_outstanding(void) { return outstanding; }
void fake_fail_next(void) { failing = 1; }

int cuInit(unsigned flags) { return flags ? 1 : 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal ? 101 : 0; }
int cuDeviceGetName(char *name, int length, int device) {
    if (device != 7) return 101;
    strncpy(name, "Fake Orin", (size_t)length);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : 7;
    return device == 7 ? 0 : 101;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = CONTEXT;
    outstanding++;
    return device == 7 ? 0 : 101;
}
int cuDevicePrimaryCtxRelease_v2(int device) { outstanding--; return device == 7 ? 0 : 101; }
int cuCtxSetCurrent(void *context) { current = context; return context == CONTEXT ? 0 : 201; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    if (current != CONTEXT) return 201;
    *address = (uint64_t)(uintptr_t)calloc(1, size);
    outstanding++;
    return *address ? 0 : 2;
}
int cuMemFree_v2(uint64_t address) {
    if (current != CONTEXT) return 201;
    free((void *)(uintptr_t)address);
    outstanding--;
    return 0;
}
int cuStreamCreate(void **stream, unsigned flags) {
    if (current != CONTEXT || flags != 1) return 201;
    *stream = malloc(1);
    outstanding++;
    return 0;
}
int cuStreamDestroy_v2(void *stream) { free(stream); outstanding--; return 0; }
int cuStreamSynchronize(void *stream) { return stream ? 0 : 400; }
static int copy(void *to, const void *from, size_t size, void *stream) {
    if (current != CONTEXT) return 201;
    if (!stream) return 400;
    if (failing) { failing = 0; return 700; }
    memcpy(to, from, size);
    return 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
    return copy((void *)(uintptr_t)to, from, size, stream);
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
    return copy(to, (const void *)(uintptr_t)from, size, stream);
}
int cuGetErrorString(int status, const char **text) {
    *text = status == 201 ? "invalid device context" : status == 700 ? "an illegal memory access was encountered" : 0;
    return *text ? 0 : 1;
}
