# apikey: API keys in PostgreSQL.
#
#	make demo		see it work, in a server of its own
#	make check		build and run every test, in a sandbox
#	make deps		install what the two need (they do so themselves)
#	make lint unit		the quick checks alone
#	make bench		compare its speed with what people use today
#	make dist		the archive of a release
#
#	make, make install, make installcheck, make prove_installcheck
#				the PGXS way; a server that preloads the library must
#				be running for installcheck

# Goals that need no pg_config: they find, or install, what they want.
tool_goals := accept bench check demo deps dist lint unit

ifneq (,$(filter $(tool_goals),$(MAKECMDGOALS)))

.PHONY: $(tool_goals)

bench:
	@test/bench/run

check demo dist:
	@test/tools/$@

deps:
	@test/tools/deps check

lint:
	@test/tools/lint apikey.so

unit:
	@test/unit/run

# make accept FROM=directory: take results of a failed "make check" as expected.
accept:
	@test/tools/accept '$(FROM)'

# Any other goal beside them is PGXS's: in a make of its own.
other_goals := $(filter-out $(tool_goals),$(MAKECMDGOALS))
ifneq (,$(other_goals))
.PHONY: $(other_goals)
$(other_goals):
	+@$(MAKE) $@
endif

else

top := $(or $(VPATH),.)

# Take care with names: PGXS uses many (INSTALL_SCRIPT, say, is the program that
# installs scripts).
# The version's one home is the control file.
version := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" '$(top)/apikey.control')

EXTENSION = apikey
MODULE_big = apikey
OBJS = $(patsubst $(top)/%.c,%.o,$(sort $(wildcard $(top)/src/*.c)))
PGFILEDESC = "apikey - API keys"

PG_CPPFLAGS = -DAPIKEY_VERSION='"$(version)"' $(shell pkg-config --cflags libsodium 2>/dev/null)
SHLIB_LINK = $(shell pkg-config --libs libsodium 2>/dev/null || echo -lsodium)

# The parts of the install script, in their order; edited by hand.
SQL_PARTS = \
	00_guard \
	10_schema \
	20_scopes \
	22_scope_query \
	24_type_comments \
	26_sketch \
	30_policy \
	35_policy_triggers \
	40_keys \
	42_secret \
	45_usage \
	50_audit \
	52_members \
	55_usage_apply \
	57_rate_limit \
	58_credit \
	60_manage \
	62_import \
	65_limits \
	66_sessions \
	70_verify \
	72_identity \
	73_context \
	75_count \
	77_http \
	80_views \
	85_usage_views \
	87_doctor \
	90_privileges

install_script = sql/apikey--$(version).sql
DATA_built = $(install_script)
# Scripts of released versions, and from one version to the next.
DATA = $(filter-out $(install_script),$(patsubst $(top)/%,%,$(sort $(wildcard $(top)/sql/apikey--*.sql))))

# Inputs lie under test/; expected output at top level, where the drivers of
# all supported servers look by themselves.
REGRESS = $(shell sed 's/\#.*//' '$(top)/test/schedule')
REGRESS_OPTS = --inputdir=$(top)/test
ISOLATION = $(sort $(patsubst $(top)/test/specs/%.spec,%,$(wildcard $(top)/test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(top)/test --outputdir=.
PROVE_TESTS = test/t/*.pl

EXTRA_CLEAN = results output_iso tmp_check tmp_check_iso log regression.diffs regression.out \
	$(install_script).new apikey-*.zip

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq (,$(PGXS))
$(error $(PG_CONFIG) --pgxs gives nothing: install the server's headers ("make deps"), or say PG_CONFIG=...)
endif
include $(PGXS)

# Nobody replaces our functions by others of the same name, so that calls from
# one to another need no detour.
ifeq ($(PORTNAME)$(GCC),linuxyes)
override CFLAGS += -fno-semantic-interposition
SHLIB_LINK += -Wl,-Bsymbolic
endif

ifdef VPATH
$(shell mkdir -p src sql)
endif

$(install_script): $(SQL_PARTS:%=$(top)/sql/parts/%.sql) $(top)/apikey.control $(top)/Makefile
	cat $(filter %.sql,$^) >$@.new
	mv $@.new $@

# Coarse, but never wrong.
$(OBJS) $(OBJS:.o=.bc): $(sort $(wildcard $(top)/src/*.h)) $(top)/apikey.control $(top)/Makefile

.PHONY: prove_installcheck
prove_installcheck:
	$(prove_installcheck)

endif
