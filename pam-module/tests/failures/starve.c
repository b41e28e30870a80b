/* Lets one call for memory fail, or that one and all after it, when it comes from a module whose name is in STARVE_IN or from libpam
 * on its behalf. Loaded by LD_PRELOAD. STARVE is the number of the call, from 1; STARVE_ON=1 lets the later ones fail too.
 * Says "starved" on standard error once that happened. What fails are malloc, calloc, realloc and posix_memalign, as with ENOMEM. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);

static int busy, ready, onwards;
static long at, count;
static const char *whose;

__attribute__((constructor)) static void start(void) {
    void *frames[4];
    backtrace(frames, 4); /* loads the unwinder, which asks for memory itself */
    const char *text = getenv("STARVE");
    at = text ? atol(text) : 0;
    onwards = getenv("STARVE_ON") != NULL;
    whose = getenv("STARVE_IN");
    ready = at > 0 && whose != NULL;
}

/* The innermost frame outside of libc and of this file decides; libpam's count while the module is further out. */
static int counts(void) {
    void *frames[48];
    int through_libpam = 0, depth = backtrace(frames, 48);
    for (int i = 1; i < depth; i++) {
        Dl_info info;
        if (!dladdr(frames[i], &info) || !info.dli_fname) return 0;
        if (strstr(info.dli_fname, whose)) return 1;
        if (strstr(info.dli_fname, "libpam.so")) { through_libpam = 1; continue; }
        if (through_libpam || strstr(info.dli_fname, "starve") || strstr(info.dli_fname, "libc.so")) continue;
        return 0;
    }
    return 0;
}

static int fails(void) {
    if (!ready || busy) return 0;
    busy = 1;
    int now = counts() && (++count == at || (onwards && count > at));
    if (now && count == at) (void)!write(2, "starved\n", 8);
    busy = 0;
    if (now) errno = ENOMEM;
    return now;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *block, size_t size) { return fails() ? NULL : __libc_realloc(block, size); }
int posix_memalign(void **block, size_t align, size_t size) {
    if (fails()) return ENOMEM;
    return (*block = __libc_memalign(align, size)) ? 0 : ENOMEM;
}
