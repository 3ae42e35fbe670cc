# weft: every command a person needs. `make help` lists them.
SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

BUILD   ?= build
CC      ?= gcc
CLANG   ?= $(firstword $(foreach c,clang-16 clang-17 clang-18 clang-19 clang-15 clang-14 clang,$(if $(shell command -v $(c)),$(c))))
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool /usr/bin/bpftool) bpftool)
PROTOC_C ?= protoc-c
PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?= $(shell nproc)
VERSION := $(shell cat VERSION 2>/dev/null || echo 0)

PKGS := libbpf libprotobuf-c yaml-0.1 libevent libevent_pthreads jansson libpcre2-8 libcurl libnghttp2 libssl libcrypto
ifneq ($(shell command -v pkg-config),)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
endif

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter
CPPFLAGS += -D_GNU_SOURCE -DWEFT_VERSION='"$(VERSION)"' -Iinclude -Idaemon -I$(BUILD)/gen $(EXTRA_CPPFLAGS)
CFLAGS   ?= -O2 -g
CFLAGS   += -std=gnu11 -fno-strict-aliasing -pthread $(WARNINGS) $(PKG_CFLAGS)
LDLIBS   += $(PKG_LIBS) -lelf -lz -pthread
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g1

# The pipeline, in order: a stage may include and link only those before it.
STAGES := base regex keeper kube mesh xds dns compile datapath pool proxy telemetry admin worker

.PHONY: all
all: $(BUILD)/weftd $(BUILD)/weftctl ## Build weftd, weftctl and the BPF programs

include mk/proto.mk mk/bpf.mk mk/daemon.mk
include $(sort $(filter-out mk/proto.mk mk/bpf.mk mk/daemon.mk,$(wildcard mk/*.mk)))

.PHONY: help
help: ## List the commands
	@awk -F':.*## ' '/^[a-z][a-z0-9_-]*:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(sort $(MAKEFILE_LIST))

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf $(BUILD)
