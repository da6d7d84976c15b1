/*
 * shm_tail.c: appending to, walking and freeing a lane's tail.
 */
#include "postgres.h"

#include "shm_tail.h"

/*
 * What lies in the ring.  size counts the whole entry, MAXALIGNed; a filler
 * has no record, and fewer bytes than an entry has may be left for it, so only
 * its first word is ever touched.
 */
typedef struct AucTailEntry
{
	uint32		size;
	uint32		filler;			/* 1: skip to the ring's beginning */
	AucRecord	record;
	/* attributes follow */
} AucTailEntry;

#define ENTRY_SIZE(attributes_len) \
	MAXALIGN(sizeof(AucTailEntry) + (attributes_len))

static inline AucTailEntry *
entry_at(AucLane *lane, uint64 off)
{
	return (AucTailEntry *) (lane->tail + (off & (lane->tail_size - 1)));
}

static inline uint64
bytes_to_ring_end(AucLane *lane, uint64 off)
{
	return lane->tail_size - (off & (lane->tail_size - 1));
}

void
auc_tail_open(AucTailWriter *writer, AucLane *lane)
{
	AucTailCursor cursor;
	const AucRecord *record;

	/*
	 * The position is walked from applied_off, not taken from "published":
	 * the predecessor may have died between the two stores.
	 */
	cursor.lane = lane;
	cursor.off = pg_atomic_read_u64(&lane->applied_off);
	pg_read_barrier();
	writer->lane = lane;
	writer->last = pg_atomic_read_u64(&lane->applied);
	while ((record = auc_tail_next(&cursor)) != NULL)
		writer->last = Max(writer->last, record->position);
	writer->end = pg_atomic_read_u64(&lane->published_off);
	pg_atomic_write_u64(&lane->published, writer->last);
}

void
auc_tail_reset(AucTailWriter *writer, AucLane *lane, uint64 position)
{
	uint64		end = pg_atomic_read_u64(&lane->published_off);

	Assert(pg_atomic_read_u64(&lane->applied_off) == end);
	writer->lane = lane;
	writer->end = end;
	writer->last = position;
	pg_atomic_write_u64(&lane->published, position);
}

uint64
auc_tail_room(const AucTailWriter *writer)
{
	return writer->lane->tail_size -
		(writer->end - pg_atomic_read_u64(&writer->lane->freed_off));
}

bool
auc_tail_append(AucTailWriter *writer, const AucRecord *record,
				const char *attributes)
{
	AucLane    *lane = writer->lane;
	uint64		size = ENTRY_SIZE(record->attributes_len);
	uint64		to_end = bytes_to_ring_end(lane, writer->end);
	uint64		filler = to_end < size ? to_end : 0;
	AucTailEntry *entry;

	if (auc_tail_room(writer) < size + filler)
		return false;
	if (filler > 0)
	{
		entry = entry_at(lane, writer->end);
		entry->size = filler;
		entry->filler = 1;
		writer->end += filler;
	}
	entry = entry_at(lane, writer->end);
	entry->size = size;
	entry->filler = 0;
	entry->record = *record;
	if (record->attributes_len > 0)
		memcpy(entry + 1, attributes, record->attributes_len);
	writer->end += size;
	writer->last = record->position;
	return true;
}

void
auc_tail_publish(AucTailWriter *writer)
{
	AucLane    *lane = writer->lane;

	pg_write_barrier();
	pg_atomic_write_u64(&lane->published_off, writer->end);
	pg_write_barrier();
	pg_atomic_write_u64(&lane->published, writer->last);
}

void
auc_tail_free(AucLane *lane, uint64 off)
{
	Assert(off <= pg_atomic_read_u64(&lane->applied_off));
	if (off > pg_atomic_read_u64(&lane->freed_off))
		pg_atomic_write_u64(&lane->freed_off, off);
}

const AucRecord *
auc_tail_next(AucTailCursor *cursor)
{
	AucLane    *lane = cursor->lane;
	uint64		end = pg_atomic_read_u64(&lane->published_off);

	pg_read_barrier();
	while (cursor->off < end)
	{
		AucTailEntry *entry = entry_at(lane, cursor->off);

		/* overwritten under a reader that is neither router nor drain */
		if (entry->size == 0)
			return NULL;
		cursor->off += entry->size;
		if (!entry->filler)
			return &entry->record;
	}
	return NULL;
}

const char *
auc_tail_attributes(const AucRecord *record)
{
	return record->attributes_len > 0 ? (const char *) (record + 1) : NULL;
}

int64
auc_tail_oldest_at(AucLane *lane)
{
	for (;;)
	{
		uint64		off = pg_atomic_read_u64(&lane->applied_off);
		AucTailCursor cursor = {lane, off};
		const AucRecord *record = auc_tail_next(&cursor);
		int64		at = record == NULL ? 0 : record->at;

		/* applied meanwhile: what was read may have been overwritten */
		pg_read_barrier();
		if (pg_atomic_read_u64(&lane->applied_off) == off)
			return at;
	}
}
