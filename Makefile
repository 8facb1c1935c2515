# A thin front for CMake: what a fresh Debian 12 needs is installed first.
#
#   make run     build, and a first tour on the built-in offline model
#   make test    build and run every test: gcc, clang, ASan+UBSan, TSan
#   make bench   the benches, at full length        make soak   half an hour of mixed load, then crashes for
#                                                             an hour or two; SEED=n repeats, MINUTES=n
#   make install PREFIX=/usr/local

PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)
MINUTES ?= 30
SEED   := $(or $(SEED),$(shell od -An -N2 -tu2 /dev/urandom | tr -d ' '))
# Once more where a busy machine was in the way; what fails twice has failed.
CTEST   = ctest --output-on-failure --repeat until-pass:2 -j $(JOBS) --test-dir

.PHONY: all build run test test-dev test-asan test-tsan test-clang bench soak install clean deps deps-test

all: build

deps:
	@sh .ci/deps build

deps-test:
	@sh .ci/deps test

build: deps
	@cmake --preset release -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@cmake --build --preset release -- --quiet

run: build
	@sh .ci/tour build/release/agentctl

test: deps-test test-clang test-tsan test-asan test-dev

test-dev:
	cmake --preset dev -DAGENT_WERROR=ON >/dev/null && cmake --build --preset dev -- --quiet
	$(CTEST) build/dev

test-asan:
	cmake --preset asan -DAGENT_WERROR=ON >/dev/null && cmake --build --preset asan -- --quiet
	CK_FORK=no CK_DEFAULT_TIMEOUT=0 ASAN_OPTIONS=detect_stack_use_after_return=1 $(CTEST) build/asan

test-tsan:
	cmake --preset tsan -DAGENT_WERROR=ON >/dev/null && cmake --build --preset tsan -- --quiet
	CK_FORK=no CK_DEFAULT_TIMEOUT=0 $(CTEST) build/tsan

test-clang:
	cmake --preset clang -DAGENT_WERROR=ON >/dev/null && cmake --build --preset clang -- --quiet

bench: deps-test
	@cmake --preset release -DBUILD_TESTING=ON >/dev/null && cmake --build --preset release -- --quiet
	build/release/bench/agent-bench all

soak: deps-test
	@cmake --preset release -DBUILD_TESTING=ON >/dev/null && cmake --build --preset release -- --quiet
	build/release/bench/agent-bench soak --minutes $(MINUTES) --seed $(SEED)
	CRASH_SEED=$(SEED) CRASH_ROUNDS=1000 build/release/tests/test_crash_crowd
	CRASH_SEED=$(SEED) CRASH_ALL=1 build/release/tests/test_crash_points
	CRASH_SEED=$(SEED) CRASH_ROUNDS=1000 build/release/tests/test_power
	AGENTCTL=$(CURDIR)/build/release/agentctl SCRIPTED=$(CURDIR)/build/release/tests/scripted_server \
	    SEED=$(SEED) ROUNDS=1000 sh tests/crash_rounds.sh

install: build
	cmake --install build/release

clean:
	rm -rf build
