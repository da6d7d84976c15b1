/*
 * sanitizer_first.c: lets AddressSanitizer begin before other libraries do.
 *
 * PostgreSQL itself is not built with it, so its library is preloaded, and
 * begins with the first call of malloc().  If that comes from within
 * bindtextdomain(), as from a library that PostgreSQL brings along, it asks for
 * a translation there and waits for a lock that it holds.  This is linked to be
 * initialised first.
 */
#include <stdlib.h>

__attribute__((constructor))
static void
begin(void)
{
	void	   *volatile block = malloc(1);

	free(block);
}
