-- Mirrored bids: the setting, the views while there is nothing, who may look.
-- That bids are mirrored is test/tap/054_shadow.pl's.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

SHOW auction.shadow;
SELECT name, context, vartype, min_val, max_val, boot_val FROM pg_settings
WHERE name LIKE 'auction.shadow%' ORDER BY name;
SET auction.shadow = 5;
SET auction.shadow_queue = 5;
ALTER SYSTEM SET auction.shadow = 100.5;
ALTER SYSTEM SET auction.shadow = -1;
ALTER SYSTEM SET auction.shadow_queue = 0;

-- Nothing was mirrored: nothing to show.
SELECT coalesce(sum(entries), 0) AS entries FROM auction.stat_shadow;
SELECT count(*) FROM auction.shadow_differences;

-- Who watches may see the counters, the DBA alone what differs.
SET ROLE pg_monitor;
SELECT coalesce(sum(entries), 0) AS entries FROM auction.stat_shadow;
SELECT count(*) FROM auction.shadow_differences;
SELECT * FROM auction._shadow_differences();
RESET ROLE;
