#include "ctl/progress.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util/child.h"
#include "util/log.h"

#define SECOND_NS 1000000000ll
#define BAR_INTERVAL_NS (SECOND_NS / 10)
#define LINE_INTERVAL_NS (30 * SECOND_NS)

/* Of a terminal that doesn't tell its size: a serial line, some of `docker exec -t`. */
#define USUAL_COLUMNS 80

/* Widths that are worth their room. */
#define LEAST_NAME 12
#define LEAST_BAR 12
#define MOST_BAR 42

#define CLEAR_LINE "\r\033[K"

/* Seconds. */
#define SHORTEST_MEASURE 0.5
#define RATE_MEMORY 5

typedef char fact[32];

static void format_bytes(double bytes, fact ret)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    for (; bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        bytes /= 1024;
    snprintf(ret, sizeof(fact), "%.*f %s", unit > 0, bytes, units[unit]);
}

static void format_time(double seconds, fact ret)
{
    const unsigned whole = (unsigned)seconds, hours = whole / 3600, minutes = whole / 60 % 60;

    if (hours > 0)
        snprintf(ret, sizeof(fact), "%u:%02u:%02u", hours, minutes, whole % 60);
    else
        snprintf(ret, sizeof(fact), "%u:%02u", minutes, whole % 60);
}

static unsigned percent(const struct progress *progress)
{
    return progress->size ? (unsigned)((double)progress->done * 100 / (double)progress->size) : 100;
}

/*
 * The rate of the last few seconds, so that a pause shows and the start is forgotten: each interval
 * counts by its length.
 */
static void measure(struct progress *progress)
{
    const int64_t now = monotonic_ns();
    const double seconds = (double)(now - progress->measured_ns) / SECOND_NS;
    double rate, weight;

    if (seconds < SHORTEST_MEASURE)
        return;
    rate = (double)(progress->done - progress->measured) / seconds;
    weight = progress->rate > 0 ? seconds / (seconds + RATE_MEMORY) : 1;
    progress->rate += weight * (rate - progress->rate);
    progress->measured = progress->done;
    progress->measured_ns = now;
}

/* What is told, in order of worth, as far as it fits: each with the gap before it. */
static size_t format_facts(const struct progress *progress, size_t room, char *ret, size_t size)
{
    const double per_second = progress->rate;
    const double left = per_second > 0 ? (double)(progress->size - progress->done) / per_second : 0;
    fact done, all, speed, time;
    char texts[4][96];
    size_t used = 0;

    format_bytes((double)progress->done, done);
    format_bytes((double)progress->size, all);
    format_bytes(per_second, speed);
    format_time(left < 1e6 ? left : 1e6, time);
    snprintf(texts[0], sizeof(texts[0]), "  %3u%%", percent(progress));
    snprintf(texts[1], sizeof(texts[1]), "  %10s of %s", done, all);
    snprintf(texts[2], sizeof(texts[2]), "  %10s/s", speed);
    snprintf(texts[3], sizeof(texts[3]), "  %s left", time);

    ret[0] = '\0';
    for (size_t i = 0; i < (per_second > 0 ? 4 : 2); i++) {
        if (used + strlen(texts[i]) > room)
            break;
        used += (size_t)snprintf(ret + used, size - used, "%s", texts[i]);
    }
    return used;
}

/*
 * A name's end tells most. It may be anyone's: what isn't printable ASCII, and so takes one column,
 * is shown as '?'.
 */
static size_t format_name(const char *name, size_t room, char *ret)
{
    const size_t length = strlen(name), shown = length < room ? length : room;

    memcpy(ret, name + length - shown, shown);
    for (size_t i = 0; i < shown; i++)
        if (ret[i] < ' ' || ret[i] > '~')
            ret[i] = '?';
    if (shown < length)
        memcpy(ret, "...", 3);
    return shown;
}

/* "  [====>   ]" */
static size_t format_bar(const struct progress *progress, size_t room, char *ret)
{
    const size_t inner = room - strlen("  []"), filled = inner * percent(progress) / 100;

    memset(ret, ' ', room);
    memset(ret + 3, '=', filled);
    if (filled < inner)
        ret[3 + filled] = '>';
    ret[2] = '[';
    ret[room - 1] = ']';
    return room;
}

static size_t columns_of_terminal(void)
{
    struct winsize window = {0};

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col == 0)
        return USUAL_COLUMNS;
    return window.ws_col;
}

/* A terminal that was stopped (^S) is not waited for. */
static void write_to_terminal(const char *text, size_t size)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t ignored;

    if (poll(&out, 1, 0) == 1) {
        ignored = write(STDERR_FILENO, text, size);
        (void)ignored;
    }
}

static void draw(const struct progress *progress)
{
    char line[512] = CLEAR_LINE, facts[192];
    size_t used = strlen(CLEAR_LINE), room = columns_of_terminal(), n, n_name;

    /* The last column stays free: behind it many terminals begin a new line. */
    if (--room > sizeof(line) - used - 1)
        room = sizeof(line) - used - 1;
    n = format_facts(progress, room, facts, sizeof(facts));
    room -= n;
    if (room >= LEAST_NAME) {
        const size_t bar = room < LEAST_NAME + LEAST_BAR ? 0
                           : room / 3 > LEAST_BAR        ? room / 3
                                                         : LEAST_BAR;

        n_name = format_name(progress->name, room - bar, line + used);
        used += n_name;
        room -= n_name;
        if (bar > 0)
            used += format_bar(progress, room < MOST_BAR ? room : MOST_BAR, line + used);
    }
    memcpy(line + used, facts, n);
    write_to_terminal(line, used + n);
}

static void tell(const struct progress *progress)
{
    fact done, all, speed;

    format_bytes((double)progress->done, done);
    format_bytes((double)progress->size, all);
    format_bytes(progress->rate, speed);
    log_notice("%s: %s of %s (%u%%) at %s/s", progress->name, done, all, percent(progress), speed);
}

void progress_init(struct progress *progress)
{
    const char *terminal = getenv("TERM");
    const bool moves = terminal && terminal[0] && strcmp(terminal, "dumb") != 0;

    *progress = (struct progress){
        .manner = isatty(STDERR_FILENO) && moves ? PROGRESS_BAR : PROGRESS_LINES,
    };
}

static void tell_if_due(struct progress *progress)
{
    const int64_t interval = progress->manner == PROGRESS_BAR ? BAR_INTERVAL_NS : LINE_INTERVAL_NS;
    const int64_t now = monotonic_ns();

    if (now - progress->told_ns < interval)
        return;
    progress->told_ns = now;
    if (progress->manner == PROGRESS_BAR) {
        log_before_line = CLEAR_LINE;
        draw(progress);
    } else {
        tell(progress);
    }
}

void progress_begin(struct progress *progress, const char *name, uint64_t size)
{
    if (progress->manner == PROGRESS_SILENT)
        return;
    progress->name = name;
    progress->size = size;
    progress->done = progress->measured = 0;
    progress->rate = 0;
    progress->measured_ns = monotonic_ns();
    if (progress->manner == PROGRESS_LINES)
        progress->told_ns = progress->measured_ns; /* nothing to tell of what is soon over */
    tell_if_due(progress);
}

void progress_add(struct progress *progress, uint64_t bytes)
{
    const uint64_t left = progress->size - progress->done;

    if (progress->manner == PROGRESS_SILENT)
        return;
    progress->done += bytes < left ? bytes : left;
    measure(progress);
    tell_if_due(progress);
}

void progress_end(struct progress *progress)
{
    if (progress->manner == PROGRESS_BAR && log_before_line[0])
        write_to_terminal(CLEAR_LINE, strlen(CLEAR_LINE));
    log_before_line = "";
}
