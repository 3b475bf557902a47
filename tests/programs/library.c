/* A library of which several variants lie at the same path, each in another root directory. */

int through_library(int (*function)(int));

#ifdef OTHER_VARIANT
const char other_content[4096] = {1};
#endif

__attribute__((noinline)) int through_library(int (*function)(int))
{
    return function(1) + 1;
}
