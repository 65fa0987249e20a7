/*
 * client.c
 *		The load of the benchmark: some processes, each with a connection of
 *		its own, execute one prepared statement again and again.
 *
 * The parent measures a window of time from outside: how many calls were
 * answered, their latencies, and how much CPU the server's processes used
 * meanwhile, as the kernel accounts it.  It prints one line of name=value
 * pairs.  Each answer is looked at: anything but the expected one ends in
 * failure, because a fast refusal is no result.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define CLIENTS_MAX		256
#define PARAMS_MAX		10
#define COLUMNS_MAX		4
#define SETUPS_MAX		8
#define DEPTH_MAX		256
#define SEQUENCE		(1 << 20)	/* rows a client visits before it starts anew */
#define STEPS			32		/* of the histogram, per power of two */
#define BUCKETS			(STEPS * 64)
#define VALUE_MAX		256		/* bytes of a parameter */

typedef enum ParamKind
{
	PARAM_TEXT,					/* a column of the file, as it is */
	PARAM_BYTES,				/* a column in hexadecimal, sent as its bytes */
	PARAM_CONSTANT
} ParamKind;

typedef struct Param
{
	ParamKind	kind;
	int			column;
	const char *constant;
} Param;

/* What a client tells its parent, in memory both see */
typedef struct Shared
{
	volatile bool ready;
	volatile int backend;
	volatile uint64_t calls;
	volatile uint32_t histogram[BUCKETS];	/* latencies in the window */
} Shared;

typedef struct Control
{
	volatile bool record;		/* the window is open */
	volatile bool stop;
	Shared		client[CLIENTS_MAX];
} Control;

/* CPU time of the server's processes, in nanoseconds */
typedef struct CpuTime
{
	uint64_t	backends;		/* those of our connections */
	uint64_t	others;			/* all else the postmaster runs or ran */
} CpuTime;

static const char *conninfo = "";
static const char *statement;
static const char *expected;
static const char *key_file;
static const char *setups[SETUPS_MAX];
static int	nsetups;
static Param params[PARAMS_MAX];
static int	nparams;
static int	clients = 1;
static int	depth = 0;			/* of the pipeline; 0 is without one */
static double seconds = 2;
static double warm_up = 0.5;
static double rate = 0;			/* calls a second and client; 0 is no limit */
static int	postmaster = 0;
static bool zipf = false;
static long first_rows = 0;		/* of the file; 0 is all */
static uint64_t seed = 1;

static Control *control;
static const char *rows;
static long nrows;
static size_t row_length;
static size_t column_at[COLUMNS_MAX];
static size_t column_length[COLUMNS_MAX];
static int	ncolumns;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "client: %s: %s\n", what, why);
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
sleep_until(uint64_t when)
{
	struct timespec t = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/*
 * xorshift: good enough to choose keys, and costs nothing.
 */
static uint64_t
random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/*
 * The key file: lines of one length, columns separated by tabs that stand in
 * the same place on each line.
 */
static void
map_key_file(void)
{
	int			fd = open(key_file, O_RDONLY);
	struct stat st;
	size_t		at = 0;
	const char *end;

	if (fd < 0 || fstat(fd, &st) != 0)
		die(key_file, strerror(errno));
	rows = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (rows == MAP_FAILED)
		die(key_file, strerror(errno));
	close(fd);
	end = memchr(rows, '\n', st.st_size);
	if (end == NULL || st.st_size % (end - rows + 1) != 0)
		die(key_file, "lines of different lengths");
	row_length = end - rows + 1;
	nrows = st.st_size / row_length;
	while (at < row_length && ncolumns < COLUMNS_MAX)
	{
		column_at[ncolumns] = at;
		column_length[ncolumns] = strcspn(rows + at, "\t\n");
		if (column_length[ncolumns] >= VALUE_MAX)
			die(key_file, "a column is too long");
		at += column_length[ncolumns++] + 1;
	}
	if (first_rows > 0 && first_rows < nrows)
		nrows = first_rows;
}

/*
 * The rows a client visits, in their order.  Zipf: the rank's probability
 * falls with its inverse (a uniform logarithm); ranks are spread over the
 * file, so that neighbours in rank are no neighbours in the tables.
 */
static uint32_t *
make_sequence(int number)
{
	uint32_t   *sequence = malloc(SEQUENCE * sizeof(uint32_t));
	uint64_t	state = seed * UINT64_C(0x9E3779B97F4A7C15) + number + 1;

	if (sequence == NULL)
		die("memory", "exhausted");
	for (int i = 0; i < 16; i++)
		random_next(&state);
	for (int i = 0; i < SEQUENCE; i++)
	{
		uint64_t	r = random_next(&state);

		if (zipf)
		{
			double		u = (r >> 11) / 9007199254740992.0;
			uint64_t	rank = (uint64_t) pow(nrows + 1, u) - 1;

			if (rank >= (uint64_t) nrows)
				rank = nrows - 1;
			sequence[i] = (rank * UINT64_C(2654435761)) % nrows;
		}
		else
			sequence[i] = r % nrows;
	}
	return sequence;
}

static int
hex_digit(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/*
 * The values of the parameters for one row.
 */
static void
set_params(uint32_t row, char buffers[][VALUE_MAX], const char **values,
		   int *lengths, int *formats)
{
	for (int i = 0; i < nparams; i++)
	{
		const char *from;
		size_t		len;

		values[i] = params[i].constant;
		lengths[i] = 0;
		formats[i] = 0;
		if (params[i].kind == PARAM_CONSTANT)
			continue;
		from = rows + row * row_length + column_at[params[i].column];
		len = column_length[params[i].column];
		if (params[i].kind == PARAM_TEXT)
		{
			memcpy(buffers[i], from, len);
			buffers[i][len] = '\0';
		}
		else
		{
			for (size_t k = 0; k < len / 2; k++)
				buffers[i][k] = hex_digit(from[2 * k]) << 4 | hex_digit(from[2 * k + 1]);
			lengths[i] = len / 2;
			formats[i] = 1;
		}
		values[i] = buffers[i];
	}
}

static void
check_result(PGconn *conn, PGresult *result)
{
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die(statement, result ? PQresultErrorMessage(result) : PQerrorMessage(conn));
	if (expected != NULL &&
		(PQntuples(result) != 1 || strcmp(PQgetvalue(result, 0, 0), expected) != 0))
	{
		fprintf(stderr, "client: expected %s, and got %d rows:", expected, PQntuples(result));
		for (int i = 0; PQntuples(result) > 0 && i < PQnfields(result); i++)
			fprintf(stderr, " %s", PQgetvalue(result, 0, i));
		die("\nclient: statement", statement);
	}
	PQclear(result);
}

static void
record(Shared *me, uint64_t ns)
{
	int			power;
	int			bucket;

	if (ns < STEPS)
		ns = STEPS;
	power = 63 - __builtin_clzll(ns);
	bucket = power * STEPS + ((ns >> (power - 5)) & (STEPS - 1));
	me->histogram[bucket]++;
}

/*
 * One statement after the other.
 */
static void
run_plain(PGconn *conn, Shared *me, const uint32_t *sequence)
{
	char		buffers[PARAMS_MAX][VALUE_MAX];
	const char *values[PARAMS_MAX];
	int			lengths[PARAMS_MAX];
	int			formats[PARAMS_MAX];
	uint64_t	due = now_ns();

	for (uint32_t i = 0; !control->stop; i = (i + 1) % SEQUENCE)
	{
		uint64_t	start;

		if (rate > 0)
		{
			due += (uint64_t) (1e9 / rate);
			sleep_until(due);
		}
		set_params(sequence ? sequence[i] : 0, buffers, values, lengths, formats);
		start = now_ns();
		check_result(conn, PQexecPrepared(conn, "s", nparams, values, lengths, formats, 0));
		me->calls++;
		if (control->record)
			record(me, now_ns() - start);
	}
}

/*
 * Several statements in flight, each a transaction of its own.
 */
static void
run_pipeline(PGconn *conn, Shared *me, const uint32_t *sequence)
{
	char		buffers[PARAMS_MAX][VALUE_MAX];
	const char *values[PARAMS_MAX];
	int			lengths[PARAMS_MAX];
	int			formats[PARAMS_MAX];
	uint64_t	sent_at[DEPTH_MAX];
	uint64_t	sent = 0;
	uint64_t	done = 0;

	if (!PQenterPipelineMode(conn))
		die("pipeline mode", PQerrorMessage(conn));
	while (!control->stop || done < sent)
	{
		PGresult   *result;

		while (!control->stop && sent < done + depth)
		{
			set_params(sequence ? sequence[sent % SEQUENCE] : 0, buffers, values, lengths, formats);
			sent_at[sent++ % DEPTH_MAX] = now_ns();
			if (!PQsendQueryPrepared(conn, "s", nparams, values, lengths, formats, 0) ||
				!PQpipelineSync(conn))
				die("pipeline", PQerrorMessage(conn));
		}
		check_result(conn, PQgetResult(conn));
		if (PQgetResult(conn) != NULL)
			die("pipeline", "more than one result");
		result = PQgetResult(conn);
		if (PQresultStatus(result) != PGRES_PIPELINE_SYNC)
			die("pipeline", "out of step");
		PQclear(result);
		me->calls++;
		if (control->record)
			record(me, now_ns() - sent_at[done % DEPTH_MAX]);
		done++;
	}
}

static void
ignore_notice(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

static void
run_client(int number)
{
	Shared	   *me = &control->client[number];
	PGconn	   *conn = PQconnectdb(conninfo);
	uint32_t   *sequence = key_file ? make_sequence(number) : NULL;
	PGresult   *result;

	if (PQstatus(conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(conn));
	PQsetNoticeReceiver(conn, ignore_notice, NULL);
	for (int i = 0; i < nsetups; i++)
	{
		result = PQexec(conn, setups[i]);
		if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
			die(setups[i], PQerrorMessage(conn));
		PQclear(result);
	}
	result = PQprepare(conn, "s", statement, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die(statement, PQerrorMessage(conn));
	PQclear(result);
	me->backend = PQbackendPID(conn);
	me->ready = true;
	if (depth > 0)
		run_pipeline(conn, me, sequence);
	else
		run_plain(conn, me, sequence);
	PQfinish(conn);
	exit(0);
}

/*
 * Nanoseconds a process was on a CPU; 0 if it is gone.
 */
static uint64_t
process_ns(int pid)
{
	char		path[64];
	uint64_t	ns = 0;
	FILE	   *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%" SCNu64, &ns) != 1)
		ns = 0;
	fclose(f);
	return ns;
}

/*
 * The parent of a process, and the CPU time of its ended children in ticks.
 */
static int
process_parent(int pid, uint64_t *ended)
{
	char		path[64];
	char		line[1024];
	char	   *after;
	int			parent = 0;
	uint64_t	user = 0;
	uint64_t	system = 0;
	FILE	   *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	/* The name stands in parentheses, and may hold anything. */
	if (fgets(line, sizeof(line), f) && (after = strrchr(line, ')')) != NULL &&
		sscanf(after + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
			   &parent, &user, &system) == 3 && ended)
		*ended = user + system;
	fclose(f);
	return parent;
}

static CpuTime
cpu_time(void)
{
	CpuTime		t = {0, 0};
	DIR		   *dir;
	struct dirent *entry;
	uint64_t	ended = 0;

	for (int i = 0; i < clients; i++)
		t.backends += process_ns(control->client[i].backend);
	if (postmaster == 0 || (dir = opendir("/proc")) == NULL)
		return t;
	while ((entry = readdir(dir)) != NULL)
	{
		int			pid = atoi(entry->d_name);
		bool		ours = pid <= 0;

		for (int i = 0; i < clients && !ours; i++)
			ours = pid == control->client[i].backend;
		if (!ours && (pid == postmaster || process_parent(pid, NULL) == postmaster))
			t.others += process_ns(pid);
	}
	closedir(dir);
	process_parent(postmaster, &ended);
	t.others += ended * (1000000000 / sysconf(_SC_CLK_TCK));
	return t;
}

static double
percentile(double share)
{
	uint64_t	total = 0;
	uint64_t	seen = 0;

	for (int pass = 0; pass < 2; pass++)
	{
		for (int b = 0; b < BUCKETS; b++)
		{
			uint64_t	n = 0;

			for (int i = 0; i < clients; i++)
				n += control->client[i].histogram[b];
			if (pass == 0)
				total += n;
			else if ((seen += n) > 0 && seen >= share * total)
				return ((double) (UINT64_C(1) << (b / STEPS)) * (1 + (b % STEPS + 0.5) / STEPS)) / 1000;
		}
	}
	return 0;
}

/*
 * Wait for a client that ends: nonzero if it failed.
 */
static int
collect(int options)
{
	int			status;
	pid_t		pid = waitpid(-1, &status, options);

	return pid > 0 && status != 0;
}

static uint64_t
calls_so_far(void)
{
	uint64_t	calls = 0;

	for (int i = 0; i < clients; i++)
		calls += control->client[i].calls;
	return calls;
}

static void
measure(void)
{
	CpuTime		cpu;
	CpuTime		before;
	uint64_t	start;
	uint64_t	calls;
	double		elapsed;

	for (int i = 0; i < clients; i++)
	{
		while (!control->client[i].ready)
		{
			usleep(1000);
			if (collect(WNOHANG))
				exit(1);
		}
	}
	sleep_until(now_ns() + (uint64_t) (warm_up * 1e9));
	before = cpu_time();
	start = now_ns();
	calls = calls_so_far();
	control->record = true;
	sleep_until(start + (uint64_t) (seconds * 1e9));
	control->record = false;
	calls = calls_so_far() - calls;
	elapsed = (now_ns() - start) / 1e9;
	cpu = cpu_time();
	control->stop = true;
	for (int i = 0; i < clients; i++)
	{
		if (collect(0))
			exit(1);
	}
	if (calls == 0)
		die(statement, "not one call was answered");
	/* total has what was answered before and after the window, too. */
	printf("calls=%" PRIu64 " total=%" PRIu64 " rate=%.1f cpu=%.3f others=%.3f p50=%.1f p99=%.1f\n",
		   calls, calls_so_far(), calls / elapsed,
		   (cpu.backends - before.backends) / 1e3 / calls,
		   ((double) cpu.others - (double) before.others) / 1e3 / calls,
		   percentile(0.5), percentile(0.99));
}

static void
add_param(const char *text)
{
	Param	   *param = &params[nparams];

	if (nparams++ == PARAMS_MAX)
		die(text, "too many parameters");
	if (strncmp(text, "is:", 3) == 0)
		*param = (Param) {PARAM_CONSTANT, 0, text + 3};
	else if (strncmp(text, "text:", 5) == 0)
		*param = (Param) {PARAM_TEXT, atoi(text + 5) - 1, NULL};
	else if (strncmp(text, "bytes:", 6) == 0)
		*param = (Param) {PARAM_BYTES, atoi(text + 6) - 1, NULL};
	else
		die(text, "a parameter is text:COLUMN, bytes:COLUMN or is:VALUE");
}

static void
read_options(int argc, char **argv)
{
	int			c;

	while ((c = getopt(argc, argv, "c:d:e:f:k:m:n:p:r:s:t:w:zS:")) != -1)
	{
		switch (c)
		{
			case 'c': clients = atoi(optarg); break;
			case 'd': conninfo = optarg; break;
			case 'e': expected = optarg; break;
			case 'f': depth = atoi(optarg); break;
			case 'k': key_file = optarg; break;
			case 'm': postmaster = atoi(optarg); break;
			case 'n': first_rows = atol(optarg); break;
			case 'p': add_param(optarg); break;
			case 'r': rate = atof(optarg); break;
			case 's':
				if (nsetups == SETUPS_MAX)
					die(optarg, "too many -s");
				setups[nsetups++] = optarg;
				break;
			case 'S': seed = strtoull(optarg, NULL, 10); break;
			case 't': seconds = atof(optarg); break;
			case 'w': warm_up = atof(optarg); break;
			case 'z': zipf = true; break;
			default:
				die("usage", "client [-d conninfo] [-c clients] [-t seconds] [-w warm-up] "
					"[-k key file] [-n its first rows] [-z (Zipf)] [-p parameter]... [-s SQL before]... "
					"[-e expected] [-f in flight] [-r rate] [-m postmaster] [-S seed] SQL");
		}
	}
	if (optind != argc - 1)
		die("usage", "one statement is wanted");
	statement = argv[optind];
	if (clients < 1 || clients > CLIENTS_MAX || depth < 0 || depth > DEPTH_MAX)
		die("usage", "too many clients, or too many in flight");
}

int
main(int argc, char **argv)
{
	read_options(argc, argv);
	if (key_file)
		map_key_file();
	for (int i = 0; i < nparams; i++)
	{
		if (params[i].kind != PARAM_CONSTANT &&
			(params[i].column < 0 || params[i].column >= ncolumns))
			die("usage", "a parameter names a column that the key file has not");
	}
	control = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control == MAP_FAILED)
		die("memory", strerror(errno));
	for (int i = 0; i < clients; i++)
	{
		pid_t		pid = fork();

		if (pid < 0)
			die("fork", strerror(errno));
		if (pid == 0)
		{
			/* Whatever ends the parent ends its clients. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_client(i);
		}
	}
	measure();
	return 0;
}
