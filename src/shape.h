/*
 * shape.h: a statement without its constants; pure.
 */
#ifndef AUC_SHAPE_H
#define AUC_SHAPE_H

#include <stddef.h>

/*
 * Writes the shape of "text", at most size - 1 bytes and a zero byte, and
 * returns its length.  What is longer is cut between any two bytes.
 */
extern size_t auc_shape_write(const char *text, char *shape, size_t size);

#endif							/* AUC_SHAPE_H */
