#pragma once

/*
 * Lending a traced process to whoever asked for it (trace/request.h): `corectl gdb`, `corectl
 * snapshot`. It is traced again once the borrower says so or has ended, however that came.
 */

#include <poll.h>
#include <stdbool.h>

#include "init/tracer.h"

/* Does what a request asks for, or logs why not. */
void lending_see_request(struct tracer *tracer, const struct request *request);

/* Fills in what is to be waited for. Returns the number of entries, MOST_LENT at most. */
nfds_t lending_poll(const struct tracer *tracer, struct pollfd *ret);

/* Takes back what a borrower left that has ended. */
void lending_see_ends(struct tracer *tracer);

/* Whether a process is lent. */
bool lending_has(const struct tracer *tracer, pid_t pid);

/* Whether a thread is one of a process that is lent: it is to be let go where it stops. */
bool lending_has_thread(const struct tracer *tracer, pid_t tid);

/* A lent process has ended. */
void lending_forget(struct tracer *tracer, pid_t pid);
