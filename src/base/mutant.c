#include "base/mutant.h"

#ifdef VARVE_MUTANTS
#include <stdlib.h>
#include <string.h>

int mutant_on(const char *name)
{
    const char *chosen = getenv("VARVE_MUTANT");

    return chosen != NULL && strcmp(chosen, name) == 0;
}
#else
typedef int mutant_is_empty; /* ISO C wants a declaration in every file */
#endif
