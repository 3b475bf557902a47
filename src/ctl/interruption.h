#pragma once

/*
 * Being asked to end (SIGTERM, SIGINT, SIGHUP) while requests may run for minutes: a thread waits
 * for the signals.
 */

struct interruption;

/*
 * Begins to watch. The signals are blocked in this thread and those it starts from here on; one
 * that was ignored stays so (nohup(1), a shell's background job).
 *
 * @on_signal  called from the watching thread for each of them
 *
 * Returns 0, -ENOMEM, -EMFILE or -EAGAIN.
 */
int interruption_start(void (*on_signal)(void *context, int signo), void *context,
                       struct interruption **ret);

/* Once this returns @on_signal runs no more; NULL is fine. */
void interruption_stop(struct interruption *interruption);
