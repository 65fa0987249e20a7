/*
 * faults.c
 *		Preloaded into a test server: a clock that can be set, and a full disk.
 *
 * FAULTS_CLOCK names a file with the seconds that are added to the time of
 * day; clocks that nobody sets are left alone.  While the file FAULTS_FULL
 * exists, writes to files below FAULTS_DIRECTORY fail for want of space.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long
clock_offset(void)
{
	const char *name = getenv("FAULTS_CLOCK");
	char		text[32] = "";
	int			saved = errno;
	int			file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
	ssize_t		len = 0;

	if (file >= 0)
	{
		len = read(file, text, sizeof(text) - 1);
		close(file);
	}
	errno = saved;
	return len > 0 ? atol(text) : 0;
}

int
clock_gettime(clockid_t which, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, which, now);

	if (result == 0 && which == CLOCK_REALTIME)
		now->tv_sec += clock_offset();
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	if (result != NULL)
		*result = precise.tv_sec;
	return precise.tv_sec;
}

static int
is_full(int file)
{
	const char *flag = getenv("FAULTS_FULL");
	const char *directory = getenv("FAULTS_DIRECTORY");
	char		link[32];
	char		path[PATH_MAX];
	ssize_t		len;

	if (flag == NULL || directory == NULL || access(flag, F_OK) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return 0;
	path[len] = '\0';
	return strncmp(path, directory, strlen(directory)) == 0;
}

static ssize_t
no_space(void)
{
	errno = ENOSPC;
	return -1;
}

ssize_t
pwrite64(int file, const void *data, size_t len, off64_t at)
{
	return is_full(file) ? no_space() : syscall(SYS_pwrite64, file, data, len, at);
}

ssize_t
pwrite(int file, const void *data, size_t len, off_t at)
{
	return pwrite64(file, data, len, at);
}

ssize_t
pwritev64(int file, const struct iovec *data, int count, off64_t at)
{
	return is_full(file) ? no_space() : syscall(SYS_pwritev, file, data, count, at, 0);
}

ssize_t
pwritev(int file, const struct iovec *data, int count, off_t at)
{
	return pwritev64(file, data, count, at);
}

int
posix_fallocate64(int file, off64_t at, off64_t len)
{
	if (is_full(file))
		return ENOSPC;
	return syscall(SYS_fallocate, file, 0, at, len) == 0 ? 0 : errno;
}

int
posix_fallocate(int file, off_t at, off_t len)
{
	return posix_fallocate64(file, at, len);
}
