/*
 * owner.h: SQL of the engine's own in somebody else's session, run with the
 * rights of the extension's owner and a search_path that nobody else chose.
 */
#ifndef AUC_OWNER_H
#define AUC_OWNER_H

#include "postgres.h"

/* What auc_owner_begin() changed. */
typedef struct AucCaller
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} AucCaller;

/* Who that is; in a transaction.  ERROR without the extension. */
extern Oid	auc_owner_id(void);
/*
 * Around SPI: connects, and finishes.  An ERROR in between undoes all of it
 * with the (sub)transaction.
 */
extern void auc_owner_begin(AucCaller *caller);
extern void auc_owner_end(AucCaller *caller);

#endif							/* AUC_OWNER_H */
