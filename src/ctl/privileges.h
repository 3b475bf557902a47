#pragma once

/*
 * Capabilities (capabilities(7)), of which the collector has those of its container: each thread
 * gives up what it doesn't need, and no program that it starts gets more again (no_new_privs).
 *
 * Each of these also makes the process undumpable (PR_SET_DUMPABLE): the kernel makes no core of
 * it, and no process without CAP_SYS_PTRACE reads the credentials in its memory. What is in its
 * /proc directory is root's from then on, so /proc/self/oom_score_adj has to be written before.
 */

/*
 * For what reads a process, its files and its core, and writes the bundle: keeps CAP_SYS_PTRACE,
 * CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER. Who lacks the first may look only into
 * processes that can do no more than itself (ptrace(2), "Ptrace access mode checking"), and keeps
 * all. Threads that are started later have no more.
 */
void privileges_keep_for_collecting(void);

/*
 * For a thread that uses the network: keeps nothing but what lets root read the credentials of
 * another user, as where a person's ~/.aws is mounted: CAP_DAC_READ_SEARCH, else CAP_DAC_OVERRIDE.
 */
void privileges_keep_for_sending(void);

/* For what reads bundles of a spool, writes there, and sends them: keeps CAP_DAC_OVERRIDE,
 * CAP_DAC_READ_SEARCH and CAP_FOWNER. */
void privileges_keep_for_sweeping(void);
