# Build:  make && make install            Test:  make installcheck (not as root)
# Other PostgreSQL than the first in PATH: make PG_CONFIG=/path/to/pg_config
# Treat warnings as errors: make WERROR=1
#
# Every suite at once, set-up included: test/check.  See test/README.md.

EXTENSION = auction
MODULE_big = auction
PGFILEDESC = "auction - bids decided off the hot row"

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
DATA = $(wildcard sql/auction--*.sql)
SHLIB_LINK = -lhiredis -lm
SHLIB_LINK_INTERNAL = $(libpq)

# In CPPFLAGS, so that gcc (the module) and clang (the bitcode) both see them.
PG_CPPFLAGS = -Isrc -I$(libpq_srcdir) -Wall -Wextra -Wdeclaration-after-statement \
	-Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
ifdef WERROR
PG_CPPFLAGS += -Werror
endif

# pg_regress and the isolation tester start a server of their own, because the
# library must be preloaded; test/redis_server gives them a Redis and writes
# where it listens into a second configuration file.
TEST_CONFIGS = --temp-config=$(CURDIR)/test/auction.conf \
	--temp-config=$(CURDIR)/tmp_redis/redis.conf
REGRESS = $(notdir $(basename $(filter-out sql/auction--%.sql, \
	$(sort $(wildcard sql/*.sql)))))
REGRESS_OPTS = --temp-instance=./tmp_check $(TEST_CONFIGS)
REGRESS_PREP = start-redis
ISOLATION = $(notdir $(basename $(sort \
	$(wildcard test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=$(CURDIR)/test/isolation \
	--temp-instance=./tmp_check_iso $(TEST_CONFIGS) --load-extension=auction
ifneq ($(wildcard test/tap/*.pl),)
TAP_TESTS = 1
PROVE_TESTS = test/tap/*.pl
endif

EXTRA_CLEAN = src/lua_scripts.h src/lua_scripts.h.tmp tmp_redis \
	$(wildcard test/*/build)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
# Bitcode is for JIT alone: without the clang that PostgreSQL was built with
# the module is built without it.
ifeq ($(shell command -v \
	$$(sed -n 's/^CLANG = //p' $(dir $(PGXS))../Makefile.global)),)
override with_llvm = no
endif
include $(PGXS)

# PGXS empties it.
PROVE_FLAGS += -I $(CURDIR)/test/lib

# PGXS' own dependency tracking is switched off in Debian's build.
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h) src/lua_scripts.h

src/lua_scripts.h: src/lua/embed.sh $(sort $(wildcard src/lua/*.lua))
	sh src/lua/embed.sh $(filter %.lua,$^) > $@.tmp
	mv $@.tmp $@

# Ends by itself when this make does.
.PHONY: start-redis
start-redis:
	sh test/redis_server start $(CURDIR)/tmp_redis $$PPID
