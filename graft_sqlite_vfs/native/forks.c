#include "forks.h"

uint32_t fork_count;

void fork_counted(void)
{
    fork_count++;
}
