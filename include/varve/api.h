/* api.h - what stands around the declarations of each public header: C names where C++ reads
 * them, and visible in a shared library that hides everything else. */
#ifndef VARVE_API_H
#define VARVE_API_H

#ifdef __cplusplus
#define VARVE_API_BEGIN                                                                            \
    _Pragma("GCC visibility push(default)") extern "C"                                             \
    {
#define VARVE_API_END                                                                              \
    }                                                                                              \
    _Pragma("GCC visibility pop")
#else
#define VARVE_API_BEGIN _Pragma("GCC visibility push(default)")
#define VARVE_API_END _Pragma("GCC visibility pop")
#endif

#endif
