/*
 * attach.h: attaching Redis servers to the database (SQL functions in
 * attach.c).
 */
#ifndef AUC_ATTACH_H
#define AUC_ATTACH_H

#include "postgres.h"

/* Has auction.lanes rows of this server?  false without the extension. */
extern bool auc_attach_has_lanes(const char *server);

#endif							/* AUC_ATTACH_H */
