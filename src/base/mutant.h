/* mutant.h - bugs that are planted on purpose, to prove that the campaigns see them.
 * Only in a build with -Dmutants=true; there VARVE_MUTANT=name in the environment chooses one. In
 * every other build MUTANT() is the constant 0 and the bug is not in the program. */
#ifndef BASE_MUTANT_H
#define BASE_MUTANT_H

#ifdef VARVE_MUTANTS
int mutant_on(const char *name); /* any thread */
#define MUTANT(name) mutant_on(name)
#else
#define MUTANT(name) 0
#endif

#endif
