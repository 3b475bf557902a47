#pragma once

/* Texts of procfs, as PID 1 copies them and the collector reads them. Nothing here allocates. */

/*
 * One field of proc_pid_stat(5)'s line, by its number there (from 3: the name in field 2 may hold
 * blanks and parentheses, so what follows is found from behind it).
 *
 * Returns where the field begins in @stat, or NULL where the line is cut before it.
 */
const char *proc_stat_field(const char *stat, unsigned field);

/*
 * What follows @name in the line that begins with it, in a text of lines (proc_pid_status(5),
 * proc_pid_limits(5)), or NULL where there is no such line.
 */
const char *proc_line(const char *text, const char *name);

#define PROC_STAT_STATE 3
#define PROC_STAT_PPID 4
#define PROC_STAT_STARTTIME 22 /* clock ticks since boot */
#define PROC_STAT_SIGIGN 33    /* bits of signals 1 to 31, decimal */
#define PROC_STAT_SIGCATCH 34  /* likewise */
#define PROC_STAT_EXIT_SIGNAL 38
#define PROC_STAT_EXIT_CODE 52 /* as wait(2) tells it; 0 to whoever may not know */
