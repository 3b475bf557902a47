/* A library that an image preloads into its own program; whoever loads it tells. */

#include <unistd.h>

__attribute__((constructor)) static void tell(void)
{
    (void)write(STDERR_FILENO, "preloaded\n", 10);
}
