# What the scripts beside this file share: sourced by them, never run.
# shellcheck shell=bash

# The oldest server release the extension is built for.
oldest_server=15

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
	warn "${0##*/}: $*"
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# The major version of the server a pg_config belongs to; empty if it is none.
pg_major() {
	"$1" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'
}

# Say what is missing beside a pg_config to build and to run a server: prints
# one word for each gap (server, headers, pgcrypto, old), nothing if all is there.
pg_gaps() {
	local cfg=$1 major bindir
	major=$(pg_major "$cfg")
	[ -n "$major" ] || { say server headers pgcrypto; return; }
	[ "$major" -ge "$oldest_server" ] || say old
	bindir=$("$cfg" --bindir)
	{ [ -x "$bindir/postgres" ] && [ -x "$bindir/initdb" ] && [ -x "$bindir/psql" ]; } || say server
	{ [ -x "$bindir/pg_config" ] && [ -f "$("$cfg" --pgxs)" ] &&
		[ -f "$("$cfg" --includedir-server)/postgres.h" ]; } || say headers
	[ -f "$("$cfg" --sharedir)/extension/pgcrypto.control" ] || say pgcrypto
}

# Print the pg_config to build with: $PG_CONFIG if that is given, else the one
# on PATH, else the newest one that distributions keep off PATH.  Only one
# whose installation has all we need counts; fails if there is none.
find_pg_config() {
	local cfg
	if [ -n "${PG_CONFIG:-}" ]; then
		cfg=$(command -v "$PG_CONFIG") || return 1
		[ -z "$(pg_gaps "$cfg")" ] || return 1
		say "$("$cfg" --bindir)/pg_config"
		return
	fi
	while IFS= read -r cfg; do
		[ -x "$cfg" ] || continue
		[ -z "$(pg_gaps "$cfg")" ] || continue
		# Wrappers on PATH move to another version when one is installed.
		say "$("$cfg" --bindir)/pg_config"
		return
	done < <(
		command -v pg_config || :
		printf '%s\n' /usr/lib/postgresql/*/bin/pg_config /usr/pgsql-*/bin/pg_config \
			/usr/local/pgsql/bin/pg_config | sort -rV
	)
	return 1
}

# The account that servers and builds run under: PostgreSQL refuses root.
sandbox_user() {
	if [ "$(id -u)" != 0 ]; then
		id -un
	elif id -u postgres >/dev/null 2>&1; then
		say postgres
	else
		say nobody
	fi
}

# sandbox_drop: set the array "drop" to the command that gives up root's rights;
# empty for a plain user, who is that account already.
sandbox_drop() {
	local user
	drop=()
	if [ "$(id -u)" = 0 ]; then
		user=$(sandbox_user)
		drop=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --init-groups --inh-caps=-all)
	fi
}

# sandbox_as COMMAND...: run it under that account.
sandbox_as() {
	local drop
	sandbox_drop
	"${drop[@]}" "$@"
}

# Where a sandbox keeps the executables of its own PostgreSQL.
sandbox_bindir() {
	say "$1/pg$("$(find_pg_config)" --bindir)"
}

# sandbox_exec DIR COMMAND...: become that command, in the sandbox DIR, in its
# copy of the sources, with nothing of the caller's environment but what is
# named here: a stray PGHOST, LANG or MAKEFLAGS must not decide what a test
# does.  Call it in a subshell; a signal to that one reaches the command.
sandbox_exec() {
	local dir=$1 bindir name drop
	shift
	bindir=$(sandbox_bindir "$dir")
	local vars=(
		"PATH=$bindir:$PATH:/usr/local/bin:/usr/bin:/bin"
		"HOME=$dir/tmp" "TMPDIR=$dir/tmp" "LC_ALL=C" "TZ=UTC"
		"SANDBOX=$dir" "PG_CONFIG=$bindir/pg_config"
		"PGHOST=$dir/run" "PGPORT=5432" "PGUSER=postgres" "PGCLIENTENCODING=UTF8"
	)
	for name in CI TERM LANES TESTS LANE_TIMEOUT APIKEY_LONG; do
		[ -z "${!name+set}" ] || vars+=("$name=${!name}")
	done
	cd "$dir/src" || exit
	sandbox_drop
	exec "${drop[@]}" env -i "${vars[@]}" "$@"
}

# Stop every server whose data directory lies in the sandbox, tests' own
# included, and remove it.  Safe to call twice, and on half a sandbox.
sandbox_remove() {
	local dir=$1 file pid data
	[ -d "$dir" ] || return 0
	while IFS= read -r -d '' file; do
		pid=$(head -n 1 "$file")
		data=${file%/*}
		# A pid file may outlive its server and name a stranger.
		[ "$(readlink "/proc/$pid/cwd")" = "$data" ] || continue
		kill -QUIT "$pid" 2>/dev/null || :
		for _ in $(seq 50); do
			[ "$(readlink "/proc/$pid/cwd")" = "$data" ] || break
			sleep 0.1
		done
	done < <(find "$dir" -name postmaster.pid -print0 2>/dev/null)
	# A process that is just ending may still write: try again once.
	rm -rf "$dir" 2>/dev/null || { sleep 1; rm -rf "$dir"; }
}

# The cluster of a sandbox; these run inside it (see sandbox_exec).

# cluster_start [SETTING=VALUE...]: make it and start it.  Its data is thrown
# away, so nothing waits for the disk.
cluster_start() {
	local data=$SANDBOX/data setting
	initdb -D "$data" -U postgres -A trust -N --no-instructions \
		--encoding=UTF8 --locale=C
	{
		say "listen_addresses = ''"
		say "unix_socket_directories = '$SANDBOX/run'"
		say "unix_socket_permissions = 0700"
		say "shared_preload_libraries = 'apikey'"
		say "fsync = off"
		say "full_page_writes = off"
		say "max_prepared_transactions = 20"
		say "log_line_prefix = '%m [%p] %q%a '"
		for setting in "$@"; do say "${setting%%=*} = '${setting#*=}'"; done
	} >>"$data/postgresql.conf"
	pg_ctl -D "$data" -l "$SANDBOX/log/server.log" -w -t 60 start </dev/null
}

cluster_stop() {
	local data=$SANDBOX/data
	pg_ctl -D "$data" status >/dev/null 2>&1 || return 0
	pg_ctl -D "$data" -m fast -w -t 60 stop
}
