/*
 * steward_ask.c: see steward_ask.h.
 *
 * Which lanes are silent is remembered per process, in a short list: an entry
 * that is forgotten too early costs one timeout more, nothing else.
 */
#include "postgres.h"

#include "shm.h"
#include "steward_ask.h"
#include "utils/timestamp.h"

#define WAVE			16
#define TIMEOUT_MS		300
#define SILENT_MS		1000
#define SILENT_LANES	32

static struct
{
	int			lane_id;
	TimestampTz until;
}			silent[SILENT_LANES];

static bool
is_silent(int lane_id, TimestampTz now)
{
	for (int i = 0; i < SILENT_LANES; i++)
		if (silent[i].lane_id == lane_id && silent[i].until > now)
			return true;
	return false;
}

static void
note_silent(int lane_id, TimestampTz now)
{
	int			oldest = 0;

	for (int i = 0; i < SILENT_LANES; i++)
	{
		if (silent[i].lane_id == lane_id)
		{
			oldest = i;
			break;
		}
		if (silent[i].until < silent[oldest].until)
			oldest = i;
	}
	silent[oldest].lane_id = lane_id;
	silent[oldest].until = TimestampTzPlusMilliseconds(now, SILENT_MS);
}

static bool
was_served(AucAnswerKind answer)
{
	return answer == AUC_ANSWER_VERDICT || answer == AUC_ANSWER_RESTING ||
		answer == AUC_ANSWER_MOVED || answer == AUC_ANSWER_MOVING ||
		answer == AUC_ANSWER_BUSY;
}

void
auc_steward_ask(int n, AucAsk *asks)
{
	AucAsk	   *wave[WAVE];
	int			next = 0;

	while (next < n)
	{
		TimestampTz now = GetCurrentTimestamp();
		int			in_wave = 0;

		while (next < n && in_wave < WAVE)
		{
			AucAsk	   *ask = &asks[next++];

			ask->answer = AUC_ANSWER_RESUBMIT;
			if (auc_shm_available() && !is_silent(ask->lane_id, now))
				wave[in_wave++] = ask;
		}
		if (in_wave == 0)
			break;
		auc_bid_ask(in_wave, wave, TIMEOUT_MS);
		for (int i = 0; i < in_wave; i++)
			if (!was_served(wave[i]->answer))
				note_silent(wave[i]->lane_id, GetCurrentTimestamp());
	}
}
