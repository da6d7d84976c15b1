/*
 * repair.h: auction.repair_log, where what a DBA repairs is written down, in
 * the transaction that does it.
 */
#ifndef AUC_REPAIR_H
#define AUC_REPAIR_H

#include "postgres.h"

/*
 * Inside SPI, as the session's role.  0: no such auction or lane, no positions;
 * reason NULL: none was given.
 */
extern void auc_repair_log(const char *what, int64 auction_id, int lane_id,
						   int64 from, int64 to, text *reason);

#endif							/* AUC_REPAIR_H */
