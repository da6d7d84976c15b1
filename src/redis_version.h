/*
 * redis_version.h: which commands of a Redis can be relied on; pure.
 */
#ifndef AUC_REDIS_VERSION_H
#define AUC_REDIS_VERSION_H

#include <stdbool.h>

/*
 * From the text of INFO server: does WAITAOF tell the truth?  It came with 7.2;
 * from 7.4 on, with appendfsync everysec, it returned before anything was
 * synced, until that was mended in 7.4.3 and 8.0 (redis/redis#13793).  Forks
 * and other servers count as lacking it, since their numbers do not tell.
 */
extern bool auc_redis_version_waitaof(const char *info);

#endif							/* AUC_REDIS_VERSION_H */
