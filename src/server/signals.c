#include "server/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "base/check.h"

static void (*on_signal)(void *arg);
static void *on_signal_arg;
static volatile sig_atomic_t signals_seen;

enum { STARTING, SERVING, LEAVING };
static volatile sig_atomic_t phase;

static void handle(int number)
{
    (void)number;
    if (phase == STARTING) /* recovery may take long, and can be cut off anywhere (I6) */
        _exit(0);
    if (++signals_seen > 1 || phase == LEAVING)
        _exit(1);
    on_signal(on_signal_arg);
}

void signals_install(void (*wake)(void *arg), void *arg)
{
    struct sigaction leave = {.sa_handler = handle, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    phase = STARTING;
    on_signal = wake;
    on_signal_arg = arg;
    sigemptyset(&leave.sa_mask);
    sigemptyset(&ignore.sa_mask);
    CHECK(sigaction(SIGTERM, &leave, NULL) == 0);
    CHECK(sigaction(SIGINT, &leave, NULL) == 0);
    CHECK(sigaction(SIGPIPE, &ignore, NULL) == 0);
    CHECK(sigaction(SIGXFSZ, &ignore, NULL) == 0);
    CHECK(sigaction(SIGHUP, &ignore, NULL) == 0);
}

void signals_serving(void)
{
    phase = SERVING;
}

void signals_detach(void)
{
    phase = LEAVING;
}
