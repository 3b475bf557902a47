#include "trace/request.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>

/* Real-time signals queue. Programs and their tools count from the first; the last is valgrind's.
 */
#define REQUEST_SIGNAL (SIGRTMAX - 1)

/* The upper half of the value; the lower one is the pid. */
#define REQUEST_MAGIC 0x636f7200u

int request_send(pid_t coreinit, enum request_kind kind, pid_t pid)
{
    const uint64_t value = (uint64_t)(REQUEST_MAGIC | kind) << 32 | (uint32_t)pid;

    return sigqueue(coreinit, REQUEST_SIGNAL, (union sigval){.sival_ptr = (void *)value}) < 0
               ? -errno
               : 0;
}

bool request_read(const struct signalfd_siginfo *signal, struct request *ret)
{
    const uint32_t kind = (uint32_t)(signal->ssi_ptr >> 32) ^ REQUEST_MAGIC;

    if (signal->ssi_signo != (uint32_t)REQUEST_SIGNAL || signal->ssi_code != SI_QUEUE ||
        kind < REQUEST_LET_GO || kind > REQUEST_TAKE_BACK)
        return false;
    *ret = (struct request){
        .kind = (enum request_kind)kind,
        .pid = (pid_t)(uint32_t)signal->ssi_ptr,
        .sender = (pid_t)signal->ssi_pid,
    };
    return true;
}
