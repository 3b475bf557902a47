#pragma once

/* A profile's credential_process: a program that prints a key (AWS SDKs and Tools Reference Guide,
 * "Process credential provider"). */

#include "store/aws_search.h"

#define CREDENTIAL_PROCESS_WORDS 64

/*
 * Splits a command into words as a shell does, without its expansions: blanks between words; quotes
 * of both kinds, and backslashes.
 *
 * @command  is written to
 * @ret      words, NULL-terminated, that point into it
 *
 * Returns 0, or -EINVAL: no word, too many, or a quote that isn't closed.
 */
int credential_process_split(char *command, char *ret[CREDENTIAL_PROCESS_WORDS + 1]);

/*
 * Runs the command, without a shell, with this process's environment, for a minute at most, and
 * reads what it prints. Its standard error goes nowhere: it may be secrets.
 *
 * @ret  without a place
 *
 * Returns 0 or -errno as aws_chain_get(), with search->why.
 */
int credential_process_run(const struct aws_search *search, const char *command,
                           struct aws_credentials *ret);
