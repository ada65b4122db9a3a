// QuickJS includes this header for WASI; the headers beside its sources don't have it.
#pragma once

#include <stddef.h>

size_t malloc_usable_size(void *);
