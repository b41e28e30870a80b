/*
 * A wall clock of its own for one test host.
 *
 * In: /etc/testbed-clock, a shared 64-bit count of nanoseconds. Out: CLOCK_REALTIME moved by it.
 * Runs as: every dynamically linked program of the host, by /etc/ld.so.preload, setuid ones included.
 * The monotonic clocks, kernel timestamps and static programs keep the machine's time. Spec: ld.so(8), vdso(7).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SECOND = 1000000000, PAGE = 4096 };

typedef int clock_reader(clockid_t, struct timespec *);

static const int64_t unmoved;
static const int64_t *offset;
static clock_reader *true_clock;

/* Other constructors may ask for the time before ours has run, so every entry comes by here. */
__attribute__((constructor)) static void attach(void)
{
    if (offset)
        return;
    const int64_t *found = &unmoved;
    int fd = open("/etc/testbed-clock", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        void *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED)
            found = page;
        close(fd);
    }
    true_clock = (clock_reader *)dlsym(RTLD_NEXT, "clock_gettime");
    offset = found;
}

static struct timespec moved(struct timespec at, int64_t by)
{
    int64_t nanos = at.tv_nsec + by % SECOND;
    at.tv_sec += by / SECOND;
    if (nanos < 0) {
        nanos += SECOND;
        at.tv_sec--;
    } else if (nanos >= SECOND) {
        nanos -= SECOND;
        at.tv_sec++;
    }
    at.tv_nsec = nanos;
    return at;
}

static int64_t distance(void)
{
    return __atomic_load_n(offset, __ATOMIC_RELAXED);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    attach();
    int result = true_clock ? true_clock(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI))
        *now = moved(*now, distance());
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds)
{
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return (time_t)-1;
    if (seconds)
        *seconds = exact.tv_sec;
    return exact.tv_sec;
}

int timespec_get(struct timespec *now, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left)
{
    attach();
    struct timespec target = *until;
    if (clock == CLOCK_REALTIME && (flags & TIMER_ABSTIME))
        target = moved(target, -distance());
    return syscall(SYS_clock_nanosleep, clock, flags, &target, left) == 0 ? 0 : errno;
}
